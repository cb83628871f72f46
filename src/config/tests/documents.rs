//! Documents that are made from the table of keys: `examples/full.toml`, the JSON schema beside it, and the
//! reference of the configuration in both languages.
//!
//! With `WXGATE_WRITE_DOCUMENTS=1` the test writes them anew; without, it fails where one differs.

use std::fmt::Write as _;

use super::*;
use crate::config::keys::{Default, Header, Key, Kind, SECTIONS, Text};
use crate::tests::assert_document;

/// Columns of a comment.
const WIDTH: usize = 115;

#[test]
fn documents_are_made_from_the_table_of_keys() {
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    for (name, text) in [
        ("examples/full.toml", full()),
        ("examples/wxgate.schema.json", schema),
        ("docs/en/configuration.md", reference(&EN)),
        ("docs/zh/configuration.md", reference(&ZH)),
    ] {
        assert_document(name, &text);
    }
}

/// A file with every key.
fn full() -> String {
    let mut text = String::from("#:schema ./wxgate.schema.json\n");
    comment(
        &mut text,
        "Every key of wxgate. A key that is set here has its default value, so any line but `appid` and `secret` can be \
         left out. Lines with `#` in front are keys without a default.",
    );
    text.push_str("#\n");
    comment(
        &mut text,
        "Sizes are like \"16MiB\" or \"500KB\", times like \"30s\", \"500ms\" or \"2m\". Relative paths start from the \
         folder of this file. `wxgate check --config FILE` finds what is wrong. This file is made from the program's \
         table of keys.",
    );
    for section in SECTIONS {
        if section.header != Header::None {
            text.push('\n');
        }
        let there = matches!(section.header, Header::None | Header::Once | Header::Many);
        if section.header != Header::None {
            comment(&mut text, section.text.en);
            let _ = writeln!(text, "{}{}", if there { "" } else { "# " }, section.shown());
        }
        for (n, key) in section.keys.iter().enumerate() {
            if n > 0 || section.header == Header::None {
                text.push_str(if there { "\n" } else { "" });
            }
            comment(&mut text, key.text.en);
            if let Default::Unset(unset) = key.default {
                comment(&mut text, &format!("Default: {}.", unset.en));
            }
            let line = match key.default {
                Default::Is(value) => format!("{} = {value}", key.name),
                Default::Required | Default::RequiredUnless(..) | Default::Unset(_) => {
                    format!("{} = {}", key.name, key.example)
                }
            };
            let set = there && !matches!(key.default, Default::Unset(_));
            let _ = writeln!(text, "{}{line}", if set { "" } else { "# " });
        }
    }
    text
}

/// Appends a comment, broken into lines.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        line = line + " " + word;
    }
    let _ = writeln!(text, "{line}");
}

/// The words of a reference in one language.
struct Language {
    of: fn(&Text) -> &'static str,
    title: &'static str,
    introduction: &'static str,
    top: &'static str,
    head: &'static str,
    required: &'static str,
    required_unless: fn(&str) -> String,
    such_as: fn(&str) -> String,
    flag: &'static str,
    number: &'static str,
    size: &'static str,
    time: &'static str,
    path: &'static str,
    secret_path: &'static str,
    certificates: &'static str,
    secret: &'static str,
    pem: &'static str,
    list_of: &'static str,
    one_or_more: &'static str,
    /// A kind with its lowest and highest value.
    between: fn(&str, &str, &str) -> String,
}

const EN: Language = Language {
    of: |text| text.en,
    title: "Configuration",
    introduction: "[简体中文](../zh/configuration.md)\n\nEvery key of `wxgate.toml`, in the order of [full.toml](../../examples/full.toml), which has them all with their \
        defaults. Sizes are like `\"16MiB\"` or `\"500KB\"`, times like `\"30s\"`, `\"500ms\"` or `\"2m\"`. Relative paths start \
        from the folder of the file. Secrets are best kept in files of their own (`{ file = … }`, mode 0600) or passed by \
        systemd (`{ credential = \"NAME\" }` for `LoadCredential=NAME:PATH`; such a credential stays as it is until the unit is \
        restarted). A wrong file is answered with every error at once, each with file, line, key and cure.\n\n\
        Editors that know JSON schemas for TOML complete and check keys with `#:schema ./wxgate.schema.json` in the first \
        line; `wxgate config schema > wxgate.schema.json` writes that file.\n\n\
        This page is made from the program's table of keys (`src/config/keys.rs`).\n",
    top: "Before the first table",
    head: "| key | takes | default | what it is for |\n| --- | --- | --- | --- |\n",
    required: "required",
    required_unless: |other| format!("required, unless {other}"),
    such_as: |example| format!(" Such as `{example}`."),
    flag: "`true` or `false`",
    number: "whole number",
    size: "size",
    time: "time",
    path: "path",
    secret_path: "path or table",
    certificates: "table: number = path of a PEM file, or as a secret",
    secret: "secret: `{ file = \"PATH\" }`, `{ env = \"NAME\" }`, `{ credential = \"NAME\" }` or a text",
    pem: "path of a PEM file, or as a secret",
    list_of: "array of: ",
    one_or_more: "one, or an array of: ",
    between: |what, low, high| format!("{what} from {low} to {high}"),
};

const ZH: Language = Language {
    of: |text| text.zh,
    title: "配置",
    introduction: "[English](../en/configuration.md)\n\n`wxgate.toml` 的全部配置项，顺序与 [full.toml](../../examples/full.toml) 相同，该文件列出了所有默认值。\
        大小的写法如 `\"16MiB\"`、`\"500KB\"`，时间的写法如 `\"30s\"`、`\"500ms\"`、`\"2m\"`。相对路径以写着它的那个文件所在目录为准。\
        密钥最好放在单独的文件中（`{ file = … }`，权限 0600），或由 systemd 传入（`LoadCredential=NAME:PATH` 对应 `{ credential = \"NAME\" }`，单元重启后才会更新）。\
        配置有误时会一次列出全部错误，每条都注明文件、行号、配置项和改法。\n\n\
        支持 TOML 的 JSON Schema 的编辑器可以补全和检查：在第一行写上 `#:schema ./wxgate.schema.json`，该文件用 `wxgate config schema > wxgate.schema.json` 生成。\n\n\
        本页由程序中的配置项表（`src/config/keys.rs`）生成。\n",
    top: "写在第一个表之前",
    head: "| 配置项 | 取值 | 默认值 | 用途 |\n| --- | --- | --- | --- |\n",
    required: "必填",
    required_unless: |other| format!("必填，{other} 时除外"),
    such_as: |example| format!("例如 `{example}`。"),
    flag: "`true` 或 `false`",
    number: "整数",
    size: "大小",
    time: "时间",
    path: "路径",
    secret_path: "路径或表",
    certificates: "表：编号 = PEM 文件的路径，或与密钥相同的写法",
    secret: "密钥：`{ file = \"路径\" }`、`{ env = \"变量名\" }`、`{ credential = \"名称\" }` 或文本",
    pem: "PEM 文件的路径，或与密钥相同的写法",
    list_of: "数组，元素：",
    one_or_more: "单个或数组，元素：",
    between: |what, low, high| format!("{what}（{low} 到 {high}）"),
};

fn reference(language: &Language) -> String {
    let mut text = format!("# {}\n\n{}", language.title, language.introduction);
    for section in SECTIONS {
        let title = if section.header == Header::None {
            language.top.to_owned()
        } else {
            format!("`{}`", section.shown())
        };
        let _ = write!(text, "\n## {title}\n\n");
        if section.header != Header::None {
            let _ = write!(text, "{}\n\n", (language.of)(&section.text));
        }
        text.push_str(language.head);
        for key in section.keys {
            let _ = writeln!(text, "{}", row(key, language));
        }
    }
    text
}

fn row(key: &Key, language: &Language) -> String {
    let default = match key.default {
        Default::Is(value) => format!("`{value}`"),
        Default::Unset(unset) => (language.of)(&unset).to_owned(),
        Default::Required => language.required.to_owned(),
        Default::RequiredUnless(other, value) => {
            (language.required_unless)(&format!("`{other} = \"{value}\"`"))
        }
    };
    let example = match key.example {
        "" => String::new(),
        example => (language.such_as)(example),
    };
    let cells = [
        format!("`{}`", key.name),
        kind(&key.kind, language),
        default,
        format!("{}{example}", (language.of)(&key.text)),
    ];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn kind(kind_of: &Kind, language: &Language) -> String {
    let between = |what: &str, low: &dyn std::fmt::Display, high: &dyn std::fmt::Display| {
        (language.between)(what, &low.to_string(), &high.to_string())
    };
    match kind_of {
        Kind::Flag => language.flag.to_owned(),
        Kind::Choice(names) => {
            names.iter().map(|name| format!("`\"{name}\"`")).collect::<Vec<_>>().join(", ")
        }
        Kind::Number(i64::MIN, i64::MAX) => language.number.to_owned(),
        Kind::Number(low, high) => between(language.number, low, high),
        Kind::Size(low, high) => between(language.size, &parse::bytes(*low), &parse::bytes(*high)),
        Kind::Time(low, high) => {
            let shown = |ms: u64| humantime::format_duration(Duration::from_millis(ms)).to_string();
            between(language.time, &shown(*low), &shown(*high))
        }
        Kind::Text(form) => (language.of)(&form.text).to_owned(),
        Kind::Path => language.path.to_owned(),
        Kind::SecretPath => language.secret_path.to_owned(),
        Kind::Certificates => language.certificates.to_owned(),
        Kind::Secret => language.secret.to_owned(),
        Kind::Pem => language.pem.to_owned(),
        Kind::List(of) => format!("{}{}", language.list_of, kind(of, language)),
        Kind::OneOrMore(of) => format!("{}{}", language.one_or_more, kind(of, language)),
    }
}

/// What is said of each key, in both languages, as a sentence.
#[test]
fn each_key_has_its_words() {
    for section in SECTIONS {
        for key in section.keys {
            let (en, zh) = (key.text.en, key.text.zh);
            assert!(en.ends_with('.') && zh.ends_with('。'), "{} {}: {en} {zh}", section.name, key.name);
            let needs_example = !matches!(key.default, Default::Is(_));
            assert!(
                !needs_example || !key.example.is_empty(),
                "{} {} has no example",
                section.name,
                key.name
            );
        }
    }
}
