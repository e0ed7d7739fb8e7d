//! What a comparison says, and what it fails.

use super::*;
use crate::load::identity::Identities;
use crate::load::recorder::ErrorClass;
use crate::load::samples::Packed;
use crate::load::summary::Left;
use crate::load::summary::tests::summary;

fn runs(micros: &[u64]) -> Vec<Summary> {
    micros.iter().map(|&micros| summary(&[micros; 20])).collect()
}

fn p50(base: &[u64], new: &[u64]) -> Row {
    row(&Comparison::of(&runs(base), &runs(new)), Subject::Percentile(Leg::Request, 50.0))
}

fn row(comparison: &Comparison, subject: Subject) -> Row {
    let found = comparison.rows.iter().find(|row| row.subject == subject);
    found.unwrap_or_else(|| panic!("no {subject:?} in {:?}", comparison.rows)).clone()
}

fn compared(base: &Summary, new: &Summary) -> Comparison {
    Comparison::of(std::slice::from_ref(base), std::slice::from_ref(new))
}

const WITHIN_50_PERCENT: Allowance = Allowance { worse_percent: 50.0, unlike: false };

/// What misses it.
fn missed(base: &Summary, new: &Summary) -> Vec<Subject> {
    match compared(base, new).judge(WITHIN_50_PERCENT) {
        Verdict::Missed(rows) => rows.iter().map(|row| row.subject).collect(),
        _ => Vec::new(),
    }
}

fn noise(row: &Row) -> Noise {
    match row.standing {
        Standing::Judged { noise, .. } => noise,
        other => panic!("{other:?}"),
    }
}

#[test]
fn single_runs_tell_a_difference_but_not_its_noise() {
    let difference = p50(&[100], &[150]);
    assert_eq!(noise(&difference), Noise::Unknown);
    assert!((49.0..51.0).contains(&difference.percent().unwrap()), "{difference:?}");
    assert!(difference.is_over(40.0) && !difference.is_over(60.0));
}

#[test]
fn overlapping_repeats_are_noise_and_do_not_fail() {
    let overlapping = p50(&[100, 200, 110], &[150, 190, 180]);
    assert_eq!(noise(&overlapping), Noise::Within);
    assert!(overlapping.percent().unwrap() > 50.0 && !overlapping.is_over(5.0));
    assert_eq!(noise(&p50(&[100, 110], &[150, 160])), Noise::Beyond);
}

#[test]
fn figures_that_a_run_lacks_are_not_judged() {
    // Twenty samples are too few for p90.
    let comparison = Comparison::of(&runs(&[1]), &runs(&[2]));
    let standing = |percentile| row(&comparison, Subject::Percentile(Leg::Request, percentile)).standing;
    assert!(matches!(standing(50.0), Standing::Judged { .. }));
    for percentile in [90.0, 99.0, 99.9, 99.99] {
        assert_eq!(standing(percentile), Standing::NotJudged(Why::FewSamples), "{percentile}");
    }
}

#[test]
fn a_percentile_of_few_samples_is_chance_and_does_not_fail() {
    // Ten of 20 are above the median, and what lies around it spreads from 100 to 1000 µs.
    let spread = |offset: u64| summary(&(1..=20).map(|nth| nth * 50 + offset).collect::<Vec<_>>());
    let (base, new) = (spread(0), spread(300));
    let difference = row(&compared(&base, &new), Subject::Percentile(Leg::Request, 50.0));
    assert_eq!(noise(&difference), Noise::Within);
    assert!(difference.percent().unwrap() > 50.0 && !difference.is_over(5.0), "{difference:?}");
}

#[test]
fn errors_where_the_base_has_none_fail_whatever_is_allowed() {
    let base = summary(&[10; 1000]);
    for class in [ErrorClass::Status5xx, ErrorClass::Timeout] {
        let mut new = base.clone();
        new.counts.errors.insert(class, 1);
        assert_eq!(missed(&base, &new), [Subject::Errors, Subject::ErrorsOf(class)]);
        assert_eq!(missed(&new, &base), [], "errors that are gone");
    }
    let mut prepared = base.clone();
    prepared.prepared.counts.errors.insert(ErrorClass::Refused, 1);
    assert_eq!(missed(&base, &prepared), [Subject::Errors, Subject::ErrorsOf(ErrorClass::Refused)]);
    let mut hung = base.clone();
    hung.unanswered = Left { count: 1, oldest_seconds: 2.0 };
    assert_eq!(missed(&base, &hung), [Subject::Unanswered]);
    let mut behind = base.clone();
    behind.unsent = Left { count: 7, oldest_seconds: 2.0 };
    assert_eq!(missed(&base, &behind), [Subject::Unsent]);
}

#[test]
fn a_share_of_errors_fails_by_percent_and_beyond_chance() {
    let failing = |requests: usize, errors| {
        let mut run = summary(&vec![10; requests]);
        run.counts.errors.insert(ErrorClass::Status5xx, errors);
        run
    };
    let both = [Subject::Errors, Subject::ErrorsOf(ErrorClass::Status5xx)];
    assert_eq!(missed(&failing(1000, 100), &failing(1000, 200)), both);
    assert_eq!(missed(&failing(1000, 100), &failing(1000, 140)), [], "within the allowance");
    assert_eq!(missed(&failing(1000, 2), &failing(1000, 4)), [], "chance");
    assert_eq!(missed(&failing(1000, 100), &failing(2000, 200)), [], "the same share of more requests");
}

#[test]
fn a_leg_that_is_missing_fails_and_a_further_one_does_not() {
    let base = summary(&[10; 100]);
    let mut new = base.clone();
    let samples = new.legs[&Leg::Request].clone();
    new.legs.insert(Leg::Tls, samples);
    assert_eq!(missed(&new, &base), [Subject::Leg(Leg::Tls)]);
    assert_eq!(missed(&base, &new), []);
    assert_eq!(
        row(&compared(&base, &new), Subject::Leg(Leg::Tls)).standing,
        Standing::NotJudged(Why::OnlyInNew)
    );
}

#[test]
fn error_replies_that_are_gone_are_no_loss() {
    let base = summary(&[10; 100]);
    let mut failing = base.clone();
    let samples = failing.legs[&Leg::Request].clone();
    failing.legs.insert(Leg::ErrorReply, samples);
    assert_eq!(missed(&failing, &base), []);
}

#[test]
fn legs_from_before_the_clock_do_not_fail() {
    let prepared = |micros: u64| {
        let mut run = summary(&[10; 100]);
        let connects = summary(&[micros; 64]).legs[&Leg::Request].0.clone();
        run.prepared.legs.insert(Leg::Connect, Packed::new(&connects));
        run
    };
    let (base, mut new) = (prepared(100), prepared(10_000));
    assert_eq!(missed(&base, &new), []);
    let standing =
        |new: &Summary| row(&compared(&base, new), Subject::Percentile(Leg::Connect, 50.0)).standing;
    assert_eq!(standing(&new), Standing::NotJudged(Why::BeforeClock));
    // Connections that broke were made again while the clock ran.
    let samples = summary(&[90_000; 64]).legs[&Leg::Request].clone();
    new.legs.insert(Leg::Connect, samples);
    assert_eq!(standing(&new), Standing::NotJudged(Why::BeforeClock));
    assert_eq!((missed(&base, &new), missed(&new, &base)), (vec![], vec![]));
}

#[test]
fn fewer_requests_a_second_fail() {
    let (base, new) = (summary(&vec![10; 10_000]), summary(&vec![10; 4000]));
    assert_eq!(missed(&base, &new), [Subject::Requests]);
    assert_eq!(missed(&new, &base), []);
    // Nine requests make no rate.
    assert_eq!(missed(&summary(&[10; 9]), &summary(&[10; 3])), []);
    let none = missed(&base, &summary(&[]));
    assert!(none.contains(&Subject::Requests), "{none:?}");
}

#[test]
fn a_leak_is_never_allowed_and_looking_no_more_is_a_loss() {
    let mut looked = summary(&[10; 100]);
    looked.identities = Some(Identities { right: 100, ..Identities::default() });
    let mut leaked = looked.clone();
    leaked.identities = Some(Identities { right: 99, leaked: 1, ..Identities::default() });
    assert_eq!(missed(&leaked, &leaked), [Subject::Leaks]);
    assert_eq!(missed(&looked, &summary(&[10; 100])), [Subject::Leaks]);
    assert_eq!(missed(&looked, &looked), []);
}

#[test]
fn unlike_runs_are_told_and_not_judged_unless_that_is_allowed() {
    let base = summary(&[10; 100]);
    let mut new = base.clone();
    new.runs[0].connections = 64;
    new.runs[0].urls = vec!["http://127.0.0.1/other".into()];
    let comparison = compared(&base, &new);
    let Some(Warning::Unlike(unlike)) = comparison.warnings.first() else { panic!("{comparison:?}") };
    let said: Vec<_> = unlike.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["connections 1 against 64", "path / against /other"]);
    let verdict = comparison.judge(WITHIN_50_PERCENT);
    assert!(
        matches!(&verdict, Verdict::NotJudged(Obstacle::Unlike(decisive)) if decisive.len() == 1),
        "{verdict:?}"
    );
    let allowed = Allowance { unlike: true, ..WITHIN_50_PERCENT };
    assert!(matches!(comparison.judge(allowed), Verdict::Kept { .. }));
    new.runs[0].connections = 1;
    assert!(matches!(compared(&base, &new).judge(WITHIN_50_PERCENT), Verdict::Kept { .. }), "another path");
}

#[test]
fn a_base_that_measured_nothing_proves_nothing() {
    let verdict =
        |base: &Summary| format!("{:?}", compared(base, &summary(&[10; 100])).judge(WITHIN_50_PERCENT));
    assert!(verdict(&summary(&[])).contains("EmptyBase"), "{}", verdict(&summary(&[])));
}

#[test]
fn the_table_fits_80_columns_and_marks_what_fails_and_what_is_not_judged() {
    let mut base = summary(&vec![1_234_567; 50_000]);
    let samples = base.legs[&Leg::Request].clone();
    for leg in Leg::ALL {
        base.legs.insert(leg, samples.clone());
    }
    base.in_time.requests = 123_456_789;
    base.in_time.logins = 123_456_789;
    let mut new = base.clone();
    for leg in Leg::ALL {
        new.legs.insert(leg, summary(&[1_234_567_890; 50]).legs[&Leg::Request].clone());
    }
    new.legs.remove(&Leg::Tls);
    new.counts.errors.insert(ErrorClass::LoginRefused, 123_456_789);
    new.runs[0].connections = 1_000_000;
    new.runs[0].auth = "negotiate".into();
    let table = text(&compared(&base, &new), Some(WITHIN_50_PERCENT));
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{table}");
    }
    let first = table.lines().next().unwrap();
    assert!(first.starts_with("warning: runs differ: auth none against negotiate;"), "{first}");
    for expected in ["SLOWER", "MISSING", "NEW", "too few samples", "missed: "] {
        assert!(table.contains(expected), "{expected}: {table}");
    }
}
