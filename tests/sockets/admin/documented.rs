//! The page about the endpoint has every answer as it is: each sample of JSON, and each list of fields.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::start;
use crate::support::{Identity, Launch, Server, exchange, pair};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin.md");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands in backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What the page says of the answer to a request.
fn described<'a>(page: &'a str, request: &str) -> &'a str {
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| `{request}` | ")));
    row.unwrap_or_else(|| panic!("docs/admin.md has no {request}"))
}

/// The first sample of JSON in a text; `...` stands for what may be there.
fn sample(text: &str) -> Value {
    let sample = code(text).find(|code| code.starts_with('{')).unwrap_or_else(|| panic!("no sample: {text}"));
    serde_json::from_str(&sample.replace("[...]", "[]")).unwrap_or_else(|error| panic!("{error}: {sample}"))
}

/// Whether both have the same keys with values of the same types; a list in the sample says what an element is.
fn is_alike(sample: &Value, answer: &Value) -> bool {
    match (sample, answer) {
        (Value::Object(sample), Value::Object(answer)) => {
            sample.keys().eq(answer.keys()) && sample.iter().all(|(key, value)| is_alike(value, &answer[key]))
        }
        (Value::Array(sample), Value::Array(answer)) => {
            answer.iter().all(|one| sample.first().is_none_or(|sample| is_alike(sample, one)))
        }
        _ => std::mem::discriminant(sample) == std::mem::discriminant(answer),
    }
}

fn keys(row: &Value) -> BTreeSet<String> {
    row.as_object().unwrap_or_else(|| panic!("no object: {row}")).keys().cloned().collect()
}

#[test]
fn samples_are_what_is_answered() {
    let (page, server) = (page(), Server::v4());
    let (proxy, admin) = start(Launch::to(server.address()));
    let refused = admin.get("/no-such-path").json();
    for line in page.lines() {
        for code in code(line).filter(|code| code.starts_with("{\"error\"")) {
            assert!(is_alike(&sample(&format!("`{code}`")), &refused), "{code}");
        }
    }
    let answers = [
        ("GET /healthz", admin.json("/healthz")),
        ("POST /v1/reload", admin.request("POST", "/v1/reload", &[]).json()),
        ("GET /readyz", {
            let address = server.address();
            admin.request("POST", &format!("/v1/servers/{address}/disable"), &[]);
            admin.get("/readyz").json()
        }),
    ];
    for (request, answer) in answers {
        let sample = sample(described(&page, request));
        assert!(is_alike(&sample, &answer), "{request}: {sample} is documented, {answer} answered");
    }
    assert!(page.contains("answers `{\"connections\": [...], \"more\": false}`"));
    let connections = admin.json("/v1/connections");
    assert!(is_alike(&serde_json::json!({"connections": [], "more": false}), &connections), "{connections}");
    drop(proxy);
}

#[test]
fn fields_of_lists_are_those_that_are_answered() {
    let directory = tempfile::TempDir::new().expect("a directory for temporary files");
    let front = Identity::make(directory.path(), "front", &["front.test"]);
    let (page, server) = (page(), Server::v4());
    let (proxy, admin) = start(Launch::to(server.address()));
    let (client, upstream) = pair(&proxy, &server);
    exchange(&client, &upstream);
    let (_tls, with_tls) = start(Launch::to(server.address()).flags(&front.flags()));
    for (list, admin) in
        [("services", &admin), ("groups", &admin), ("servers", &admin), ("certificates", &with_tls)]
    {
        let path = format!("/v1/{list}");
        let text = described(&page, &format!("GET {path}"));
        // In brackets stand the values of a field.
        let text: String =
            text.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
        let documented: BTreeSet<_> = code(&text).map(str::to_owned).collect();
        assert_eq!(documented, keys(&admin.json(&path)[list][0]), "{path}: the page (left)");
    }
    let (_, section) = page.split_once("\n## Connections\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let documented: BTreeSet<_> = rows.flat_map(code).map(str::to_owned).collect();
    assert_eq!(documented, keys(&admin.json("/v1/connections")["connections"][0]), "the page (left)");
}
