//! The settings file: several services and their groups in one process.
//!
//! Its keys are the flags. Each table becomes the arguments of the flags that belong to what it describes, and they are
//! parsed by the flags' own definitions: bounds, defaults and what goes together are the same. What this adds is where
//! things stand in the file, and what only a file has: names of services and groups.
//!
//! ```text
//! file --toml--> Table --arguments--> ProcessArgs, ServiceArgs, GroupArgs --> control::Plan
//!   |               `--places--> FILE:LINE:COLUMN: key: what is wrong; what would be right
//!   `-- text() <-- matches     what --check prints
//! ```

mod health;
pub(super) mod kind;
mod servers;
mod source;
mod table;
pub(super) mod text;
mod values;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use clap::{ArgMatches, FromArgMatches as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::kind::{FileGroup, Kind};
use self::source::{Source, shown};
use self::table::Table;
use self::text::Settings;
use super::affinity;
use super::process::ProcessArgs;
use super::routes::routes;
use super::service::ServiceArgs;
use crate::cli::Error;
use crate::control::limits::Host;
use crate::control::names::Resolver;
use crate::control::setting::Named;
use crate::control::{Places, Plan, ServicePlan};
use crate::upstream::names::{Answer, Name};
use crate::upstream::{GroupSettings, Sources};

/// The keys of the top level that are tables.
const TABLES: [&str; 2] = ["service", "group"];

/// The contents of a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) plan: Plan,
    /// What `--check` prints.
    pub(super) text: String,
}

/// A flag of the command line that takes precedence over a key of the file.
#[derive(Debug, Clone)]
pub(super) struct Override {
    pub(super) key: String,
    pub(super) arguments: Vec<String>,
}

/// Reads a file and builds settings and workers for this host. Resolves names, which can take seconds.
///
/// # Errors
/// The first mistake, with its place; a file that cannot be read.
pub(super) fn read(path: &Path, overrides: &[Override], host: &Host) -> Result<Contents, Error> {
    let source = Source::read(path)?;
    let root = DeTable::parse(&source.text).map_err(|error| {
        let words: Vec<_> = error.message().lines().map(str::trim).collect();
        let message = format!("this is not TOML: {}; see https://toml.io", words.join("; "));
        source.error(&error.span().unwrap_or(0..0), message)
    })?;
    let root = root.get_ref();
    let process = Table::read(&source, (Kind::Process, String::new(), 0..0), root, &TABLES)?;
    let services = tables(&source, root, Kind::Service)?;
    let groups = tables(&source, root, Kind::Group)?;
    let mut files = vec![path.to_owned()];
    for table in services.iter().chain(&groups) {
        files.extend(kind::files(&table.kind.command(), &table.matches()?));
    }
    if services.is_empty() {
        return Err(source.error(
            &(0..0),
            "service: there is no [service.NAME] table; add one with listen and upstream, and a [group.NAME] with servers",
        ));
    }
    let (process_args, process_matches) = with_overrides(&process, overrides)?;
    files.extend(kind::files(&Kind::Process.command(), &process_matches));
    let mut settings =
        Settings { process: text::keys(Kind::Process, &process_matches, &[]), ..Settings::default() };
    let groups =
        groups.iter().map(|table| parse_group(table, &mut settings)).collect::<Result<Vec<_>, _>>()?;
    let services =
        services.iter().map(|table| parse_service(table, &mut settings)).collect::<Result<Vec<_>, _>>()?;
    check_names(&services, &groups)?;

    // Mistakes come before what takes long.
    let made =
        groups.iter().map(|(table, group)| group.group.settings().map_err(|error| table.locate(error)));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    let answers = look_up(&groups, &process_args.resolver())?;
    let mut built = BTreeMap::new();
    let mut places = Places::default();
    for (((table, group), of_all), (_, keys)) in groups.iter().zip(&made).zip(&mut settings.groups) {
        let name = &*table.name;
        let filled = group.group.with_servers(of_all, name, "servers", group.servers.iter(), &answers);
        let filled = filled.map_err(|error| table.locate(error))?;
        places.sources.extend(source_places(&source, table, &filled));
        if filled.sources == Sources::Client {
            places.transparent.get_or_insert_with(|| source.place(&table.place("transparent", None)));
        }
        *keys = affinity::with_cookie(std::mem::take(keys), &filled);
        built.insert(name, filled);
    }
    let mut plans: Vec<ServicePlan> = Vec::new();
    for (table, service) in services {
        let plan = plan_service(table, &service, &built, &plans).map_err(|error| table.locate(error))?;
        for listener in &plan.service.listeners {
            let at = table.place("listen", Some(&listener.address.to_string()));
            places.listeners.push((listener.address.clone(), source.place(&at)));
        }
        plans.push(plan);
    }
    let plan = process_args.plan(plans, Named::Keys, host).map_err(|error| process.locate(error))?;
    if let Some(admin) = plan.admin.as_ref().filter(|_| process.has("admin")) {
        places.listeners.push((admin.address.clone(), source.place(&process.place("admin", None))));
    }
    let is_of_file = process.has("access-log") && !overrides.iter().any(|one| one.key == "access-log");
    places.access_log = is_of_file.then(|| source.place(&process.place("access-log", None)));
    let text = settings.text(&plan);
    Ok(Contents { plan: Plan { places, outline: settings.outline(), files, ..plan }, text })
}

/// Where the table of a group names each address that connections to its servers come from.
fn source_places(source: &Source, table: &Table<'_>, group: &GroupSettings) -> Vec<(IpAddr, String)> {
    let Sources::Own(addresses) = &group.sources else { return Vec::new() };
    let places = table.places("source-address").map(|(_, at)| source.place(at));
    std::iter::zip(addresses.iter().copied(), places).collect()
}

/// The tables of a kind, in the order of the file.
fn tables<'a>(source: &'a Source, root: &DeTable<'_>, kind: Kind) -> Result<Vec<Table<'a>>, Error> {
    let word = if kind == Kind::Service { TABLES[0] } else { TABLES[1] };
    let Some(value) = root.get(word) else { return Ok(Vec::new()) };
    let wrong = |at: &Range<usize>| source.error(at, format!("{word}: give tables, each as [{word}.NAME]"));
    let mut named: Vec<(&str, Range<usize>, &Spanned<DeValue<'_>>)> = match value.get_ref().as_table() {
        Some(table) => table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect(),
        None => return Err(wrong(&value.span())),
    };
    named.sort_by_key(|(_, at, _)| at.start);
    let read = |(name, at, value): (&str, Range<usize>, &Spanned<DeValue<'_>>)| {
        let Some(table) = value.get_ref().as_table() else { return Err(wrong(&at)) };
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(source
                .error(&at, format!("{word}: {} is no name; give one that can be printed", shown(name))));
        }
        Table::read(source, (kind, name.to_owned(), at), table, &[])
    };
    named.into_iter().map(read).collect()
}

/// The keys of the process, and the flags that take precedence.
fn with_overrides(table: &Table<'_>, overrides: &[Override]) -> Result<(ProcessArgs, ArgMatches), Error> {
    let mut matches = table.matches()?;
    if !overrides.is_empty() {
        let keys: Vec<_> = overrides.iter().map(|one| one.key.clone()).collect();
        let flags = overrides.iter().flat_map(|one| one.arguments.clone());
        let arguments: Vec<_> = table.arguments(&keys).into_iter().chain(flags).collect();
        let parsed = Kind::Process.command().try_get_matches_from(arguments);
        matches = parsed.map_err(|error| Error::Usage(crate::cli::one_line(&error)))?;
    }
    let parsed = ProcessArgs::from_arg_matches(&matches);
    Ok((parsed.map_err(|error| Error::Usage(crate::cli::one_line(&error)))?, matches))
}

fn parse_group<'a, 'b>(
    table: &'b Table<'a>,
    settings: &mut Settings,
) -> Result<(&'b Table<'a>, FileGroup), Error> {
    let matches = table.matches()?;
    let group = FileGroup::from_arg_matches(&matches)
        .map_err(|error| table.locate(Error::Usage(crate::cli::one_line(&error))))?;
    let servers = text::servers(group.servers.iter());
    let keys = [vec![servers], text::keys(Kind::Group, &matches, &group.group.in_force())].concat();
    settings.groups.push((table.name.clone(), keys));
    Ok((table, group))
}

fn parse_service<'a, 'b>(
    table: &'b Table<'a>,
    settings: &mut Settings,
) -> Result<(&'b Table<'a>, ServiceArgs), Error> {
    let matches = table.matches()?;
    let service = ServiceArgs::from_arg_matches(&matches)
        .map_err(|error| table.locate(Error::Usage(crate::cli::one_line(&error))))?;
    let routes = text::routes(service.routes(), |_, targets| {
        targets.iter().find_map(|target| target.group()).unwrap_or_default().to_owned()
    });
    let mut keys = text::keys(Kind::Service, &matches, &service.in_force());
    // Behind where it listens.
    keys.splice(1..1, routes);
    settings.services.push((table.name.clone(), keys));
    Ok((table, service))
}

/// Every group that a service names exists, and every group is named.
fn check_names(
    services: &[(&Table<'_>, ServiceArgs)],
    groups: &[(&Table<'_>, FileGroup)],
) -> Result<(), Error> {
    let mut used: Vec<&str> = Vec::new();
    for (table, service) in services {
        for (route, targets) in service.routes().by_route() {
            let Some(name) = targets.iter().find_map(|target| target.group()) else { continue };
            used.push(name);
            if groups.iter().any(|(group, _)| group.name == name) {
                continue;
            }
            let key = if route.name().is_none() { "upstream" } else { "routes" };
            let known: Vec<_> = groups.iter().map(|(group, _)| group.name.as_str()).collect();
            let advice = if known.is_empty() {
                format!("add [group.{}] with servers", text::key(name))
            } else {
                format!("add it, or give one of {}", known.join(", "))
            };
            let message = format!("{key}: there is no [group.{}]; {advice}", text::key(name));
            return Err(table.source.error(&table.place(key, Some(name)), message));
        }
    }
    match groups.iter().find(|(group, _)| !used.contains(&group.name.as_str())) {
        None => Ok(()),
        Some((group, _)) => {
            let message = format!(
                "{}: no service uses this group; name it as upstream of a service or of a route, or remove it",
                group.title()
            );
            Err(group.source.error(&group.header, message))
        }
    }
}

/// What the names of all groups stand for.
fn look_up(groups: &[(&Table<'_>, FileGroup)], resolver: &Resolver) -> Result<BTreeMap<Name, Answer>, Error> {
    let given = groups.iter().flat_map(|(_, group)| group.servers.iter().map(|server| ("servers", server)));
    super::group::look_up(resolver, given).map_err(|(server, error)| {
        let has_it = |group: &FileGroup| group.servers.iter().any(|known| std::ptr::eq(known, server));
        match groups.iter().find(|(_, group)| has_it(group)) {
            Some((table, _)) => table.locate(error),
            None => error,
        }
    })
}

fn plan_service(
    table: &Table<'_>,
    service: &ServiceArgs,
    groups: &BTreeMap<&str, Arc<GroupSettings>>,
    others: &[ServicePlan],
) -> Result<ServicePlan, Error> {
    let mut written = Vec::new();
    for (route, targets) in service.routes().by_route() {
        let group = targets.iter().find_map(|target| target.group()).and_then(|name| groups.get(name));
        written.extend(group.map(|group| (route, Arc::clone(group))));
    }
    let speaks_tls = written.iter().any(|(_, group)| group.tls.is_some());
    let has_affinity = written.iter().any(|(_, group)| group.affinity.is_some());
    service.check(speaks_tls, has_affinity)?;
    let routes = routes(written);
    service.service(&table.name, routes, others)
}

#[cfg(test)]
mod tests;
