//! Values of a settings file, turned into arguments of flags.

use std::ops::Range;

use clap::Arg;
use toml::Spanned;
use toml::de::DeValue;

use super::kind::{Shape, may_lack_value, shape};
use super::source::{Source, shown};
use crate::cli::Error;
use crate::cli::proxy::routes::is_name;

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
fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        // With `0o` where the file has it: permissions.
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn described(value: &DeValue<'_>) -> &'static str {
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
    const WANTED: &str =
        "{ sni = \"NAME\", upstream = \"GROUP\" } or { alpn = \"PROTOCOL\", upstream = \"GROUP\" }";
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
            if !["sni", "alpn", "upstream"].contains(&key.get_ref().as_ref()) {
                return Err(wrong(&key.span(), format!("unknown key {}", shown(key.get_ref()))));
            }
        }
        let (flag, what) = match (of("sni")?, of("alpn")?) {
            (Some(name), None) => ("sni-route", name.to_ascii_lowercase()),
            (None, Some(protocol)) => ("alpn-route", protocol.to_owned()),
            (None, None) => {
                return Err(wrong(&route.span(), "this route has neither sni nor alpn".to_owned()));
            }
            (Some(_), Some(_)) => {
                return Err(wrong(&route.span(), "this route has both sni and alpn".to_owned()));
            }
        };
        let Some(group) = of("upstream")? else {
            return Err(wrong(&route.span(), "this route has no upstream".to_owned()));
        };
        if flag == "sni-route" && !is_name(&what) {
            let message =
                format!("routes: {} is not a host name; give NAME, or *.NAME for all below it", shown(&what));
            return Err(source.error(&route.span(), message));
        }
        // An equals sign would end the protocol on a command line.
        if flag == "alpn-route" && (!(1..=255).contains(&what.len()) || what.contains('=')) {
            let message = format!(
                "routes: {} is not a protocol; give its ALPN name, such as h2 or acme-tls/1",
                shown(&what)
            );
            return Err(source.error(&route.span(), message));
        }
        let argument = format!("--{flag}={what}=");
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
