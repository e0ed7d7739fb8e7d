//! Text files that users write with an editor.

use std::io;
use std::path::Path;

/// The content of a UTF-8 file, without the byte order mark that some Windows editors add.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}
