//! What the documents show works: configurations, commands, and the names that they mention.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wxgate::config::Config;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```").is_some_and(|l| l == language) {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

#[test]
fn the_readmes_configurations_are_right() {
    for name in READMES {
        let blocks = blocks(&document(name), "toml");
        assert!(blocks.len() >= 2, "{name} shows no configurations");
        for block in blocks {
            let dir = TempDir::new().unwrap();
            for secret in ["appsecret", "main.secret", "legacy-cms.key", "redis.password"] {
                std::fs::write(dir.path().join(secret), "0123456789abcdef0123456789abcdef\n").unwrap();
            }
            std::fs::write(dir.path().join("proxy.url"), "http://user:pass@10.1.0.3:3128\n").unwrap();
            for file in ["server.pem", "server.key"] {
                std::fs::copy(root().join("certs").join(file), dir.path().join(file)).unwrap();
            }
            let signing = dir.path().join("signing");
            std::fs::create_dir(&signing).unwrap();
            for file in ["app.key", "platform.pem"] {
                std::fs::copy(root().join("certs/signing").join(file), signing.join(file)).unwrap();
            }
            std::fs::write(signing.join("aes.key"), "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=\n")
                .unwrap();
            let env = |key: &str| match key {
                "SHOP_SECRET" => Some("fedcba9876543210fedcba9876543210".into()),
                "HOME" => Some(dir.path().into()),
                _ => None,
            };
            let file = dir.path().join("wxgate.toml");
            if let Err(errors) = Config::from_toml(&block, &file, &env) {
                panic!("{name}:\n{block}\n{errors}");
            }
        }
    }
}

#[test]
fn both_readmes_show_the_same_configurations_and_commands() {
    let [english, chinese] = READMES.map(document);
    let bare = |block: &String| {
        let lines =
            block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim_end().to_owned());
        lines.collect::<Vec<_>>().join("\n")
    };
    for language in ["toml", "sh"] {
        let [english, chinese] =
            [&english, &chinese].map(|text| blocks(text, language).iter().map(bare).collect::<Vec<_>>());
        assert_eq!(english, chinese, "the {language} blocks differ");
    }
}

#[test]
fn files_that_documents_link_to_exist() {
    for name in [
        "README.md",
        "README.zh-CN.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "sandbox/README.md",
        "docs/hyper.md",
        "benches/README.md",
        "fuzz/README.md",
        "certs/README.md",
        "examples/drop-in/README.md",
        "examples/jssdk/README.md",
        "examples/php/README.md",
        "examples/easywechat/README.md",
        "examples/wechatpy/README.md",
        "docs/en/configuration.md",
        "docs/zh/configuration.md",
    ] {
        let text = document(name);
        let folder = Path::new(name).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !link.contains("://") {
                assert!(
                    root().join(folder).join(file).exists(),
                    "{name} links to {link}, which does not exist"
                );
            }
        }
    }
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
