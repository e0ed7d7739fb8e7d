//! The user that a process goes on as.

use std::ffi::CString;
use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use nix::errno::Errno;
use nix::unistd::{self, Gid, Group, Uid, geteuid, getgrouplist};

use crate::control::Error;

/// `NAME[:GROUP]` as written; each a name or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenUser {
    user: String,
    group: Option<String>,
}

impl FromStr for WrittenUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) =
            text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group.to_owned())));
        let is_name = |name: &str| !name.is_empty() && !name.contains([':', '/', '\0', '\n']);
        if is_name(user) && group.as_deref().is_none_or(is_name) {
            Ok(Self { user: user.to_owned(), group })
        } else {
            Err("give NAME or NAME:GROUP, names or numbers, such as iisplice or 998:998".to_owned())
        }
    }
}

impl fmt::Display for WrittenUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

/// Why a process cannot go on as a user.
#[derive(Debug, thiserror::Error)]
pub enum UserFault {
    /// It is no other one than now.
    #[error(
        "this is root itself; give a user without privileges, such as one made by: useradd --system iisplice"
    )]
    Root,
    /// No such user.
    #[error("this host has no such user; make one (useradd --system {0}), or give another")]
    NoUser(String),
    /// No such group.
    #[error("this host has no group {0}; make it (groupadd --system {0}), or give another")]
    NoGroup(String),
    /// A number without an entry, so that its group is unknown.
    #[error("this host has no user with this number, and so no group for it; give the group too, as {0}:{0}")]
    GroupUnknown(String),
    /// The name service fails.
    #[error("cannot look the user up: {0}")]
    NameService(#[from] Errno),
    /// The process has no rights to drop.
    #[error(
        "only root can go on as another user, and this process runs as user {0}; remove it, or start as root"
    )]
    NotByRoot(Uid),
}

impl UserFault {
    /// 2 if the settings are at fault, 1 if this host is.
    pub(in crate::control) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Root | Self::NoUser(_) | Self::NoGroup(_) | Self::GroupUnknown(_) => ExitCode::from(2),
            Self::NameService(_) | Self::NotByRoot(_) => ExitCode::FAILURE,
        }
    }
}

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct User {
    /// As written.
    pub(super) written: WrittenUser,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    /// All groups of the user, the one above among them.
    pub(super) groups: Vec<Gid>,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

impl User {
    /// The user of these settings, for a process that runs as root.
    ///
    /// # Errors
    /// See [`UserFault`].
    pub(in crate::control) fn of(written: &WrittenUser) -> Result<Self, Error> {
        Self::look_up(written).map_err(|fault| Error::User { written: written.clone(), fault })
    }

    pub(in crate::control) fn uid(&self) -> Uid {
        self.uid
    }

    pub(super) fn look_up(written: &WrittenUser) -> Result<Self, UserFault> {
        let found = Self::find(written)?;
        let own = geteuid();
        if own.is_root() { Ok(found) } else { Err(UserFault::NotByRoot(own)) }
    }

    fn find(written: &WrittenUser) -> Result<Self, UserFault> {
        let WrittenUser { user, group } = written;
        let number = user.parse().ok().map(Uid::from_raw);
        let entry = match number {
            Some(uid) => unistd::User::from_uid(uid)?,
            None => unistd::User::from_name(user)?,
        };
        let Some(uid) = entry.as_ref().map(|entry| entry.uid).or(number) else {
            return Err(UserFault::NoUser(user.clone()));
        };
        if uid.is_root() {
            return Err(UserFault::Root);
        }
        let gid = match (group, &entry) {
            (Some(group), _) => gid(group)?,
            (None, Some(entry)) => entry.gid,
            (None, None) => return Err(UserFault::GroupUnknown(user.clone())),
        };
        let name = entry.and_then(|entry| CString::new(entry.name).ok());
        let groups = name.map_or_else(|| Ok(vec![gid]), |name| getgrouplist(&name, gid))?;
        Ok(Self { written: written.clone(), uid, gid, groups })
    }
}

fn gid(group: &str) -> Result<Gid, UserFault> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(group)?.ok_or_else(|| UserFault::NoGroup(group.to_owned()))?;
    Ok(found.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> WrittenUser {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_user_is_written_with_or_without_a_group() {
        for text in ["iisplice", "iisplice:www-data", "998", "998:33", "DOM.user-1"] {
            assert_eq!(written(text).to_string(), text);
        }
        for text in ["", ":", "a:", ":a", "a:b:c", "a/b", "a\nb"] {
            let error = text.parse::<WrittenUser>().expect_err(text);
            assert!(error.contains("NAME:GROUP"), "{error}");
        }
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        let found = User::find(&written("4000000001:4000000002")).expect("numbers");
        assert_eq!((found.uid.as_raw(), found.gid.as_raw()), (4_000_000_001, 4_000_000_002));
        assert_eq!(found.groups, [found.gid]);
        for (text, expected) in [
            ("root", "root itself"),
            ("0:1", "root itself"),
            ("no-such-user", "useradd --system no-such-user"),
            ("4000000001", "4000000001:4000000001"),
            ("4000000001:no-such-group", "no group no-such-group"),
        ] {
            let fault = User::find(&written(text)).expect_err(text).to_string();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
}
