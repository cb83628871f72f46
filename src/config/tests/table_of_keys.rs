//! The table of keys and the readers agree: on names, defaults and what is accepted.

use super::*;
use crate::config::keys::{Default, Header, Key, Kind, SECTIONS, Section, TOP};

/// A file with one more line under one section, right but for that line.
fn with(section: &Section, line: &str) -> String {
    let required = |but: &str| {
        let needed = |key: &&Key| match key.default {
            Default::RequiredUnless(other, value) => line != format!("{other} = {value:?}"),
            Default::Required => true,
            _ => false,
        };
        let lines = section.keys.iter().filter(|key| needed(key) && key.name != but);
        lines.map(|key| format!("{} = {}\n", key.name, key.example)).collect::<String>()
    };
    let name = line.split(' ').next().unwrap();
    // A robot's URL has to lead to its service.
    let robot = |kind: &str| {
        let host = match kind {
            "dingtalk" => "oapi.dingtalk.com",
            "feishu" => "open.feishu.cn",
            _ => "qyapi.weixin.qq.com",
        };
        format!("url = 'https://{host}/k'\n{}", if name == "kind" { "" } else { "kind = 'wecom'\n" })
    };
    match section.header {
        Header::Inner => {
            let keys = SIGNING.lines().filter(|line| !line.starts_with(&format!("{name} ")));
            format!("{ACCOUNT}{}\n{line}\n", keys.collect::<Vec<_>>().join("\n"))
        }
        Header::Any if section.name == "alert" && name != "url" => {
            let kind = line.split('"').nth(1).unwrap_or_default();
            format!("{ACCOUNT}[[alert]]\n{}{line}\n", robot(kind))
        }
        Header::None => format!("{line}\n{ACCOUNT}"),
        Header::Many => format!("{}\n{}{line}\n", section.shown(), required(name)),
        Header::Any if section.name == "caller" && name != "key" => {
            format!("{ACCOUNT}{}\nkey = 'k'\n{}{line}\n", section.shown(), required(name))
        }
        _ => format!("{ACCOUNT}{}\n{}{line}\n", section.shown(), required(name)),
    }
}

fn each_key(mut look: impl FnMut(&'static Section, &'static Key)) {
    for section in SECTIONS {
        section.keys.iter().for_each(|key| look(section, key));
    }
}

#[test]
fn names_are_unique_and_shown_in_messages() {
    let mut seen = Vec::new();
    each_key(|section, key| {
        assert!(!seen.contains(&(section.name, key.name)), "{} {}", section.name, key.name);
        assert_eq!(error::shown_key(key.name), Some(key.name));
        seen.push((section.name, key.name));
    });
    assert!(seen.len() > 60);
}

/// What is in the table without a reader would be accepted and have no effect.
#[test]
fn a_reader_asks_for_each_key() {
    let tables = ["[account.signing]", "[tls]", "[admin]", "[[caller]]", "[[alert]]"]
        .map(|header| format!("{header}\nname = 'a'\n"));
    let text = format!("{ACCOUNT}{}", tables.concat());
    let env = env_of(&[]);
    let text = text::Text { path: "wxgate.toml".into(), text: text.into(), exposed: false };
    let (_, finished) = file::read(&text, &Files::default(), &env);
    each_key(|section, key| {
        let asked = finished.asked.contains(&(section.name, key.name));
        assert!(asked, "[{}] {}", section.name, key.name);
    });
}

#[test]
fn every_default_may_be_written_down() {
    each_key(|section, key| {
        if let Default::Is(default) = key.default
            && section.header != Header::Optional
        {
            let text = with(section, &format!("{} = {default}", key.name));
            let expected = load_text(&with(section, "")).unwrap().config;
            assert_eq!(load_text(&text).map(|loaded| loaded.config), Ok(expected), "{text}");
        }
    });
}

#[test]
fn each_word_of_a_choice_is_read() {
    each_key(|section, key| {
        let Kind::Choice(names) = &key.kind else { return };
        for name in *names {
            let text = with(section, &format!("{} = {name:?}", key.name));
            assert_eq!(complaints(&text), [""; 0], "{text}");
        }
    });
}

#[test]
fn ranges_are_those_of_the_table() {
    each_key(|section, key| {
        let of = |n: &dyn std::fmt::Display, unit: &str| format!("\"{n}{unit}\"");
        let (low, below, high, above) = match key.kind {
            Kind::Number(low, high) => {
                (low.to_string(), (low - 1).to_string(), high.to_string(), (high + 1).to_string())
            }
            Kind::Size(low, high) => {
                let below = low.checked_sub(1).map_or("-1".to_owned(), |below| below.to_string());
                (low.to_string(), below, high.to_string(), (high + 1).to_string())
            }
            Kind::Time(low, high) => {
                let below = if low == 0 { of(&-1, "ms") } else { of(&(low - 1), "ms") };
                (of(&low, "ms"), below, of(&high, "ms"), of(&(high + 1), "ms"))
            }
            _ => return,
        };
        for (value, right) in [(low, true), (below, false), (high, true), (above, false)] {
            let text = with(section, &format!("{} = {value}", key.name));
            let said = complaints(&text);
            let wrong = said.iter().any(|line| line.contains(&format!("found {value}")));
            assert_eq!(!wrong, right, "{text}: {said:?}");
        }
    });
}

#[test]
fn sections_stand_at_the_top_alone() {
    let names: Vec<_> = keys::section(TOP).names().collect();
    assert!(names.contains(&"listen") && names.contains(&"account") && !names.contains(&TOP));
    assert!(!keys::section("account").names().any(|name| name == "tls"));
}

/// An independent validator knows the schema; what the reader accepts, it accepts.
#[test]
fn the_schema_accepts_what_the_reader_accepts_and_refuses_slips() {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("wxgate.json", schema()).unwrap();
    let compiled = compiler.compile("wxgate.json", &mut schemas).unwrap();
    let valid = |text: &str| {
        let document: toml::Table = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        schemas.validate(&serde_json::to_value(document).unwrap(), compiled).is_ok()
    };
    for name in ["minimal", "full", "callers", "drop-in/wxgate"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.toml"));
        assert!(valid(&std::fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
    each_key(|section, key| {
        let default = match key.default {
            Default::Is(default) => default,
            _ => "",
        };
        for value in [default, key.example].into_iter().filter(|value| !value.is_empty()) {
            let text = with(section, &format!("{} = {value}", key.name));
            assert!(valid(&text), "{text}");
        }
        assert!(!valid(&with(section, &format!("{}x = 1", key.name))), "{}x", key.name);
        assert!(!valid(&with(section, &format!("{} = {{ nonsense = 1 }}", key.name))), "{}", key.name);
    });
    for (line, right) in [
        ("limits.max_body = 1048576", true),
        ("limits.max_body = '1.5 MiB'", true),
        ("limits.max_body = -1", false),
        ("limits.idle_timeout = '1h 30m'", true),
        ("limits.idle_timeout = 30", false),
        ("listen = '[::1]:80'", true),
        ("listen = ['8080']", false),
        ("log_format = 'xml'", false),
        ("upstream.url = 'http://127.0.0.1:9443'", true),
        ("upstream.url = 'https://user:pw@host'", false),
        ("upstream.egress_ip = 'fd00::1'", true),
        ("workers = 1025", false),
    ] {
        assert_eq!(valid(&format!("{line}\n{ACCOUNT}")), right, "{line}");
        assert_eq!(complaints(&format!("{line}\n{ACCOUNT}")).is_empty(), right, "{line}");
    }
    assert!(!valid(""), "without an account");
}
