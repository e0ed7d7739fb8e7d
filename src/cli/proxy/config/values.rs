//! Values of a settings file, turned into arguments of flags.

use std::ops::Range;

use clap::Arg;
use toml::Spanned;
use toml::de::DeValue;

use super::kind::{Shape, may_lack_value, shape};
use super::source::{Source, shown};
use crate::cli::Error;
use crate::cli::proxy::routes::{Place, Prefix, Route, is_name, prefix};

/// The keys of a route, each of which stands for the flag `--KEY-route`; host and path may stand together.
const ROUTE_KEYS: [&str; 4] = ["sni", "alpn", "host", "path"];

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
    let Some(all) = value.get_ref().as_array() else {
        let what = format!("this is {}", described(value.get_ref()));
        let message = format!("routes: {what}; give an array of {ROUTES_WANTED}");
        return Err(source.error(&value.span(), message));
    };
    let mut values: Vec<Value> = Vec::new();
    let mut known: Vec<(For, Range<usize>)> = Vec::new();
    for route in all {
        let (one, group) = route_of(source, route)?;
        let at = route.span();
        let dead = known.iter().find_map(|(other, other_at)| {
            if other.route().has_all_of(one.route()) {
                Some((&one, &at, other_at))
            } else {
                one.route().has_all_of(other.route()).then_some((other, other_at, &at))
            }
        });
        if let Some((dead, dead_at, other_at)) = dead {
            let message = format!(
                "routes: the route for {} is dead: the one at {} has all its connections; remove one of them",
                shown(dead.text()),
                source.place(other_at)
            );
            return Err(source.error(dead_at, message));
        }
        values.push(Value {
            argument: format!("--{}={}={group}", one.route().flag(), one.argument()),
            text: group,
            at: at.clone(),
        });
        known.push((one, at));
    }
    Ok(values)
}

const ROUTES_WANTED: &str = "{ sni = \"NAME\", upstream = \"GROUP\" }, { alpn = \"PROTOCOL\", upstream = \"GROUP\" } or \
                             { host = \"HOST\", path = \"/PATH\", upstream = \"GROUP\" } with host, path or both";

/// Which connections a route is for.
enum For {
    Name(String),
    Protocol(String),
    Requests(Place),
}

impl For {
    fn route(&self) -> Route<'_> {
        match self {
            Self::Name(name) => Route::Name(name),
            Self::Protocol(protocol) => Route::Protocol(protocol),
            Self::Requests(place) => Route::Requests(place),
        }
    }

    fn text(&self) -> &str {
        self.route().name().unwrap_or_default()
    }

    /// As a flag has it, where an equals sign is the end.
    fn argument(&self) -> String {
        self.text().replace('=', "%3D")
    }
}

/// Which connections a route is for, and the name of its group.
fn route_of(source: &Source, route: &Spanned<DeValue<'_>>) -> Result<(For, String), Error> {
    let wrong =
        |at: &Range<usize>, what: String| source.error(at, format!("routes: {what}; give {ROUTES_WANTED}"));
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
    let misfit = |text: &str, what: &str| {
        source.error(&route.span(), format!("routes: {} is not a {what}", shown(text)))
    };
    let host = |name: &str| {
        let name = name.to_ascii_lowercase();
        let wanted = "host name; give NAME, or *.NAME for all below it";
        if is_name(&name) { Ok(name) } else { Err(misfit(&name, wanted)) }
    };
    let path = |text: &str| -> Result<Prefix, Error> {
        prefix(text).map_err(|reason| {
            source.error(&route.span(), format!("routes: {} is not a path; {reason}", shown(text)))
        })
    };
    let one = match given[..] {
        [] => return Err(wrong(&route.span(), "this route has none of sni, alpn, host and path".to_owned())),
        [("sni", name)] => For::Name(host(name)?),
        // An equals sign would end the protocol on a command line.
        [("alpn", protocol)] if (1..=255).contains(&protocol.len()) && !protocol.contains('=') => {
            For::Protocol(protocol.to_owned())
        }
        [("alpn", protocol)] => {
            return Err(misfit(protocol, "protocol; give its ALPN name, such as h2 or acme-tls/1"));
        }
        [("host", name)] => For::Requests(Place::new(Some(host(name)?), None)),
        [(_path, text)] => For::Requests(Place::new(None, Some(path(text)?))),
        [("host", name), ("path", text)] => For::Requests(Place::new(Some(host(name)?), Some(path(text)?))),
        [(first, _), (second, _), ..] => {
            return Err(wrong(&route.span(), format!("this route has both {first} and {second}")));
        }
    };
    match of("upstream")? {
        Some(group) => Ok((one, group.to_owned())),
        None => Err(wrong(&route.span(), "this route has no upstream".to_owned())),
    }
}
