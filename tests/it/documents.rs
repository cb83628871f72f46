//! What the documents show works: configurations, commands, links, and the names that they mention.

mod blocks;
mod commands;
mod links;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

/// The chapters of the book in a language, `en` or `zh`, in the order of their names.
fn chapters(language: &str) -> Vec<String> {
    let folder = format!("docs/{language}");
    let files = std::fs::read_dir(root().join(&folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut chapters: Vec<_> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}/{name}")).collect();
    chapters.sort();
    assert!(chapters.len() > 3, "{folder} has hardly any chapters");
    chapters
}

/// The same document in both languages.
fn pairs() -> Vec<[String; 2]> {
    let mut pairs = vec![READMES.map(str::to_owned)];
    pairs.extend(chapters("en").into_iter().map(|english| {
        let chinese = english.replacen("docs/en/", "docs/zh/", 1);
        [english, chinese]
    }));
    pairs
}

/// ARCHITECTURE.md is a map: what it names in backticks with an ending has to be there.
#[test]
fn the_architecture_names_files_that_exist() {
    let text = document("ARCHITECTURE.md");
    let mut named = 0;
    for word in text.split('`').skip(1).step_by(2) {
        if !word.ends_with(".rs") || word.contains(' ') {
            continue;
        }
        named += 1;
        let name = Path::new(word);
        let found = [
            "src",
            "src/config",
            "src/listener",
            "src/proxy",
            "src/credential",
            "src/http1",
            "src/upstream",
            "",
        ]
        .iter()
        .any(|folder| root().join(folder).join(name).exists());
        assert!(found, "ARCHITECTURE.md names {word}, which does not exist");
    }
    assert!(named > 10);
}

/// docs/hyper.md holds each of its statements against a test; a test that is renamed must be renamed there.
#[test]
fn the_tests_that_pin_hyper_exist() {
    let text = document("docs/hyper.md");
    let mut file = String::new();
    let mut named = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let pins = row.split('|').nth(3).unwrap_or_default();
        for word in pins.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = document(word);
                named += usize::from(word.starts_with("fuzz/"));
            } else {
                assert!(
                    file.contains(&format!("fn {word}(")),
                    "docs/hyper.md: {word} is no test of that file"
                );
                named += 1;
            }
        }
    }
    assert!(named > 20);
}

/// All of the program's sources in one text.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.push_str(&sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    all
}

/// An operator searches the page about symptoms for what stands in the log.
#[test]
fn messages_that_the_book_explains_are_written_by_the_program() {
    // Long texts go on in the next line.
    let sources = sources(&root().join("src"));
    let joined: String = sources.split("\\\n").map(str::trim_start).collect();
    for name in ["docs/en/troubleshooting.md", "docs/zh/troubleshooting.md"] {
        let text = document(name);
        let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let messages: Vec<_> = cells.map(|(cell, _)| cell).filter(|cell| cell.contains(' ')).collect();
        for message in messages.iter().filter(|message| !message.starts_with("x-wxgate")) {
            assert!(joined.contains(message), "{name}: wxgate says nowhere {message:?}");
        }
        assert!(messages.len() > 10, "{name}");
    }
}
