//! A Markdown file: its headings, links, code and tables. It checks nothing.

use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{BrokenLink, CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// Directories that have nothing of the repository's own.
const LEFT_OUT: [&str; 3] = ["target", "corpus", "artifacts"];

/// Text and the line where it stands.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A link and the line where it stands.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) language: String,
    pub(crate) text: String,
}

/// A table, and the last heading above it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) heading: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<(usize, Vec<String>)>,
}

/// A file.
#[derive(Debug)]
pub(crate) struct Page {
    /// Relative to the repository.
    pub(crate) path: PathBuf,
    pub(crate) headings: Vec<String>,
    pub(crate) links: Vec<Link>,
    /// References without a definition.
    pub(crate) broken: Vec<Link>,
    pub(crate) code: Vec<Span>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) tables: Vec<Table>,
    pub(crate) text: String,
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Page {
    pub(crate) fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(repository().join(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        parse(path, text)
    }

    /// Every Markdown file of the repository.
    pub(crate) fn all() -> Vec<Self> {
        let mut paths = Vec::new();
        find(repository(), &mut paths);
        paths.sort();
        paths
            .into_iter()
            .map(|path| Self::read(path.strip_prefix(repository()).expect("it is inside")))
            .collect()
    }

    /// The names that links can have behind `#`, as GitHub and GitLab make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let mut anchors: Vec<String> = Vec::new();
        for heading in &self.headings {
            let name: String = heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            // Headings of one name are told apart by numbers.
            let mut anchor = name.clone();
            let mut number = 0;
            while anchors.contains(&anchor) {
                number += 1;
                anchor = format!("{name}-{number}");
            }
            anchors.push(anchor);
        }
        anchors
    }
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || LEFT_OUT.contains(&name) {
            continue;
        }
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

fn parse(path: PathBuf, text: String) -> Page {
    let line_at = |offset: usize| text[..offset].matches('\n').count() + 1;
    let mut broken = Vec::new();
    let mut headings: Vec<String> = Vec::new();
    let (mut links, mut code, mut blocks, mut tables) = (vec![], vec![], vec![], Vec::<Table>::new());
    let mut note_broken = |link: BrokenLink<'_>| {
        broken.push(Link { line: line_at(link.span.start), to: link.reference.into_string() });
        None
    };
    let parser = Parser::new_with_broken_link_callback(&text, Options::ENABLE_TABLES, Some(&mut note_broken));
    // What is open at this point of the text.
    let (mut heading, mut block, mut row, mut cell) = (None, None, None, None);
    for (event, range) in parser.into_offset_iter() {
        let line = line_at(range.start);
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => headings.extend(heading.take()),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(Link { line, to: dest_url.into_string() });
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                block = Some(Block { line, language: language.into_string(), text: String::new() });
            }
            Event::End(TagEnd::CodeBlock) => blocks.extend(block.take()),
            Event::Start(Tag::Table(_)) => tables.push(Table {
                heading: headings.last().cloned().unwrap_or_default(),
                head: vec![],
                rows: vec![],
            }),
            Event::Start(Tag::TableHead | Tag::TableRow) => row = Some((line, Vec::new())),
            Event::Start(Tag::TableCell) => cell = Some(String::new()),
            Event::End(TagEnd::TableCell) => {
                row.as_mut()
                    .expect("a cell is in a row")
                    .1
                    .extend(cell.take().map(|text| text.trim().to_owned()));
            }
            Event::End(TagEnd::TableHead) => {
                tables.last_mut().expect("a head is in a table").head = row.take().expect("it began").1;
            }
            Event::End(TagEnd::TableRow) => {
                tables.last_mut().expect("a row is in a table").rows.extend(row.take());
            }
            Event::Text(words) | Event::Code(words) => {
                if text[range].starts_with('`') && block.is_none() {
                    code.push(Span { line, text: words.to_string() });
                }
                let open = [heading.as_mut(), cell.as_mut(), block.as_mut().map(|block| &mut block.text)];
                open.into_iter().flatten().for_each(|text| *text += &words);
            }
            _ => {}
        }
    }
    Page { path, headings, links, broken, code, blocks, tables, text }
}
