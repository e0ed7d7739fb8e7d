//! Files that root has opened and the user goes on with.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::User;
use crate::control::setting::setting;

/// Gives the user the file of a log, so that it can be opened again. A file that another user could have put there, by a
/// link, stays as it is.
///
/// # Errors
/// Those of stat(2) and chown(2).
pub(in crate::control) fn give_log(user: &User, file: &File, path: &Path) -> io::Result<()> {
    let opened = file.metadata()?;
    if !opened.is_file() || opened.uid() == user.uid.as_raw() {
        return Ok(());
    }
    let named = fs::symlink_metadata(path)?;
    if (named.dev(), named.ino(), named.nlink()) == (opened.dev(), opened.ino(), 1) {
        fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// Warns of files that a reload reads and this user, which the process has become, cannot.
pub(super) fn warn_of_unreadable(user: &User, files: &[PathBuf]) {
    let unreadable = listed(files.iter().map(PathBuf::as_path), |path| is_denied(path, AccessFlags::R_OK));
    if let Some(files) = unreadable {
        tracing::warn!(
            "{} {user}: this user cannot read {files}, so a reload will be refused; let its group read (chgrp, chmod g+r; \
             every directory above needs x)",
            setting("user")
        );
    }
}

/// The same for a log.
pub(super) fn warn_of_unwritable(user: &User, log: &Path) {
    if is_denied(log, AccessFlags::W_OK) {
        tracing::warn!(
            "{} {user}: this user cannot append to {}, so it cannot be reopened; let it (chown, chmod u+w; every directory \
             above needs x)",
            setting("user"),
            log.display()
        );
    }
}

/// The same for the files of Unix sockets, which are removed at the end.
pub(super) fn warn_of_kept<'a>(user: &User, sockets: impl Iterator<Item = &'a Path>) {
    let is_kept = |path: &Path| {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        is_denied(directory.unwrap_or(Path::new(".")), AccessFlags::W_OK | AccessFlags::X_OK)
    };
    if let Some(sockets) = listed(sockets, is_kept) {
        tracing::warn!(
            "{} {user}: this user cannot remove {sockets}; give it a directory of its own (systemd: RuntimeDirectory=, \
             tmpfiles.d)",
            setting("user")
        );
    }
}

fn is_denied(path: &Path, wanted: AccessFlags) -> bool {
    access(path, wanted) == Err(Errno::EACCES)
}

/// The paths that are listed, each once.
fn listed<'a>(paths: impl Iterator<Item = &'a Path>, is_listed: impl Fn(&Path) -> bool) -> Option<String> {
    let paths: BTreeSet<_> = paths.filter(|path| is_listed(path)).collect();
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    (!paths.is_empty()).then(|| paths.join(", "))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::unistd::geteuid;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_log_is_given_away_unless_a_link_leads_to_it() {
        if !geteuid().is_root() {
            println!("SKIPPED: only root can give files away");
            return;
        }
        let user = User::look_up(&"65534:65534".parse().expect("numbers")).expect("numbers");
        let directory = TempDir::new().expect("a directory for temporary files");
        let owner = |path: &Path| fs::metadata(path).expect("it is there").uid();
        let given = |path: &Path| {
            let file = fs::OpenOptions::new().append(true).create(true).open(path).expect("a file");
            give_log(&user, &file, path).expect("root may");
            owner(path)
        };
        let [plain, target, link, hard, other] =
            ["plain", "target", "link", "hard", "other"].map(|name| directory.path().join(name));
        assert_eq!(given(&plain), 65534);
        fs::write(&target, "").expect("a file");
        symlink(&target, &link).expect("a link");
        assert_eq!(given(&link), 0, "its target stays root's");
        fs::write(&other, "").expect("a file");
        fs::hard_link(&other, &hard).expect("a link");
        assert_eq!(given(&hard), 0, "it has another name elsewhere");
    }
}
