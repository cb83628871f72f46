//! Imports between the parts of `src/` go the way that ARCHITECTURE.md says.
//!
//! A part is a folder or a file at the top of `src/`. The table in the document is the rule: a part may import only
//! the parts that its row names, and a row may name only parts that stand below it, so that no circle is possible.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Part by part, in the order of the table, what each may import.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| part | may import |")).skip(2);
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    rows.take_while(|line| line.starts_with('|'))
        .flat_map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            let (parts, imports) = (names(cells[1]), names(cells[2]));
            parts.into_iter().map(move |part| (part, imports.clone()))
        })
        .collect()
}

/// The program's files with the part that each belongs to; files of unit tests left out.
fn files() -> Vec<(String, PathBuf)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                _ if matches!(name, "tests" | "tests.rs") => {}
                true => collect(&path, files),
                false => files.push(path),
            }
        }
    }
    let src = root().join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let part = |file: &PathBuf| {
        let first = file.strip_prefix(&src).unwrap().components().next().unwrap();
        first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    files.into_iter().map(|file| (part(&file), file)).filter(|(part, _)| part != "lib").collect()
}

/// The code of a file without comments and without the unit tests at its end.
fn code(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].trim_end().ends_with('{')
    });
    let code = lines[..tests.unwrap_or(lines.len())].iter().map(|line| line.split("//").next().unwrap());
    code.collect::<Vec<_>>().join("\n")
}

/// The parts that a text names behind `crate::`, in groups too.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let name = |text: &str| {
        text.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()
    };
    for (index, word) in code.match_indices("crate::") {
        // `wxgate_crate::` would be another word.
        if code[..index].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let after = &code[index + word.len()..];
        let Some(group) = after.strip_prefix('{') else {
            found.insert(name(after));
            continue;
        };
        let mut depth = 0;
        let mut begin = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.insert(name(&group[begin..at]));
                    begin = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found.remove("");
    found
}

#[test]
fn the_table_has_each_part_once_and_points_down() {
    let table = table();
    let listed: Vec<&String> = table.iter().map(|(part, _)| part).collect();
    let parts: BTreeSet<String> = files().into_iter().map(|(part, _)| part).collect();
    let unlisted: Vec<_> = parts.iter().filter(|part| !listed.contains(part)).collect();
    assert!(unlisted.is_empty(), "without a row in ARCHITECTURE.md: {unlisted:?}");
    let gone: Vec<_> = listed.iter().filter(|part| !parts.contains(**part)).collect();
    assert!(gone.is_empty(), "in ARCHITECTURE.md, and not in src/: {gone:?}");
    assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), listed.len(), "a part has two rows");
    for (row, (part, imports)) in table.iter().enumerate() {
        for import in imports {
            assert!(
                listed[row..].contains(&import) && import != part,
                "`{part}` may import `{import}`, which does not stand below it: that allows a circle"
            );
        }
    }
}

/// The code map is the tree: each part of `src/` and each folder beside it has its place there.
#[test]
fn the_code_map_names_each_part_and_each_folder() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let map: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "## Code map")
        .take_while(|line| *line != "## Imports")
        .collect();
    let map = map.join("\n");
    let parts = files().into_iter().map(|(part, _)| part);
    let tracked = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let folder = entry.path().is_dir() && !name.starts_with('.');
        (folder && !matches!(&*name, "src" | "target" | "proptest-regressions" | "tests")).then_some(name)
    };
    let folders = std::fs::read_dir(root()).unwrap().filter_map(|entry| tracked(&entry.unwrap()));
    for name in parts.chain(folders) {
        let named = [format!("`{name}/`"), format!("`{name}.rs`")].iter().any(|place| map.contains(place));
        assert!(named, "the code map of ARCHITECTURE.md does not name {name}");
    }
}

#[test]
fn imports_go_the_way_the_table_says() {
    let table: BTreeMap<_, _> = table().into_iter().collect();
    let mut wrong = Vec::new();
    for (part, file) in files() {
        for import in imports(&code(&std::fs::read_to_string(&file).unwrap())) {
            if import != part && !table[&part].contains(&import) {
                wrong.push(format!(
                    "{} imports crate::{import}",
                    file.strip_prefix(root()).unwrap().display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "against the table of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_and_the_demo_use_the_sandbox() {
    let uses = |file: &PathBuf| code(&std::fs::read_to_string(file).unwrap()).contains("wxgate_sandbox");
    let parts: BTreeSet<_> =
        files().into_iter().filter(|(_, file)| uses(file)).map(|(part, _)| part).collect();
    assert_eq!(parts.into_iter().collect::<Vec<_>>(), ["cli", "demo"]);
}

#[test]
fn imports_are_found_in_each_of_their_forms() {
    let text = "
use crate::a::B;
use crate::{b, c::{D, E}, d::F as G};
pub(crate) use crate::e;
let x = crate::f::g();
// crate::comment
fn h(x: mycrate::i::J) {}
#[cfg(test)]
mod tests {
    use crate::k;
}
";
    let found: Vec<_> = imports(&code(text)).into_iter().collect();
    assert_eq!(found, ["a", "b", "c", "d", "e", "f"]);
}

/// A file that no other one names as its module is compiled by nobody, and its tests never run.
#[test]
fn each_file_is_a_module_of_another() {
    fn look(folder: &Path, orphans: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, orphans);
            }
            let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".rs") else {
                continue;
            };
            if matches!(name, "lib" | "main") {
                continue;
            }
            let (name, parent) = match name {
                "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
                name => (name, folder),
            };
            let named = |file: PathBuf| {
                std::fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("mod {name};")))
            };
            let inside = ["mod.rs", "lib.rs", "main.rs"].map(|file| parent.join(file));
            if !inside.into_iter().chain([parent.with_extension("rs")]).any(named) {
                orphans.push(path);
            }
        }
    }
    let mut orphans = Vec::new();
    for folder in ["src", "sandbox/src", "tests/it", "sandbox/tests/it"] {
        look(&root().join(folder), &mut orphans);
    }
    assert!(orphans.is_empty(), "compiled by nobody: {orphans:?}");
}
