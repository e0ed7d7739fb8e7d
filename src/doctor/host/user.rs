//! The user that the proxy runs as.

use super::readings::Readings;
use super::wanted::Wanted;
use super::{Finding, Findings, Id};

/// Judges settings that were given: what starts without any is looked at when it does.
pub(super) fn judge(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::User.as_str();
    let setting = (wanted.named)("user");
    match (wanted.stays_root, readings.is_root) {
        (None, _) => {}
        (Some(true), true) => found.add(Finding::warning(
            id,
            format!("root runs this, and {setting} names no user to go on as"),
            "a mistake in the proxy would give away the whole host",
            format!("set {setting} to a user without privileges (useradd --system iisplice), or start as that user"),
        )),
        (Some(true), false) => found.add(Finding::fine(id, "the user is not root")),
        (Some(false), _) => found.add(Finding::fine(id, format!("{setting} names the user to go on as"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{only, wanted};
    use super::*;
    use crate::doctor::Severity::{Fine, Warning};

    #[test]
    fn root_that_stays_root_is_warned_of() {
        let with = |is_root, stays_root| {
            let mut found = Findings::default();
            let readings = Readings { is_root, ..Readings::default() };
            judge(&readings, &Wanted { stays_root, ..wanted() }, &mut found);
            found
        };
        only(&with(true, Some(true)), Id::User, Warning, &["--user names no user", "useradd"]);
        only(&with(false, Some(true)), Id::User, Fine, &["not root"]);
        only(&with(true, Some(false)), Id::User, Fine, &["--user names the user"]);
        assert_eq!(with(true, None).findings, [], "no settings");
    }
}
