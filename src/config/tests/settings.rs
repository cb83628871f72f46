//! What is in force, and where it comes from.

use super::*;
use crate::config::keys::{Kind, SECTIONS};

fn settings(text: &str, env: &[(&str, &str)]) -> Vec<Setting> {
    Config::from_toml(text, Path::new("wxgate.toml"), &env_of(env)).unwrap().settings
}

fn of<'a>(settings: &'a [Setting], key: &str) -> (&'a serde_json::Value, String) {
    let found: Vec<_> = settings.iter().filter(|setting| setting.key == key).collect();
    let [setting] = found.as_slice() else { panic!("{key} stands there {} times", found.len()) };
    (&setting.value, setting.source.to_string())
}

#[test]
fn each_value_comes_with_its_source() {
    let text = "workers = 3\n[upstream]\nurl = 'https://API.weixin.qq.com'\n[[account]]\nappid = 'wx1'\n\
                secret = { env = 'S' }\n[[account]]\nname = 'b'\nappid = 'wx2'\nsecret = 'pla1n'\nprefix = '/b'\n";
    let settings = settings(text, &[("S", "s3cret")]);
    for (key, value, source) in [
        ("workers", "3", "wxgate.toml:1"),
        ("listen", r#"["127.0.0.1:8080"]"#, "default"),
        ("state_dir", r#""/home/wx/.local/state/wxgate""#, "environment HOME"),
        ("upstream.url", r#""https://API.weixin.qq.com""#, "wxgate.toml:3"),
        ("upstream.egress_ip", "null", "default"),
        ("limits.max_body", r#""64MiB""#, "default"),
        ("account[0].name", r#""main""#, "default"),
        ("account[0].secret", r#""***""#, "wxgate.toml:6, environment S"),
        ("account[1].name", r#""b""#, "wxgate.toml:8"),
        ("account[1].secret", r#""***""#, "wxgate.toml:10"),
        ("account[1].refresh_on", "[40001,40014,42001]", "default"),
    ] {
        let (found, from) = of(&settings, key);
        assert_eq!((found.to_string().as_str(), from.as_str()), (value, source), "{key}");
    }
    assert!(!settings.iter().any(|setting| setting.key.starts_with("tls.")), "there is no [tls]");
    assert!(!format!("{settings:?}").contains("s3cret") && !format!("{settings:?}").contains("pla1n"));
}

#[test]
fn the_environment_alone_is_a_source_too() {
    let env = env_of(&[
        ("WXGATE_APPID", "wx1"),
        ("WXGATE_SECRET", "s3cret"),
        ("WXGATE_UPSTREAM", "http://127.0.0.1:1"),
        ("WXGATE_STATE_DIR", "/s"),
    ]);
    let settings = Config::from_environment(&env).unwrap().settings;
    for (key, value, source) in [
        ("account[0].appid", r#""wx1""#, "environment WXGATE_APPID"),
        ("account[0].secret", r#""***""#, "environment WXGATE_SECRET"),
        ("upstream.url", r#""http://127.0.0.1:1""#, "environment WXGATE_UPSTREAM"),
        ("state_dir", r#""/s""#, "environment WXGATE_STATE_DIR"),
        ("listen", r#"["127.0.0.1:8080"]"#, "default"),
        ("account[0].name", r#""main""#, "default"),
    ] {
        let (found, from) = of(&settings, key);
        assert_eq!((found.to_string().as_str(), from.as_str()), (value, source), "{key}");
    }
}

/// Every secret of the table of keys is masked, however it is given, and so is a password in a URL.
#[test]
fn secrets_are_masked_by_their_kind() {
    for section in SECTIONS {
        for key in section.keys {
            let secret = matches!(key.kind, Kind::Secret | Kind::OneOrMore(Kind::Secret));
            for text in ["'hunter2'", "['hunter2', 'hunter2']"] {
                let value = toml::de::DeValue::parse(text).unwrap();
                let (shown, _) = crate::config::settings::shown(key, value.get_ref());
                assert_eq!(!shown.to_string().contains("hunter2"), secret, "{} {}", section.name, key.name);
            }
            let value = toml::de::DeValue::parse("'socks5h://user:hunter2@proxy:1080'").unwrap();
            let (shown, _) = crate::config::settings::shown(key, value.get_ref());
            assert!(!shown.to_string().contains("hunter2"), "{} {}", section.name, key.name);
        }
    }
}

#[test]
fn what_is_printed_can_be_read_again() {
    let text = "[upstream]\negress_ip = '127.0.0.1'\n[[account]]\nappid = 'wx1'\nsecret = 's3cret'\n\
                [[caller]]\nname = 'a'\nfrom = ['10.0.0.0/8']\n";
    let settings = settings(text, &[]);
    let printed = print(&settings);
    let lines: Vec<String> =
        printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "access_log = true # default",
        "egress_ip = \"127.0.0.1\" # wxgate.toml:2",
        "# ca: the system's trust roots alone # default",
        "[[caller]]",
    ] {
        assert!(lines.iter().any(|printed| printed == line), "{line}\n{printed}");
    }
    let again = printed.replace("\"***\"", "\"s3cret\"");
    let again = load_text(&again).unwrap_or_else(|e| panic!("{e}\n{again}"));
    assert_eq!(again.config, load_text(text).unwrap().config);
}

#[test]
fn a_secret_or_a_named_file_with_another_content_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let read = |plain: &str, more: &str| {
        let text = format!(
            "state_dir = 's'\n{more}[[caller]]\nname = 'c'\nkey = [{{ file = 'one' }},\n{{ file = 'two' }}]\n\
             [upstream]\nca = 'ca.pem'\n[[account]]\nappid = 'wx1'\nsecret = {{ file = 'appsecret' }}\n\
             [[account]]\nname = 'b'\nprefix = '/b'\nappid = 'wx2'\nsecret = '{plain}'\n\
             [[alert]]\nkind = 'feishu'\nurl = 'https://open.feishu.cn/k'\nsecret = {{ file = 'robot' }}\n"
        );
        Config::from_toml(&text, &at("wxgate.toml"), &env_of(&[])).unwrap().settings
    };
    for name in ["one", "two", "appsecret", "robot"] {
        std::fs::write(at(name), format!("of-{name}-0123456789")).unwrap();
    }
    std::fs::write(at("ca.pem"), include_str!("../../../certs/ca.pem")).unwrap();
    let mut old = read("plain-1", "");
    assert_eq!(changed(&old, &read("plain-1", "# one line more\n")), [""; 0]);
    let listen =
        ["listen = ['127.0.0.1:1','127.0.0.1:2']\n", "listen = [ '127.0.0.1:1', # one\n'127.0.0.1:2' ]\n"];
    let [one, same] = listen.map(|listen| read("plain-1", listen));
    assert_eq!((changed(&one, &same), changed(&old, &one)), (vec![], vec!["listen".to_owned()]));
    let text = serde_json::to_string(&old).unwrap();
    for (name, key) in [
        ("one", "caller[0].key"),
        ("two", "caller[0].key"),
        ("appsecret", "account[0].secret"),
        ("ca.pem", "upstream.ca"),
        ("robot", "alert[0].secret"),
    ] {
        let before = std::fs::read_to_string(at(name)).unwrap();
        std::fs::write(at(name), before.clone() + if name == "ca.pem" { &before } else { "more" }).unwrap();
        let new = read("plain-1", "");
        assert_eq!(changed(&old, &new), [key], "{name}");
        old = new;
    }
    assert_eq!(changed(&old, &read("plain-2", "")), ["account[1].secret"]);
    assert_eq!(serde_json::to_string(&old).unwrap(), text, "nothing of it is shown");

    let from_env = |secret| {
        let env = [("WXGATE_APPID", "wx1"), ("WXGATE_SECRET", secret), ("WXGATE_STATE_DIR", "s")];
        Config::load_in(dir.path(), None, &Files::default(), &env_of(&env)).unwrap().settings
    };
    assert_eq!(changed(&from_env("s3cret-1"), &from_env("s3cret-2")), ["account[0].secret"]);
}

#[test]
fn defaults_of_a_table_that_comes_or_goes_have_not_changed() {
    let read = |tables: &str| settings(&format!("state_dir = 's'\n{tables}\n{ACCOUNT}"), &[]);
    let (without, with) = (read(""), read("[admin]\nlisten = '127.0.0.1:1'"));
    assert_eq!(changed(&without, &with), ["admin.listen"]);
    assert_eq!(changed(&with, &without), ["admin.listen"]);
    let named = read("[admin]\nlisten = '127.0.0.1:1'\nhosts = ['a.test']");
    assert_eq!(changed(&without, &named), ["admin.listen", "admin.hosts"]);
    assert_eq!(changed(&with, &named), ["admin.hosts"]);
}
