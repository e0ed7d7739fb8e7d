//! What the repository's Markdown files say is true: links lead somewhere, flags and defaults are those of the binary,
//! and the commands work as written. No network.

mod commands;
mod flags;
mod links;
mod messages;
mod page;
#[path = "../common/reserved.rs"]
mod reserved;
mod threats;
mod words;

use page::Page;

/// The README explains and starts; everything else has a page under `docs/`.
const README_LINES_MAX: usize = 200;

/// A user who knows nginx finds these without scrolling.
const FIRST_SCREEN_LINES: usize = 40;

#[test]
fn the_readme_is_short_and_its_first_screen_says_what_it_is_what_it_needs_and_how_to_run_it() {
    let readme = Page::read("README.md");
    let lines: Vec<&str> = readme.text.lines().collect();
    assert!(lines.len() <= README_LINES_MAX, "README.md has {} lines", lines.len());
    let first_screen = lines[..FIRST_SCREEN_LINES].join("\n");
    for needed in ["Windows Authentication", "Linux 6.1", "io_uring", "-- demo", "-- proxy --listen", "nginx"]
    {
        assert!(first_screen.contains(needed), "{needed:?} is not on the README's first screen");
    }
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = Page::read("README.md");
    for page in Page::all() {
        let path = page.path.to_str().expect("UTF-8");
        if path.starts_with("docs/") {
            assert!(readme.links.iter().any(|link| link.to == path), "README.md has no link to {path}");
        }
    }
}
