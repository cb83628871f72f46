//! Fenced blocks: configurations are read as the program reads them, PHP, Python, JSON and shell are parsed, and both
//! languages show the same.

use std::ffi::OsString;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use wxgate::config::Config;

use super::{chapters, document, pairs, root};

/// The fenced blocks of a language.
pub(super) fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        assert!(
            !line.trim_start().starts_with("```") || line.starts_with("```"),
            "an indented block: {line}"
        );
        let Some(info) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if info == language {
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// Writes what a configuration names beside it: `{ file = "NAME" }` and PEM files.
fn write_named_files(block: &str, dir: &TempDir) {
    let signing = dir.path().join("signing");
    std::fs::create_dir(&signing).unwrap();
    for file in ["app.key", "platform.pem"] {
        std::fs::copy(root().join("certs/signing").join(file), signing.join(file)).unwrap();
    }
    std::fs::write(signing.join("aes.key"), "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=\n").unwrap();
    for line in block.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let key = key.trim();
        for (_, rest) in value.match_indices("file = \"").map(|(at, found)| (at, &value[at + found.len()..]))
        {
            let name = rest.split('"').next().unwrap();
            if name.starts_with("signing/") {
                continue;
            }
            let text = match name {
                "proxy.url" => "http://user:pass@10.1.0.3:3128",
                "robot.url" => "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=0123456789abcdef",
                // Applications of one company differ by their secrets.
                _ => &format!("{:0>32}", name.replace('.', "0")),
            };
            std::fs::write(dir.path().join(name), format!("{text}\n")).unwrap();
        }
        if ["cert", "key", "ca", "client_ca"].contains(&key) && value.trim_start().starts_with('"') {
            let from = if key == "key" { "server.key" } else { "server.pem" };
            let name = value.split('"').nth(1).unwrap();
            std::fs::copy(root().join("certs").join(from), dir.path().join(name)).unwrap();
        }
    }
}

/// Every `toml` block is a whole configuration, or a part of one that lacks nothing but the account.
#[test]
fn configurations_are_right() {
    let mut seen = 0;
    for name in pairs().concat() {
        for block in blocks(&document(&name), "toml") {
            seen += 1;
            let dir = TempDir::new().unwrap();
            write_named_files(&block, &dir);
            let mut text = block.clone();
            if !block.contains("[[account]]") {
                text.push_str(
                    "\n[[account]]\nappid = \"wx0123456789abcdef\"\nsecret = { env = \"APPSECRET\" }\n",
                );
            }
            let home = OsString::from(dir.path());
            let env = |key: &str| match key {
                "HOME" => Some(home.clone()),
                key if key.ends_with("SECRET") => Some("fedcba9876543210fedcba9876543210".into()),
                _ => None,
            };
            let file = dir.path().join("wxgate.toml");
            if let Err(errors) = Config::from_toml(&text, &file, &env) {
                panic!("{name}:\n{block}\n{errors}");
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The block without its comments, which are in the language of the text.
fn bare(block: &str) -> String {
    let code = block.lines().map(|line| match line.split_once(" #") {
        Some((code, _)) => code.trim_end(),
        None if line.starts_with(['#', ';']) || line.trim_start().starts_with("//") => "",
        None => line.split(" // ").next().unwrap_or_default().trim_end(),
    });
    code.collect::<Vec<_>>().join("\n")
}

#[test]
fn both_languages_show_the_same_configurations_and_commands() {
    for [english, chinese] in pairs() {
        for language in ["toml", "sh", "php", "python", "java", "js", "go", "csharp", "json", "ini"] {
            let [ours, theirs] = [&english, &chinese].map(|name| {
                blocks(&document(name), language).iter().map(|block| bare(block)).collect::<Vec<_>>()
            });
            assert_eq!(ours, theirs, "the {language} blocks of {english} and {chinese} differ");
        }
    }
    assert_eq!(chapters("en").len(), chapters("zh").len());
}

/// Has a program read `text`, and tells what it said where it refused it.
fn refused(mut program: Command, text: &str) -> Option<String> {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program:?}: {e}"));
    // A program that has seen enough may have closed it.
    _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (!ended.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn code_of_other_languages_can_be_parsed() {
    for name in pairs().concat() {
        let text = document(&name);
        for block in blocks(&text, "json") {
            serde_json::from_str::<serde_json::Value>(&block)
                .unwrap_or_else(|e| panic!("{name}:\n{block}\n{e}"));
        }
        let all = |language: &str| blocks(&text, language).join("\n");
        let parsers: [(&str, &[&str], String); 3] = [
            ("bash", &["-n"], all("sh")),
            ("python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"], all("python")),
            ("php", &["-l"], format!("<?php\n{}", all("php").replace("<?php", ""))),
        ];
        for (program, arguments, code) in parsers {
            if code.trim().len() <= "<?php".len() {
                continue;
            }
            let mut command = Command::new(program);
            command.args(arguments);
            if let Some(said) = refused(command, &code) {
                panic!("{name}: {program}:\n{code}\n{said}");
            }
        }
    }
}
