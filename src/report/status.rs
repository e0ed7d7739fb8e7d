//! What a running proxy says of itself, as text of at most 80 columns.

use std::fmt::Write as _;

use console::Style;
use serde_json::Value;
use textwrap::core::display_width;

/// Columns of the tables, with the width of each; the last may be longer.
const SERVICES: [(&str, usize); 4] = [("SERVICE", 16), ("MODE", 6), ("GROUPS", 22), ("LISTENERS", 33)];
const GENERATIONS: [(&str, usize); 5] =
    [("GENERATION", 10), ("PID", 8), ("STATE", 8), ("SINCE", 20), ("CONNECTIONS", 11)];
const SERVERS: [(&str, usize); 5] =
    [("GROUP", 13), ("SERVER", 21), ("ADDRESS", 21), ("STATE", 10), ("CONNECTIONS", 11)];

/// The text of what `iisplice status --json` prints.
pub fn text(state: &Value, has_colours: bool) -> String {
    let style = |style: Style| style.force_styling(has_colours);
    let (good, bad) = (style(Style::new().green()), style(Style::new().red().bold()));
    let mut text = String::new();
    if state["ready"] == Value::Bool(true) {
        text += &good.apply_to("ready").to_string();
        text.push('\n');
    } else {
        text += &bad.apply_to("not ready").to_string();
        text.push('\n');
        for reason in words(&state["reasons"]) {
            for line in textwrap::wrap(&shown(&reason), 76) {
                // Writing to a String does not fail.
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    let head = style(Style::new().bold());
    text.push('\n');
    row(&mut text, SERVICES.map(|(name, width)| (name.to_owned(), width)), |_, cell| {
        head.apply_to(cell).to_string()
    });
    for service in all(&state["services"]) {
        let groups = words(&service["groups"]).join(" ");
        let listeners = words(&service["listeners"]).join(" ");
        let cells = [word(&service["name"]), word(&service["mode"]), groups, listeners];
        row(&mut text, with_widths(cells, SERVICES), |_, cell| cell.to_owned());
    }
    text.push('\n');
    row(&mut text, SERVERS.map(|(name, width)| (name.to_owned(), width)), |_, cell| {
        head.apply_to(cell).to_string()
    });
    for server in all(&state["servers"]) {
        let connections = match &server["max_connections"] {
            Value::Null => server["connections"].to_string(),
            most => format!("{} of {most}", server["connections"]),
        };
        let state = word(&server["state"]);
        let style = match state.as_str() {
            "up" => style(Style::new().green()),
            "ejected" | "down" => style(Style::new().red().bold()),
            _ => style(Style::new().yellow()),
        };
        let cells =
            [word(&server["group"]), word(&server["name"]), word(&server["address"]), state, connections];
        row(&mut text, with_widths(cells, SERVERS), |nth, cell| {
            if nth == 3 { style.apply_to(cell).to_string() } else { cell.to_owned() }
        });
    }
    let generations: Vec<_> = all(&state["generations"]).collect();
    // One alone says nothing.
    if generations.len() > 1 {
        text.push('\n');
        row(&mut text, GENERATIONS.map(|(name, width)| (name.to_owned(), width)), |_, cell| {
            head.apply_to(cell).to_string()
        });
    }
    for one in generations.iter().filter(|_| generations.len() > 1) {
        let number = |name: &str| one[name].to_string();
        let (state, since) = (word(&one["state"]), word(&one["since"]));
        let cells = [number("generation"), number("pid"), state, since, number("connections")];
        row(&mut text, with_widths(cells, GENERATIONS), |_, cell| cell.to_owned());
    }
    text
}

fn with_widths<const N: usize>(cells: [String; N], columns: [(&str, usize); N]) -> [(String, usize); N] {
    let mut widths = columns.into_iter().map(|(_, width)| width);
    cells.map(|cell| (cell, widths.next().unwrap_or_default()))
}

/// Adds a row; `paint` colours a cell, whose place and padded text it gets.
fn row<const N: usize>(
    text: &mut String,
    cells: [(String, usize); N],
    paint: impl Fn(usize, &str) -> String,
) {
    for (nth, (cell, width)) in cells.into_iter().enumerate() {
        let mut cell = cut(&shown(&cell), width);
        if nth + 1 < N {
            let padding = width - display_width(&cell) + 1;
            cell.extend(std::iter::repeat_n(' ', padding));
        }
        *text += &paint(nth, &cell);
    }
    text.push('\n');
}

/// A text of at most this width; the end of a longer one tells servers apart better than its beginning.
fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if display_width(&kept) + display_width(&c.to_string()) + 1 > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

/// Without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn all(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> Vec<String> {
    all(value).map(word).collect()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_have_80_columns_whatever_the_names_are() {
        let long = "x".repeat(90);
        let state = json!({
            "ready": false,
            "reasons": ["the proxy is stopping", format!("group iis has no server up: {}", "iis1:80 is down, ".repeat(9))],
            "services": [
                {"name": "web", "mode": "http", "groups": ["iis", "api"], "listeners": ["0.0.0.0:80", "[::]:80"]},
                {"name": long, "mode": "stream", "groups": [long], "listeners": [long]},
            ],
            "servers": [
                {"group": "iis", "name": "iis1:80", "address": "10.0.0.1:80", "state": "up", "connections": 3, "max_connections": 9},
                {"group": long, "name": "\u{1b}[31m", "address": long, "state": "slow-start", "connections": 123_456, "max_connections": null},
            ],
        });
        let mut state = state;
        state["generations"] = json!([
            {"generation": 2, "pid": 4712, "since": "2026-11-26T07:50:56Z", "state": "serving", "connections": 12},
            {"generation": 1, "pid": 4711, "since": "2026-11-20T07:50:56Z", "state": "draining", "connections": 3},
        ]);
        let plain = text(&state, false);
        assert!(plain.lines().all(|line| display_width(line) <= 80), "{plain}");
        assert!(
            plain.starts_with("not ready\n  the proxy is stopping\n  group iis has no server up: "),
            "{plain}"
        );
        for line in [
            "SERVICE          MODE   GROUPS                 LISTENERS",
            "web              http   iis api                0.0.0.0:80 [::]:80",
            "GROUP         SERVER                ADDRESS               STATE      CONNECTIONS",
            "iis           iis1:80               10.0.0.1:80           up         3 of 9",
            "GENERATION PID      STATE    SINCE                CONNECTIONS",
            "1          4711     draining 2026-11-20T07:50:56Z 3",
        ] {
            assert!(plain.lines().any(|known| known == line), "{line}\n{plain}");
        }
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(text(&state, true).contains("\u{1b}["), "colours");
    }
}
