//! The report as Markdown tables or JSON.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::arms::{Arm, REFERENCE};
use crate::figures::Figures;
use crate::host::Host;
use crate::scenarios::{Column, Scenario};

/// A table for each scenario, with `median (min..max)` and the ratio to nginx.
pub(crate) fn markdown(
    host: &Host,
    arms: &[Arm],
    left_out: &[String],
    scenarios: &[Scenario],
    figures: &Figures,
) -> String {
    let mut text = format!(
        "# Relay benchmark\n\n`{}`\n\nLinux {}, {}, {} cores; proxy on core {}, clients and server on core {}. \
         Median (min..max) of {} rounds of {} s; x is the ratio of the medians to {REFERENCE}.\n\n",
        host.command,
        host.kernel,
        host.cpu,
        host.cores,
        host.proxy_cpu,
        host.load_cpu,
        host.rounds,
        host.seconds
    );
    for arm in arms {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {}: {}", arm.name(), arm.version());
    }
    for line in left_out {
        let _ = writeln!(text, "- skipped: {line}");
    }
    for scenario in scenarios {
        let _ =
            write!(text, "\n## {scenario}: {}\n\n{}", scenario.summary(), table(*scenario, arms, figures));
    }
    text.truncate(text.trim_end().len());
    text
}

/// The values of all rounds under the keys of their columns.
pub(crate) fn json(
    host: &Host,
    arms: &[Arm],
    left_out: &[String],
    scenarios: &[Scenario],
    figures: &Figures,
) -> Result<String> {
    let versions: Map<String, Value> =
        arms.iter().map(|arm| (arm.name().to_owned(), arm.version().into())).collect();
    let scenarios: Map<String, Value> = scenarios
        .iter()
        .map(|scenario| {
            let of_arms = arms
                .iter()
                .map(|arm| (arm.name().to_owned(), arm_json(*scenario, arm.name(), figures)))
                .collect();
            (scenario.to_string(), Value::Object(of_arms))
        })
        .collect();
    let report = json!({ "host": host, "arms": versions, "left_out": left_out, "scenarios": scenarios });
    Ok(serde_json::to_string_pretty(&report)?)
}

fn arm_json(scenario: Scenario, arm: &str, figures: &Figures) -> Value {
    let mut values = Map::new();
    for column in scenario.columns() {
        if let Some(spread) = figures.spread(scenario, arm, column.key) {
            let figure = json!({
                "median": spread.median,
                "min": spread.min,
                "max": spread.max,
                "ratio_to_nginx": ratio(scenario, arm, column, figures),
                "rounds": figures.rounds(scenario, arm, column.key),
            });
            values.insert(column.key.to_owned(), figure);
        }
    }
    if let Some(note) = figures.note_on(scenario, arm) {
        values.insert("note".to_owned(), note.into());
    }
    Value::Object(values)
}

fn table(scenario: Scenario, arms: &[Arm], figures: &Figures) -> String {
    let columns: Vec<&Column> = scenario
        .columns()
        .iter()
        .filter(|column| is_worth_showing(scenario, arms, column, figures))
        .collect();
    let mut text = String::from("| arm |");
    for column in &columns {
        let _ = write!(text, " {} |", column.title);
    }
    let _ = writeln!(text, "\n| --- |{}", " --- |".repeat(columns.len()));
    for arm in arms {
        let _ = write!(text, "| {} |", arm.name());
        for column in &columns {
            let _ = write!(text, " {} |", cell(scenario, arm.name(), column, figures));
        }
        text.push('\n');
    }
    for arm in arms {
        if let Some(note) = figures.note_on(scenario, arm.name()) {
            let _ = writeln!(text, "\n{}: {note}", arm.name());
        }
    }
    text
}

/// Whether the table shows the column: the one of errors only if there are errors.
fn is_worth_showing(scenario: Scenario, arms: &[Arm], column: &Column, figures: &Figures) -> bool {
    column.key != "errors"
        || arms
            .iter()
            .any(|arm| figures.rounds(scenario, arm.name(), column.key).iter().any(|value| *value > 0.0))
}

fn cell(scenario: Scenario, arm: &str, column: &Column, figures: &Figures) -> String {
    let Some(spread) = figures.spread(scenario, arm, column.key) else { return "-".to_owned() };
    let places = column.decimals;
    let mut text = format!("{:.places$}", spread.median);
    if column.compared && figures.rounds(scenario, arm, column.key).len() > 1 {
        let _ = write!(text, " ({:.places$}..{:.places$})", spread.min, spread.max);
    }
    if let Some(ratio) = ratio(scenario, arm, column, figures) {
        let _ = write!(text, " {ratio:.2}x");
    }
    text
}

fn ratio(scenario: Scenario, arm: &str, column: &Column, figures: &Figures) -> Option<f64> {
    if !column.compared || arm == REFERENCE {
        return None;
    }
    let reference = figures.spread(scenario, REFERENCE, column.key)?.median;
    let median = figures.spread(scenario, arm, column.key)?.median;
    (reference > 0.0).then(|| median / reference)
}
