//! Links inside the tree lead to files and headings that are there. Links to other hosts are not followed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{chapters, document, pairs, root};

/// Documents outside of the book.
const OTHERS: [&str; 17] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "sandbox/README.md",
    "docs/hyper.md",
    "docs/replicas.md",
    "benches/README.md",
    "fuzz/README.md",
    "certs/README.md",
    "examples/drop-in/README.md",
    "examples/jssdk/README.md",
    "examples/php/README.md",
    "examples/easywechat/README.md",
    "examples/fleet/README.md",
    "examples/wechatpy/README.md",
    "packaging/README.md",
];

/// The text without fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        fenced ^= line.starts_with("```");
        !fenced && !line.starts_with("```")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The name by which mdBook and GitHub know a heading.
fn anchor(heading: &str) -> String {
    // Of a link, the text alone is part of the name.
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let kept = text.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// Whether a page belongs to the book in either language.
fn in_book(path: &Path) -> bool {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.len() == 3 && parts[0] == "docs" && ["en", "zh"].iter().any(|language| parts[1] == *language)
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut followed = 0;
    for name in pairs().concat().into_iter().chain(OTHERS.map(str::to_owned)) {
        let text = document(&name);
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            followed += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&name).parent().unwrap();
            let target = match file {
                "" => PathBuf::from(&name),
                file => folder.join(file),
            };
            assert!(root().join(&target).exists(), "{name} links to {link}, which does not exist");
            if !heading.is_empty() {
                let there = anchors(&document(target.to_str().unwrap()));
                assert!(there.contains(heading), "{name} links to {link}; headings there: {there:?}");
            }
            // mdBook makes `.html` of `.md`, and nothing but the book's own pages becomes HTML.
            assert!(
                !in_book(Path::new(&name)) || !file.ends_with(".md") || in_book(&target),
                "{name} links to {link}, which is no page of the book: link to its folder"
            );
        }
    }
    assert!(followed > 50, "{followed}");
}

#[test]
fn the_table_of_contents_names_each_chapter_once() {
    for language in ["en", "zh"] {
        let summary = document(&format!("docs/{language}/SUMMARY.md"));
        let named: Vec<String> =
            links(&summary).iter().map(|file| format!("docs/{language}/{file}")).collect();
        let mut sorted = named.clone();
        sorted.sort();
        let pages: Vec<_> =
            chapters(language).into_iter().filter(|name| !name.ends_with("SUMMARY.md")).collect();
        assert_eq!(sorted, pages);
    }
}
