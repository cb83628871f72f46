//! Wrong usage and wrong configuration: exit code 2, and words that say what would be right.

use crate::support::child::{run, wxgate};
use crate::support::gate::{APPID, SECRET};

#[tokio::test]
async fn with_nothing_configured_it_names_three_ways_to_start_and_demo_first() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&[][..], &["serve"], &["check", "--offline"]] {
        let ended = run(&mut wxgate(dir.path(), arguments)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        let at =
            |words: &str| ended.stderr.find(words).unwrap_or_else(|| panic!("{words}: {}", ended.stderr));
        assert!(at("1. wxgate demo") < at("2. WXGATE_APPID="), "{}", ended.stderr);
        assert!(at("2. WXGATE_APPID=") < at("3. wxgate serve --config"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn wrong_usage_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["sevre"][..],
        &["--conifg", "x.toml"],
        &["serve", "--config"],
        &["serve", "x.toml"],
        &["sandbox", "--listen", "nowhere"],
        &["sandbox", "--appid", "wx1", "--appid", "wx2", "--secret", "only-one-secret"],
        &["sandbox", "--cert", "a.pem"],
    ] {
        let ended = run(&mut wxgate(dir.path(), arguments)).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn all_errors_of_a_file_are_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wxgate.toml");
    let text = format!(
        "lisen = [\"127.0.0.1:0\"]\nworkers = \"two\"\n[upstream]\nconect_timeout = \"3s\"\nurl = \"http://api.weixin.qq.com\"\n\
         [[account]]\nname = \"Main\"\nsecret = \"{SECRET}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let ended = run(&mut wxgate(dir.path(), &["serve", "--config", file.to_str().unwrap()])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let said = |line: usize, words: &[&str]| {
        let place = format!("wxgate.toml:{line}: ");
        let found =
            ended.stderr.lines().any(|l| l.contains(&place) && words.iter().all(|word| l.contains(word)));
        assert!(found, "line {line}, {words:?}:\n{}", ended.stderr);
    };
    said(1, &["lisen", "listen"]);
    said(2, &["workers", "\"two\"", "want"]);
    said(4, &["conect_timeout", "connect_timeout"]);
    said(5, &["url", "https"]);
    said(6, &["appid"]);
    said(7, &["name", "\"Main\"", "want"]);
    assert!(!ended.stderr.contains(SECRET));
}

#[tokio::test]
async fn a_file_that_is_not_there_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(&mut wxgate(dir.path(), &["serve", "--config", "no-such.toml"])).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no-such.toml"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_open_relay_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let account = format!("[[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\n");
    std::fs::write(dir.path().join("open.toml"), format!("listen = [\"0.0.0.0:0\"]\n{account}")).unwrap();
    let mut from_file = wxgate(dir.path(), &["serve", "--config", "open.toml"]);
    let mut from_environment = wxgate(dir.path(), &["serve"]);
    from_environment
        .env("WXGATE_APPID", APPID)
        .env("WXGATE_SECRET", SECRET)
        .env("WXGATE_STATE_DIR", dir.path())
        .env("WXGATE_LISTEN", "0.0.0.0:0");
    for command in [&mut from_file, &mut from_environment] {
        let ended = run(command).await;
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        for words in ["0.0.0.0:0", "open_to_everyone", "loopback"] {
            assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn the_help_names_every_command_variable_and_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(&mut wxgate(dir.path(), &["--help"])).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    for word in [
        "serve",
        "check",
        "demo",
        "sandbox",
        "--config",
        "wxgate.toml",
        "WXGATE_APPID",
        "WXGATE_SECRET_FILE",
        "WXGATE_LISTEN",
        "WXGATE_UPSTREAM",
        "WXGATE_EGRESS_IP",
        "WXGATE_STATE_DIR",
        "WXGATE_LOG",
        "Exit codes",
        "SIGTERM",
    ] {
        assert!(ended.stdout.contains(word), "{word}: {}", ended.stdout);
    }
    for (command, words) in [
        ("serve", &["--config"][..]),
        ("check", &["--config", "--offline"]),
        ("config", &["print", "schema", "--config"]),
        ("init", &["--offline"]),
        ("completions", &["bash", "zsh", "fish"]),
        ("demo", &["ready for curl"]),
        ("sandbox", &["--listen", "--token-ttl", "--allow-ip", "steal-token", "/sandbox/stats"]),
    ] {
        let ended = run(&mut wxgate(dir.path(), &[command, "--help"])).await;
        assert_eq!(ended.code, Some(0), "{command}");
        for word in words {
            assert!(ended.stdout.contains(word), "{command} {word}: {}", ended.stdout);
        }
    }
    let version = run(&mut wxgate(dir.path(), &["--version"])).await;
    assert_eq!(version.stdout, format!("wxgate {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn the_configuration_in_force_is_printed_with_its_sources_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("workers = 2\n[[account]]\nappid = \"{APPID}\"\nsecret = \"{SECRET}\"\n");
    std::fs::write(dir.path().join("wxgate.toml"), text).unwrap();
    for arguments in [&["config", "print"][..], &["config", "print", "--config", "wxgate.toml"]] {
        let ended = run(wxgate(dir.path(), arguments).env("HOME", dir.path())).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        let line = |name: &str| ended.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("workers").ends_with("# wxgate.toml:1"), "{}", ended.stdout);
        assert!(line("secret").starts_with("secret = \"***\"") && !ended.stdout.contains(SECRET));
        assert!(line("state_dir").ends_with("# environment HOME"));
    }
    std::fs::write(dir.path().join("wxgate.toml"), "workres = 2\n").unwrap();
    let ended = run(&mut wxgate(dir.path(), &["config", "print"])).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("did you mean `workers`"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_schema_is_printed_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let ended = run(&mut wxgate(dir.path(), &["config", "schema"])).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let schema: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(schema["properties"]["upstream"]["properties"]["connect_timeout"]["default"], "3s");
    let shipped = include_str!("../../../examples/wxgate.schema.json");
    assert_eq!(ended.stdout, shipped);
}

#[tokio::test]
async fn completions_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(&mut wxgate(dir.path(), &["completions", shell])).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        for command in ["serve", "check", "init", "config", "demo", "sandbox"] {
            assert!(ended.stdout.contains(command), "{shell} {command}");
        }
    }
    assert_eq!(run(&mut wxgate(dir.path(), &["completions", "dos"])).await.code, Some(2));
}

#[tokio::test]
async fn init_writes_a_configuration_that_the_check_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let answers = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("printf '{APPID}\\n{SECRET}\\n' | \"$0\" init --offline"))
        .arg(env!("CARGO_BIN_EXE_wxgate"))
        .current_dir(dir.path())
        .env_clear()
        .env("HOME", dir.path())
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8(answers.stdout).unwrap(), String::from_utf8(answers.stderr).unwrap());
    assert_eq!((answers.status.code(), errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("account `main`: appid") && !said.contains(SECRET), "{said}");
}
