//! The words of the logs: what the pages say of them is what the code says, both ways.

use std::collections::BTreeSet;

use iisplice::doctor::site::Id;
use iisplice::doctor::{host, log};
use iisplice::protocol::login::{Mechanism, Step, Symptom};
use iisplice::proxy::counters::{Handshake, Login, Status, Unconnected};
use iisplice::proxy::record::{Connect, End};
use iisplice::uring::Shortage;

use super::page::Page;

/// The words of one field, with their meanings.
struct Field {
    name: &'static str,
    words: Vec<(&'static str, &'static str)>,
    /// The page and the column that explain them.
    explained: (&'static str, &'static str),
}

fn fields() -> [Field; 13] {
    [
        Field {
            name: "finding",
            words: Id::ALL.map(|id| (id.as_str(), id.meaning())).into(),
            explained: ("docs/doctor.md", "meaning"),
        },
        Field {
            name: "host finding",
            words: host::Id::ALL.map(|id| (id.as_str(), id.meaning())).into(),
            explained: ("docs/doctor.md", "meaning"),
        },
        Field {
            name: "log finding",
            words: log::Id::ALL.map(|id| (id.as_str(), id.meaning())).into(),
            explained: ("docs/doctor.md", "meaning"),
        },
        Field {
            name: "end",
            words: End::ALL.map(|end| (end.as_str(), end.meaning())).into(),
            explained: ("docs/access-log.md", "what happened"),
        },
        Field {
            name: "connect",
            words: Connect::ALL.map(|how| (how.as_str(), how.meaning())).into(),
            explained: ("docs/access-log.md", "when the connection was opened"),
        },
        Field {
            name: "step",
            words: Step::ALL.map(|step| (step.as_str(), step.meaning())).into(),
            explained: ("docs/http-mode.md", "what the request was"),
        },
        Field {
            name: "mechanism",
            words: Mechanism::ALL.map(|mechanism| (mechanism.as_str(), mechanism.meaning())).into(),
            explained: ("docs/http-mode.md", "how the client logs in"),
        },
        Field {
            name: "symptom",
            words: Symptom::ALL.map(|symptom| (symptom.as_str(), symptom.explanation())).into(),
            explained: ("docs/http-mode.md", "what the line says"),
        },
        Field {
            name: "login",
            words: Login::ALL.map(|login| (login.as_str(), login.meaning())).into(),
            explained: ("docs/metrics.md", "meaning"),
        },
        Field {
            name: "counted status",
            words: Status::ALL.map(|status| (status.as_str(), status.meaning())).into(),
            explained: ("docs/metrics.md", "meaning"),
        },
        Field {
            name: "connect failure",
            words: Unconnected::ALL.map(|cause| (cause.as_str(), cause.meaning())).into(),
            explained: ("docs/metrics.md", "meaning"),
        },
        Field {
            name: "handshake",
            words: Handshake::ALL.map(|handshake| (handshake.as_str(), handshake.meaning())).into(),
            explained: ("docs/metrics.md", "meaning"),
        },
        Field {
            name: "resource",
            words: Shortage::ALL.map(|shortage| (shortage.as_str(), shortage.meaning())).into(),
            explained: ("docs/metrics.md", "meaning"),
        },
    ]
}

/// A sentence as a table has it: without code marks and without its stop.
fn in_a_table(meaning: &str) -> String {
    let text = meaning.replace('`', "");
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// Whether two texts are the same; the first letter may differ in case.
fn are_same(said: &str, meaning: &str) -> bool {
    match (said.split_at_checked(1), meaning.split_at_checked(1)) {
        (Some((one, said)), Some((other, meaning))) => one.eq_ignore_ascii_case(other) && said == meaning,
        _ => said == meaning,
    }
}

#[test]
fn the_tables_explain_every_word_of_the_logs_as_the_code_does() {
    let mut faults = Vec::new();
    for Field { name, words, explained: (path, column) } in fields() {
        let page = Page::read(path);
        let is_it = |head: &Vec<String>| head.len() > 1 && head[0] == name && head[1] == column;
        let Some(table) = page.tables.iter().find(|table| is_it(&table.head)) else {
            faults.push(format!("{path}: no table has the columns {name} and {column:?}"));
            continue;
        };
        let mut listed = BTreeSet::new();
        for (line, row) in &table.rows {
            let Some((word, meaning)) = words.iter().find(|(word, _)| *word == row[0]) else {
                faults.push(format!("{path}:{line}: {name} is never {:?}", row[0]));
                continue;
            };
            if !are_same(&row[1], &in_a_table(meaning)) {
                faults.push(format!("{path}:{line}: {word}: say {:?}", in_a_table(meaning)));
            }
            if !listed.insert(*word) {
                faults.push(format!("{path}:{line}: {word} is listed twice"));
            }
        }
        for (word, meaning) in words.iter().filter(|(word, _)| !listed.contains(word)) {
            faults.push(format!("{path}: add | `{word}` | {} |", in_a_table(meaning)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_pages_use_no_word_that_no_log_has() {
    let mut faults = Vec::new();
    for page in Page::all() {
        let path = page.path.display();
        for Field { name, words, .. } in fields() {
            let mut check = |line: usize, word: &str| {
                if !words.iter().any(|(known, _)| *known == word) {
                    faults.push(format!("{path}:{line}: {name} is never {word:?}"));
                }
            };
            for span in &page.code {
                if let Some(word) = span.text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
                    // Without a word it is the field.
                    word.split(' ')
                        .next()
                        .filter(|word| !word.is_empty())
                        .iter()
                        .for_each(|word| check(span.line, word));
                }
            }
            for table in &page.tables {
                let column = table.head.iter().position(|head| head == name);
                for (line, row) in column.iter().flat_map(|_| &table.rows) {
                    let cell = column.and_then(|at| row.get(at)).map_or("", |cell| cell);
                    // What follows a word in its cell narrows it.
                    let words = cell.split(", ").take_while(|word| !word.contains(' '));
                    words.for_each(|word| check(*line, word));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
