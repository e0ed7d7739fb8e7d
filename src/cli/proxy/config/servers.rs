//! The servers of a group in a settings file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Source, shown};
use super::values::{Value, described, text};
use crate::cli::Error;
use crate::cli::proxy::servers::{OPTIONS, WrittenServer, is_switch, set, unknown};
use crate::upstream::ServerOptions;

const WANTED: &str = "\"HOST:PORT\", { address = \"HOST:PORT\", weight = 2 }, or an array of them";

/// The arguments that the servers of a group stand for.
pub(super) fn servers(source: &Source, value: &Spanned<DeValue<'_>>) -> Result<Vec<Value>, Error> {
    let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(address) => Ok(argument(address, "", value)),
        DeValue::Table(table) => server(source, value, table),
        other => {
            let message = format!("servers: this is {}; give {WANTED}", described(other));
            Err(source.error(&value.span(), message))
        }
    };
    match value.get_ref() {
        DeValue::Array(all) => all.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

fn argument(address: &str, options: &str, value: &Spanned<DeValue<'_>>) -> Value {
    // Messages about a server name its address.
    let text = WrittenServer::parse(address)
        .map_or_else(|_| address.to_owned(), |server| server.address.to_string());
    Value { argument: format!("--servers={address}{options}"), text, at: value.span() }
}

/// A server with its options as keys.
fn server(source: &Source, value: &Spanned<DeValue<'_>>, table: &DeTable<'_>) -> Result<Value, Error> {
    let mut address = None;
    let mut options = String::new();
    for (key, value) in table {
        let wrong = |message: String| Err(source.error(&value.span(), format!("servers: {message}")));
        let name = key.get_ref().as_ref();
        match (name, value.get_ref()) {
            ("address", DeValue::String(text)) => address = Some((text.to_string(), value.span())),
            ("address", other) => {
                return wrong(format!("address is {}; give \"HOST:PORT\"", described(other)));
            }
            (switch, DeValue::Boolean(is_on)) if is_switch(switch) => {
                if *is_on {
                    options.extend([",", switch]);
                }
            }
            (switch, other) if is_switch(switch) => {
                return wrong(format!("{switch} is {}; give true or false", described(other)));
            }
            (option, other) if OPTIONS.contains(&option) => {
                let Some(text) = text(other) else {
                    return wrong(format!("{option} is {}; give an integer", described(other)));
                };
                if let Err(message) = set(&mut ServerOptions::default(), option, Some(&text)) {
                    return wrong(message);
                }
                options.extend([",", option, "=", &text]);
            }
            (key_name, _) => {
                let known: Vec<_> = ["address"].into_iter().chain(OPTIONS).collect();
                let message = unknown(key_name, &known).replace("unknown option", "unknown key");
                return Err(source.error(&key.span(), format!("servers: {message}")));
            }
        }
    }
    let Some((address, at)) = address else {
        let message = format!("servers: this server has no address; give {WANTED}");
        return Err(source.error(&value.span(), message));
    };
    match WrittenServer::parse(&address) {
        Ok(server) if server.options != ServerOptions::default() || server.address.to_string() != address => {
            let message = format!("servers: {} has options in it; give them as keys", shown(&address));
            Err(source.error(&at, message))
        }
        Ok(_) => Ok(argument(&address, &options, value)),
        Err(message) => {
            Err(source.error(&at, format!("servers: invalid address {}: {message}", shown(&address))))
        }
    }
}
