//! Values of a settings file, turned into arguments of flags.

use std::ops::Range;

use clap::Arg;
use toml::Spanned;
use toml::de::DeValue;

use super::kind::{Shape, may_lack_value, shape};
use super::source::{Source, shown};
use crate::cli::Error;
use crate::cli::proxy::routes::is_name;

/// The keys of a route, each of which stands for the flag `--KEY-route`.
const ROUTE_KEYS: [&str; 3] = ["sni", "alpn", "host"];

/// An argument, and where the file has it.
#[derive(Debug)]
pub(super) struct Value {
    /// The flag with its dashes and value.
    pub(super) argument: String,
    /// As written, for messages about it.
    pub(super) text: String,
    pub(super) at: Range<usize>,
}

/// The arguments of a flag by its value in the file.
pub(super) fn values(
    source: &Source,
    argument: &Arg,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<Value>, Error> {
    let key = argument.get_long().unwrap_or_default();
    let wrong = |value: &Spanned<DeValue<'_>>, wanted: &str| {
        let message = format!("{key}: this is {}; give {wanted}", described(value.get_ref()));
        Err(source.error(&value.span(), message))
    };
    let one = |value: &Spanned<DeValue<'_>>, wanted: &str| match text(value.get_ref()) {
        Some(text) => Ok(Value { argument: format!("--{key}={text}"), text, at: value.span() }),
        None => wrong(value, wanted).map(|()| unreachable!("it is an error")),
    };
    let is_switch = |shape| shape == Shape::Switch || may_lack_value(argument);
    match (shape(argument), value.get_ref()) {
        (shape, DeValue::Boolean(false)) if is_switch(shape) => Ok(Vec::new()),
        (shape, DeValue::Boolean(true)) if is_switch(shape) => {
            Ok(vec![Value { argument: format!("--{key}"), text: String::new(), at: value.span() }])
        }
        (Shape::Switch, _) => wrong(value, "true or false").map(|()| Vec::new()),
        (Shape::Many, DeValue::Array(all)) => {
            all.iter().map(|value| one(value, "a string or an integer")).collect()
        }
        (Shape::Many, _) => Ok(vec![one(value, "a string, an integer, or an array of them")?]),
        (Shape::One, _) if key == "upstream" => Ok(vec![one(value, "the name of one group")?]),
        (Shape::One, _) => Ok(vec![one(value, "a string or an integer")?]),
    }
}

/// The value of a flag.
pub(super) fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // With `0o` where the file has it: permissions.
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(super) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The routes of a service.
pub(super) fn routes(source: &Source, value: &Spanned<DeValue<'_>>) -> Result<Vec<Value>, Error> {
    const WANTED: &str = "{ sni = \"NAME\", upstream = \"GROUP\" }, { alpn = \"PROTOCOL\", upstream = \"GROUP\" } or \
                          { host = \"HOST\", upstream = \"GROUP\" }";
    let wrong = |at: &Range<usize>, what: String| source.error(at, format!("routes: {what}; give {WANTED}"));
    let Some(all) = value.get_ref().as_array() else {
        let what = format!("this is {}", described(value.get_ref()));
        return Err(source.error(&value.span(), format!("routes: {what}; give an array of {WANTED}")));
    };
    let mut values: Vec<Value> = Vec::new();
    for route in all {
        let Some(table) = route.get_ref().as_table() else {
            return Err(wrong(&route.span(), format!("this is {}", described(route.get_ref()))));
        };
        let of = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(wrong(&value.span(), format!("{key} is {}", described(value.get_ref())))),
            },
        };
        for (key, _) in table {
            let name = key.get_ref().as_ref();
            if name != "upstream" && !ROUTE_KEYS.contains(&name) {
                return Err(wrong(&key.span(), format!("unknown key {}", shown(key.get_ref()))));
            }
        }
        let mut given = Vec::new();
        for key in ROUTE_KEYS {
            given.extend(of(key)?.map(|text| (key, text)));
        }
        let (key, text) = match given[..] {
            [one] => one,
            [] => return Err(wrong(&route.span(), "this route has none of sni, alpn and host".to_owned())),
            [(first, _), (second, _), ..] => {
                return Err(wrong(&route.span(), format!("this route has both {first} and {second}")));
            }
        };
        let what = if key == "alpn" { text.to_owned() } else { text.to_ascii_lowercase() };
        let Some(group) = of("upstream")? else {
            return Err(wrong(&route.span(), "this route has no upstream".to_owned()));
        };
        if let Some(message) = misfit(key, &what) {
            return Err(source.error(&route.span(), format!("routes: {} is not a {message}", shown(&what))));
        }
        let argument = format!("--{key}-route={what}=");
        if let Some(first) = values.iter().find(|known| known.argument.starts_with(&argument)) {
            let message = format!(
                "routes: the route for {} is dead: the one at {} has all its connections; remove one of them",
                shown(&what),
                source.place(&first.at)
            );
            return Err(source.error(&route.span(), message));
        }
        values.push(Value { argument: argument + group, text: group.to_owned(), at: route.span() });
    }
    Ok(values)
}

/// What a route's key should have instead of `what`; nothing where it is right.
fn misfit(key: &str, what: &str) -> Option<&'static str> {
    if key == "alpn" {
        // An equals sign would end the protocol on a command line.
        let is_protocol = (1..=255).contains(&what.len()) && !what.contains('=');
        return (!is_protocol).then_some("protocol; give its ALPN name, such as h2 or acme-tls/1");
    }
    (!is_name(what)).then_some("host name; give NAME, or *.NAME for all below it")
}
