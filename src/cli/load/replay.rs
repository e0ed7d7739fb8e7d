//! Recorded logins.

use std::path::Path;
use std::sync::Arc;

use super::{Error, unreadable, usage};
use crate::cli::text_file;
use crate::load::recording::Recorded;

/// Reads a file of recorded logins, one per line; empty lines are skipped.
pub(super) fn read(path: &Path) -> Result<Arc<[Recorded]>, Error> {
    let shown = path.display();
    let content = match text_file::read(path) {
        Ok(content) => content,
        Err(error) => return unreadable("--replay", path, error),
    };
    let mut logins = Vec::new();
    for (index, line) in content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match line.parse() {
            Ok(login) => logins.push(login),
            Err(error) => return usage(format!("--replay {shown}, line {}: {error}", index + 1)),
        }
    }
    if logins.is_empty() {
        return usage(format!("--replay {shown}: the file contains no login; create it with --record FILE"));
    }
    Ok(logins.into())
}
