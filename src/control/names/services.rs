//! What SRV records say of servers, in the terms of a group: weights, and which are backup servers.

use std::num::NonZeroU16;

use super::dns::ServiceRecord;

/// The largest weight of a server, as in settings.
const WEIGHT_MAX: u16 = 256;

/// The target of a service that is not available (RFC 2782).
const NOWHERE: &str = ".";

/// A host that a service names, and its server's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) weight: NonZeroU16,
    pub(super) backup: bool,
}

/// The hosts of these records, those of the lowest priority first: all others are backup servers. Weights are in
/// proportion to each other within a priority, at most [`WEIGHT_MAX`]; a weight of 0 is the smallest. Empty if the service is
/// not available.
pub(super) fn named(mut records: Vec<ServiceRecord>) -> Vec<Named> {
    records.retain(|record| record.target != NOWHERE && record.port != 0);
    // In an order that does not depend on the answer's; of the same server twice the better one comes first.
    records.sort_by(|one, other| {
        (one.priority, other.weight, &one.target, one.port).cmp(&(
            other.priority,
            one.weight,
            &other.target,
            other.port,
        ))
    });
    let lowest = records.first().map(|record| record.priority);
    let weight_max = |priority| {
        let weights = records.iter().filter(|record| record.priority == priority).map(|record| record.weight);
        weights.max().unwrap_or(0)
    };
    let one = |record: &ServiceRecord| Named {
        host: record.target.trim_end_matches('.').to_owned(),
        port: record.port,
        weight: scaled(record.weight, weight_max(record.priority)),
        backup: Some(record.priority) != lowest,
    };
    records.iter().map(one).collect()
}

/// A weight as it is, unless the largest one is too large: then its part of the largest possible.
fn scaled(weight: u16, largest: u16) -> NonZeroU16 {
    let scaled = if largest > WEIGHT_MAX {
        let part = u32::from(weight) * u32::from(WEIGHT_MAX) + u32::from(largest) / 2;
        (part / u32::from(largest)) as u16
    } else {
        weight
    };
    NonZeroU16::new(scaled).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str, port: u16) -> ServiceRecord {
        ServiceRecord { priority, weight, target: target.to_owned(), port }
    }

    fn parts(records: &[ServiceRecord]) -> Vec<(String, u16, bool)> {
        let part =
            |named: Named| (format!("{}:{}", named.host, named.port), named.weight.get(), named.backup);
        named(records.to_vec()).into_iter().map(part).collect()
    }

    #[test]
    fn the_lowest_priority_serves_and_the_others_are_backup_servers() {
        let records = [
            record(20, 5, "c.example.", 80),
            record(10, 1, "b.example.", 8080),
            record(30, 0, "d.example.", 80),
            record(10, 3, "a.example.", 80),
        ];
        let expected = [
            ("a.example:80".to_owned(), 3, false),
            ("b.example:8080".to_owned(), 1, false),
            ("c.example:80".to_owned(), 5, true),
            ("d.example:80".to_owned(), 1, true),
        ];
        assert_eq!(parts(&records), expected);
        let mut turned = records.clone();
        turned.reverse();
        assert_eq!(parts(&turned), expected, "the order of the answer says nothing");
    }

    #[test]
    fn weights_keep_their_proportions_within_a_priority() {
        for (weights, expected) in [
            (&[1, 2, 256][..], &[1, 2, 256][..]),
            (&[0, 0], &[1, 1]),
            (&[0, 100], &[1, 100]),
            (&[1000, 500, 250], &[256, 128, 64]),
            (&[65535, 65535], &[256, 256]),
            (&[65535, 1], &[256, 1]),
            (&[60, 30, 600], &[26, 13, 256]),
        ] {
            let record = |(nth, weight): (usize, &u16)| record(1, *weight, &format!("{nth}.example."), 80);
            let mut found = parts(&weights.iter().enumerate().map(record).collect::<Vec<_>>());
            found.sort();
            let found: Vec<_> = found.into_iter().map(|(_, weight, _)| weight).collect();
            assert_eq!(found, expected, "{weights:?}");
        }
    }

    #[test]
    fn a_service_that_is_not_available_has_no_servers() {
        assert_eq!(parts(&[record(0, 0, ".", 0)]), []);
        assert_eq!(parts(&[record(0, 0, ".", 80), record(1, 0, "a.example.", 0)]), []);
    }
}
