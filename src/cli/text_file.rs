//! Text files that people write with an editor of their own.

use std::io;
use std::path::Path;

/// The content of a file in UTF-8, without the byte order mark that editors of Windows put before it.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}
