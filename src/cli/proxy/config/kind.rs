//! The three kinds of tables in a settings file, and the flags that are their keys.

use std::any::TypeId;
use std::path::PathBuf;

use clap::{ArgAction, ArgMatches, Args, Command};

use super::super::group::GroupArgs;
use super::super::process::ProcessArgs;
use super::super::routes::to_groups;
use super::super::servers::WrittenServer;
use super::super::service::ServiceArgs;

/// What a table describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// The top level.
    Process,
    /// `[service.NAME]`.
    Service,
    /// `[group.NAME]`.
    Group,
}

/// A group as a file has it.
#[derive(Debug, Args)]
pub(super) struct FileGroup {
    /// Server of this group
    #[arg(long, value_name = "ADDR", required = true, value_parser = WrittenServer::parse)]
    pub(super) servers: Vec<WrittenServer>,
    #[command(flatten)]
    pub(super) group: GroupArgs,
}

/// Flags that a file writes as `routes`.
pub(in super::super) const ROUTES: [&str; 4] = ["sni-route", "alpn-route", "host-route", "path-route"];

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Process, Self::Service, Self::Group];

    /// The definition of the flags that are keys of this kind of table.
    pub(in super::super) fn command(self) -> Command {
        let command =
            Command::new("settings").no_binary_name(true).disable_help_flag(true).disable_version_flag(true);
        match self {
            Self::Process => ProcessArgs::augment_args(command),
            Self::Service => to_groups(ServiceArgs::augment_args(command)),
            Self::Group => FileGroup::augment_args(command),
        }
    }

    /// The keys of this kind of table.
    pub(super) fn keys(self) -> Vec<String> {
        let command = self.command();
        let flags = command.get_arguments().filter_map(|argument| argument.get_long());
        let mut keys: Vec<_> = flags.filter(|flag| !ROUTES.contains(flag)).map(str::to_owned).collect();
        if self == Self::Service {
            keys.push("routes".to_owned());
        }
        keys
    }

    /// How a message calls this kind of table.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Process => "the top level",
            Self::Service => "a [service.NAME] table",
            Self::Group => "a [group.NAME] table",
        }
    }
}

/// How the values of a flag are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Shape {
    /// `true` or `false`.
    Switch,
    /// One value.
    One,
    /// A value or an array of them.
    Many,
}

/// Whether a flag may stand without a value: then `true` stands for it.
pub(super) fn may_lack_value(argument: &clap::Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.min_values() == 0)
}

/// The files that flags of this command name.
pub(in super::super) fn files(command: &Command, matches: &ArgMatches) -> Vec<PathBuf> {
    let is_file = |argument: &&clap::Arg| {
        argument.get_value_parser().type_id() == TypeId::of::<PathBuf>()
            && matches.try_contains_id(argument.get_id().as_str()).is_ok()
    };
    let files = command.get_arguments().filter(is_file);
    let given = files.filter_map(|argument| matches.get_many::<PathBuf>(argument.get_id().as_str()));
    given.flatten().cloned().collect()
}

/// The shape of a flag's values.
pub(in super::super) fn shape(argument: &clap::Arg) -> Shape {
    match argument.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => Shape::Switch,
        // A service has one group for what no route matches.
        ArgAction::Append if argument.get_long() == Some("upstream") => Shape::One,
        ArgAction::Append => Shape::Many,
        _ => Shape::One,
    }
}
