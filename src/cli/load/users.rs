//! Users and their passwords.

use std::path::Path;

use super::{Error, unreadable, usage};
use crate::cli::text_file;
use crate::protocol::ntlm::Credentials;

/// Parses `CORP\alice`, `alice@corp.example.com` or `alice`, with or without `:password`.
pub(in crate::cli) fn user(text: &str, password: Option<&str>) -> Result<Credentials, Error> {
    let (name, own_password) = match text.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (text, None),
    };
    let (domain, user) = name.split_once('\\').unwrap_or(("", name));
    if user.is_empty() {
        return usage(format!("the user has no name ({name:?}); give one such as CORP\\alice"));
    }
    match own_password.or(password) {
        Some(password) => Ok(Credentials::new(domain, user, password)),
        None => usage(format!(
            "no password for {name}; give --password-file FILE, set IISPLICE_PASSWORD, or write {name}:PASSWORD"
        )),
    }
}

/// Reads a file of users, one per line; empty lines and those that begin with `#` are skipped.
pub(super) fn read(path: &Path, password: Option<&str>) -> Result<Vec<Credentials>, Error> {
    let shown = path.display();
    let content = match text_file::read(path) {
        Ok(content) => content,
        Err(error) => return unreadable("--users", path, error),
    };
    let mut users = Vec::new();
    for (index, line) in content.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match user(line, password) {
            Ok(user) => users.push(user),
            Err(error) => return usage(format!("--users {shown}, line {}: {error}", index + 1)),
        }
    }
    if users.is_empty() {
        return usage(format!(
            "--users {shown}: the file contains no user; write lines such as CORP\\alice:secret"
        ));
    }
    Ok(users)
}

/// Reads the first line of a password file.
pub(in crate::cli) fn first_line(path: &Path) -> Result<String, Error> {
    match text_file::read(path) {
        Ok(content) => Ok(content.lines().next().unwrap_or_default().to_owned()),
        Err(error) => unreadable("--password-file", path, error),
    }
}
