//! Links within the repository. Those to other hosts are not followed.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::page::{Page, repository};

/// `docs/../README.md` is `README.md`; `None` leads out of the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

/// What is wrong with a link on `page`, if anything is.
fn fault(page: &Page, to: &str, anchors: &BTreeMap<PathBuf, Vec<String>>) -> Option<&'static str> {
    if to.contains("://") || to.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = to.split_once('#').map_or((to, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() {
        page.path.clone()
    } else {
        match normal(&page.path.parent().expect("a file is in a directory").join(file)) {
            Some(path) => path,
            None => return Some("it leads out of the repository"),
        }
    };
    if !repository().join(&path).exists() {
        return Some("there is no such file");
    }
    match (anchor, anchors.get(&path)) {
        (Some(anchor), Some(anchors)) if !anchors.iter().any(|known| known == anchor) => {
            Some("the page has no such heading")
        }
        (Some(_), None) => Some("that file has no headings"),
        _ => None,
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = Page::all();
    assert!(pages.len() > 10 && pages.iter().any(|page| !page.links.is_empty()), "no pages were found");
    let anchors = pages.iter().map(|page| (page.path.clone(), page.anchors())).collect();
    let mut faults = Vec::new();
    for page in &pages {
        let name = page.path.display();
        for link in &page.links {
            if let Some(fault) = fault(page, &link.to, &anchors) {
                faults.push(format!("{name}:{}: {}: {fault}", link.line, link.to));
            }
        }
        for link in &page.broken {
            faults.push(format!("{name}:{}: [{}] is not defined", link.line, link.to));
        }
    }
    assert!(faults.is_empty(), "broken links:\n{}", faults.join("\n"));
}
