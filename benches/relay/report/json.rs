//! The report as JSON: the values of all rounds under the keys of their columns.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::verdict::{self, Comparison};
use super::{Report, conditions};
use crate::cases::Case;

/// Figures that every case has besides its columns.
const CONDITIONS: [&str; 9] = [
    "proxy_core_busy_percent",
    "load_core_busy_percent",
    "proxy_cpu_percent",
    "ends_cpu_percent",
    "others_on_proxy_core_percent",
    "others_on_load_cores_percent",
    "stolen_percent",
    "of_asked_rate_percent",
    "errors",
];

pub(super) fn text(report: &Report<'_>) -> Result<String> {
    let versions: Map<String, Value> =
        report.arms.runnable.iter().map(|arm| (arm.name().to_owned(), arm.version().into())).collect();
    let missing: Map<String, Value> =
        report.arms.missing.iter().map(|(arm, reason)| (arm.to_string(), reason.as_str().into())).collect();
    let cases: Map<String, Value> =
        report.cases.iter().map(|case| (case.name.to_owned(), of_case(report, case))).collect();
    let beside_peer = comparisons(verdict::beside_the_best_peer(report), "best_peer");
    let above_floor = comparisons(verdict::above_the_floor(report), "floor");
    let agreements: Vec<Value> = verdict::agreements(report)
        .into_iter()
        .map(|one| {
            json!({
                "case": one.case, "arm": one.arm, "figure": one.column.key, "iisplice_load": one.first, "wrk": one.second,
                "difference_percent": one.percent, "verdict": one.verdict,
            })
        })
        .collect();
    let report = json!({
        "host": report.host,
        "arms": versions,
        "second_generator": crate::generators::wrk_version(),
        "not_measured": missing,
        "not_possible": report.limits,
        "beside_the_best_peer": beside_peer,
        "above_the_floor": above_floor,
        "generators": agreements,
        "cases": cases,
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// `other` is the key of the arm beside which ours stands.
fn comparisons(comparisons: Vec<Comparison>, other: &str) -> Vec<Value> {
    let comparisons = comparisons.into_iter().map(|one| {
        json!({
            "case": one.case, "figure": one.column.key, "arm": one.arm, "value": one.ours, other: one.other,
            "its_value": one.theirs, "ratio": one.ratio, "verdict": one.verdict,
        })
    });
    comparisons.collect()
}

fn of_case(report: &Report<'_>, case: &Case) -> Value {
    let arms: Map<String, Value> = report
        .arms
        .of(case)
        .iter()
        .map(|arm| (arm.name().to_owned(), of_arm(report, case, arm.name())))
        .collect();
    json!({ "summary": case.summary, "realtime": case.realtime, "arms": arms })
}

fn of_arm(report: &Report<'_>, case: &Case, arm: &str) -> Value {
    let mut values = Map::new();
    for key in case.columns.iter().map(|column| column.key).chain(CONDITIONS) {
        if let Some(spread) = report.figures.spread(case, arm, key) {
            let mut figure = json!(spread);
            figure["rounds"] = json!(report.figures.rounds(case, arm, key));
            values.insert(key.to_owned(), figure);
        }
    }
    values.insert("cores_busy_percent".to_owned(), json!(report.figures.cores_percent(case, arm)));
    values.insert("warnings".to_owned(), json!(conditions::warnings(report, case, arm)));
    if let Some(note) = report.figures.note_on(case, arm) {
        values.insert("note".to_owned(), note.into());
    }
    Value::Object(values)
}
