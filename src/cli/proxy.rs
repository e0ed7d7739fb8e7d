//! `iisplice proxy`: the flags of a process, of one service and of its groups.

mod admission;
mod affinity;
mod bounds;
mod config;
mod group;
mod health;
mod http;
mod process;
mod routes;
mod servers;
mod service;
mod sources;
mod timeouts;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use self::config::kind::{self, Kind, Shape, shape};
use self::config::text::{self, Settings};
use self::config::{Contents, Override};
use self::group::GroupArgs;
use self::process::ProcessArgs;
use self::routes::{RouteArgs, routes};
use self::service::ServiceArgs;
use super::Error;
use crate::control::Plan;
use crate::control::limits::Host;
use crate::control::setting::Named;
use crate::upstream::GroupSettings;

/// The name of the service that flags describe, and of its group without a route.
const DEFAULT: &str = "default";

/// The flags of `iisplice proxy`: those of the process, and either a file or those of one service and its groups.
#[derive(Debug)]
pub struct ProxyArgs {
    check: bool,
    process: ProcessArgs,
    settings: From,
    /// The keys of the process as a file has them.
    keys: Vec<String>,
    /// Files that flags name.
    files: Vec<PathBuf>,
}

#[derive(Debug)]
enum From {
    File { path: PathBuf, overrides: Vec<Override> },
    Flags(Box<Flags>),
}

#[derive(Debug)]
struct Flags {
    service: ServiceArgs,
    group: GroupArgs,
    /// A flag of groups that was given.
    group_flag: Option<String>,
    /// Their keys as a file has them.
    service_keys: Vec<String>,
    group_keys: Vec<String>,
}

/// The flags about a settings file; the bracket at the end of each text is the nginx option that it stands for.
#[derive(Debug, Args)]
struct FileArgs {
    /// Settings file (TOML) with services and groups; of the other flags only those of the process may be given, and take
    /// precedence [default: none] [nginx: -c]
    #[arg(long, value_name = "FILE", help_heading = "Settings file")]
    config: Option<PathBuf>,
    /// Check all that a start needs, print the settings as a settings file, and exit [default: off] [nginx: -t, -T]
    #[arg(long, help_heading = "Settings file")]
    check: bool,
}

/// Settings in force.
#[derive(Debug)]
pub struct Effective {
    /// For this host.
    pub plan: Plan,
    /// As a settings file.
    pub text: String,
}

/// The plan of a settings file, or of the default settings with a listener and a server that are not used.
///
/// # Errors
/// A mistake in the file, or one that cannot be read.
pub(super) fn plan_of(config: Option<&Path>, host: &Host) -> Result<Plan, Error> {
    if let Some(path) = config {
        return Ok(config::read(path, &[], host)?.plan);
    }
    let command = ProxyArgs::augment_args(Command::new("iisplice"));
    let flags = ["iisplice", "--listen=127.0.0.1:80", "--upstream=127.0.0.1:80"];
    let arguments =
        command.try_get_matches_from(flags).and_then(|matches| ProxyArgs::from_arg_matches(&matches));
    let arguments = arguments.map_err(|error| Error::Usage(error.to_string()))?;
    Ok(arguments.settings(host)?.plan)
}

impl ProxyArgs {
    /// Whether the settings are to be checked only.
    pub fn is_check(&self) -> bool {
        self.check
    }

    /// Builds settings and workers for this host, as often as it is called. Reads files, and resolves names, which can
    /// take seconds.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn settings(&self, host: &Host) -> Result<Effective, Error> {
        let Self { process, settings, keys, files, .. } = self;
        match settings {
            From::File { path, overrides } => {
                let Contents { plan, text } = config::read(path, overrides, host)?;
                Ok(Effective { plan, text })
            }
            From::Flags(flags) => {
                let Effective { plan, text } = flags.settings(process, keys, host)?;
                Ok(Effective { plan: Plan { files: files.clone(), ..plan }, text })
            }
        }
    }
}

impl Flags {
    fn settings(&self, process: &ProcessArgs, keys: &[String], host: &Host) -> Result<Effective, Error> {
        let Self { service, group, group_flag, service_keys, group_keys } = self;
        service.check(group.speaks_tls(), group.has_affinity())?;
        if let Some(flag) = group_flag.as_ref().filter(|_| service.redirects()) {
            return Err(Error::Usage(format!(
                "--{flag} is about servers, and --redirect-to-https has none; remove one of them"
            )));
        }
        let settings = group.settings()?;
        let all = service.routes().by_route();
        let given = all.iter().flat_map(|(route, targets)| {
            targets.iter().filter_map(|target| Some((route.flag(), target.server()?)))
        });
        let answers = group::look_up(&process.resolver(), given).map_err(|(_, error)| error)?;
        let mut written = Vec::new();
        let mut groups = Vec::new();
        let mut made: BTreeMap<&str, Arc<GroupSettings>> = BTreeMap::new();
        let names = group_names(service.routes());
        for ((route, targets), name) in std::iter::zip(service.routes().by_route(), &names) {
            if let Some(known) = made.get(name.as_str()) {
                written.push((route, Arc::clone(known)));
                continue;
            }
            let servers = || targets.iter().filter_map(|target| target.server());
            let filled = group.with_servers(&settings, name, route.flag(), servers(), &answers)?;
            made.insert(name, Arc::clone(&filled));
            let keys = [vec![text::servers(servers())], group_keys.clone()].concat();
            groups.push((name.clone(), affinity::with_cookie(keys, &filled)));
            written.push((route, filled));
        }
        let routes = routes(written);
        let mut next = names.iter();
        let route_keys = text::routes(service.routes(), |_, _| next.next().cloned().unwrap_or_default());
        let mut service_keys = service_keys.clone();
        service_keys.splice(1..1, route_keys);
        let services = vec![(DEFAULT.to_owned(), service_keys)];
        let written = Settings { process: keys.to_vec(), services, groups };
        let plan = process.plan(vec![service.service(DEFAULT, routes, &[])?], Named::Flags, host)?;
        let text = written.text(&plan);
        Ok(Effective { plan: Plan { outline: written.outline(), ..plan }, text })
    }
}

/// A name for the group of each route: the route's, as long as no other one has it. A route to the servers of one before
/// it shares that one's group, so that a connection serves both.
fn group_names(routes: &RouteArgs) -> Vec<String> {
    let by_route = routes.by_route();
    let mut names: Vec<String> = Vec::new();
    for (route, targets) in &by_route {
        let known = by_route.iter().zip(&names).find(|((_, others), _)| others == targets);
        if let Some((_, known)) = known {
            names.push(known.clone());
            continue;
        }
        let mut name = route.name().unwrap_or(DEFAULT).to_owned();
        while names.contains(&name) {
            name.insert_str(0, route.flag());
            name.insert(route.flag().len(), '-');
        }
        names.push(name);
    }
    names
}

impl FromArgMatches for ProxyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let FileArgs { config, check } = FileArgs::from_arg_matches(matches)?;
        let settings = if let Some(path) = config {
            From::File { path, overrides: overrides(matches)? }
        } else {
            let service = ServiceArgs::from_arg_matches(matches)?;
            let group = GroupArgs::from_arg_matches(matches)?;
            From::Flags(Box::new(Flags {
                group_flag: given(Kind::Group, matches),
                service_keys: text::keys(Kind::Service, matches, &service.in_force()),
                group_keys: text::keys(Kind::Group, matches, &group.in_force()),
                service,
                group,
            }))
        };
        let keys = text::keys(Kind::Process, matches, &[]);
        let files = kind::files(&Self::augment_args(Command::new("iisplice")), matches);
        Ok(Self { check, process: ProcessArgs::from_arg_matches(matches)?, settings, keys, files })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The first flag of this kind that was given.
fn given(kind: Kind, matches: &ArgMatches) -> Option<String> {
    let command = kind.command();
    let is_given = |argument: &&clap::Arg| {
        let id = argument.get_id().as_str();
        matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let flag = command.get_arguments().find(is_given).and_then(clap::Arg::get_long);
    flag.map(str::to_owned)
}

/// The flags given beside a file.
fn overrides(matches: &ArgMatches) -> Result<Vec<Override>, clap::Error> {
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    for kind in [Kind::Service, Kind::Group] {
        if let Some(flag) = given(kind, matches) {
            let message = format!(
                "--{flag} cannot be used with --config, beside which only flags of the process may be given; put it \
                 into a table of the file"
            );
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message + "\n"));
        }
    }
    let command = Kind::Process.command();
    let given = command.get_arguments().filter(|argument| is_given(argument.get_id().as_str()));
    let one = |argument: &clap::Arg| {
        let flag = argument.get_long().unwrap_or_default();
        let raw = matches.get_raw(argument.get_id().as_str()).into_iter().flatten();
        let arguments = match shape(argument) {
            Shape::Switch => vec![format!("--{flag}")],
            _ => raw.map(|value| format!("--{flag}={}", value.to_string_lossy())).collect(),
        };
        Override { key: flag.to_owned(), arguments }
    };
    Ok(given.map(one).collect())
}

impl Args for ProxyArgs {
    fn augment_args(command: Command) -> Command {
        let command = ServiceArgs::augment_args(command);
        let command = GroupArgs::augment_args(command);
        let command = ProcessArgs::augment_args(command);
        FileArgs::augment_args(command)
            .mut_arg("listen", |flag| flag.required(false).required_unless_present("config"))
            .mut_arg("upstream", |flag| flag.required_unless_present("config"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests;
