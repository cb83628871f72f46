//! The documents of the keys, and what is written beside them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::tests::assert_document;

fn all() -> impl Iterator<Item = &'static Key> {
    EVERY.iter().chain(ACCESS).chain(EVENTS)
}

#[test]
fn each_name_stands_in_the_table_once() {
    for names in [all().map(|key| key.name).collect::<Vec<_>>(), all().map(|key| key.ecs).collect()] {
        let once: BTreeSet<_> = names.iter().collect();
        assert_eq!(once.len(), names.len(), "{names:?}");
    }
    for key in all().filter(|key| key.ecs.starts_with("wxgate.")) {
        // An object in one line and a value in another cannot be indexed.
        assert!(!all().any(|other| other.ecs.starts_with(&format!("{}.", key.ecs))), "{}", key.ecs);
    }
}

/// The text behind `#[cfg(test)]` is not the program's.
fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
            && !path.components().any(|part| part.as_os_str() == "tests")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

/// The arguments of the macro call whose `(` ends at `text`'s start.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut begin) = (0, false, false, 0);
    let mut arguments = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            _ if std::mem::take(&mut escaped) => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                arguments.push(&text[begin..at]);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    arguments
}

/// The field that an argument of an event records.
fn field(argument: &str) -> Option<&str> {
    let code = argument.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = code.map(str::trim).find(|line| !line.is_empty())?;
    let name = code.trim_start_matches(['%', '?']);
    let name = name.split_once(" = ").map_or(name, |(name, _)| name);
    let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    word.then_some(name)
}

#[test]
fn each_key_of_an_event_is_in_the_table_and_each_of_the_table_is_used() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut used = BTreeSet::new();
    for (file, text) in &files {
        for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
            for (at, _) in text.match_indices(level) {
                for name in arguments(&text[at + level.len()..]).into_iter().filter_map(field) {
                    assert!(find(name).is_some(), "{file}: the log key `{name}` is not in logging/keys.rs");
                    used.insert(name);
                }
            }
        }
    }
    let unused: Vec<_> =
        ACCESS.iter().chain(EVENTS).map(|key| key.name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "no event has {unused:?}");
}

struct Words {
    title: &'static str,
    other: &'static str,
    introduction: &'static str,
    every: &'static str,
    access: &'static str,
    events: &'static str,
    head: &'static str,
    of: fn(&Key) -> &'static str,
}

const EN: Words = Words {
    title: "Logs",
    other: "[简体中文](../zh/logging.md)",
    introduction: "Lines go to stderr, one for each event. `log_format` chooses `text`, `json` or `ecs` (the names of the \
         Elastic Common Schema); `auto` is text on a terminal and JSON otherwise. A key without a value is left out. No \
         token, secret, key of a caller or query string is ever logged, at any level.\n\n`WXGATE_LOG` sets the level at \
         the start: `error`, `warn`, `info`, `debug` or `trace`. While wxgate runs, SIGUSR1 raises it by one step for \
         five minutes (once more: another step, and five minutes from then), and SIGUSR2 goes back at once. Where wxgate \
         listens is said at every level. A warning \
         or error that is repeated more than 60 times within a minute is left out until the minute is over, and a line \
         says so.\n\nThis page is made from the table of keys in the program (`src/logging/keys.rs`).",
    every: "Every line",
    access: "The access line: one for each request, at its end",
    events: "Other lines",
    head: "| `json`, `text` | `ecs` | what it says |\n| --- | --- | --- |\n",
    of: |key| key.en,
};

const ZH: Words = Words {
    title: "日志",
    other: "[English](../en/logging.md)",
    introduction: "日志写到 stderr，每个事件一行。`log_format` 可选 `text`、`json` 或 `ecs`（Elastic Common Schema 的字段名）；\
         `auto` 在终端上为文本，否则为 JSON。没有值的字段不写出。任何级别的日志都不含凭据、密钥、调用方密钥和查询串。\n\n\
         启动时的级别由 `WXGATE_LOG` 设置：`error`、`warn`、`info`、`debug` 或 `trace`。运行中 SIGUSR1 将级别提高一档，持续五分钟\
         （再发一次再提高一档，并重新计时五分钟）；SIGUSR2 立即恢复。监听地址在任何级别都会写出。同一条警告或错误一分钟内超过 60 次时，余下的不再写出，并有一行说明。\
         \n\n本页由程序中的字段表（`src/logging/keys.rs`）生成。",
    every: "每一行都有",
    access: "访问日志：每个请求结束时一行",
    events: "其他日志",
    head: "| `json`、`text` | `ecs` | 含义 |\n| --- | --- | --- |\n",
    of: |key| key.zh,
};

fn document(words: &Words) -> String {
    let mut text = format!("# {}\n\n{}\n\n{}\n", words.title, words.other, words.introduction);
    for (title, keys) in [(words.every, EVERY), (words.access, ACCESS), (words.events, EVENTS)] {
        write!(text, "\n## {title}\n\n{}", words.head).unwrap();
        for key in keys {
            writeln!(text, "| `{}` | `{}` | {} |", key.name, key.ecs, (words.of)(key)).unwrap();
        }
        if title == words.every {
            for key in EVERY_OF_ECS {
                writeln!(text, "| | `{}` | {} |", key.ecs, (words.of)(key)).unwrap();
            }
        }
    }
    text
}

#[test]
fn documents_are_made_from_the_table_of_log_keys() {
    for (name, words) in [("docs/en/logging.md", &EN), ("docs/zh/logging.md", &ZH)] {
        assert_document(name, &document(words));
    }
}
