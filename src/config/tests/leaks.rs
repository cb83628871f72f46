//! No message holds a secret: the same marker is put wherever a user could put one, rightly or by mistake.

use proptest::prelude::*;

use super::*;

/// No dictionary word, no hex: hidden for its place alone, not for its looks.
const MARKER: &str = "Zq7-MARKER/w+K=";

fn everything_said(text: &str) -> String {
    let env = env_of(&[("X", MARKER)]);
    match Config::from_toml(text, Path::new("wxgate.toml"), &env) {
        Ok(loaded) => format!("{loaded:?}"),
        Err(errors) => format!("{errors}\n{errors:?}"),
    }
}

#[test]
fn a_secret_is_shown_nowhere() {
    let account = |line: &str| format!("[[account]]\nappid = 'wx1'\n{line}\n");
    let m = MARKER;
    let texts = [
        account(&format!("secret = '{m}'")),
        format!("[upstream]\nproxy = 'http://u:{m}@h:1'\n{}", account("secret = 'x'")),
        format!("[upstream]\nproxy = 'http://u:{}@h:1'\n{}", m.replace('/', "%2F"), account("secret = 'x'")),
        format!("[upstream]\nproxy = '{m}'\n{}", account("secret = 'x'")),
        format!("[upstream]\nproxy = ['{m}']\n{}", account("secret = 'x'")),
        format!("[upstream]\nproxy = {{ env = '{m}' }}\n{}", account("secret = 'x'")),
        format!("[upstream]\nproxy = {{ env = 'X' }}\n{}", account("secret = 'x'")),
        account(&format!("secret = '{m} {m}'")),
        account(&format!("secret = '''\n{m}\n{m}'''")),
        account(&format!("secret = ['{m}']")),
        account(&format!("secret = {{ file = '{m}' }}")),
        account(&format!("secret = {{ file = ['{m}'] }}")),
        account(&format!("secret = {{ env = '{m}' }}")),
        account(&format!("secret = {{ env = 'X', file = '{m}' }}")),
        account(&format!("secret = {{ credential = '{m}' }}")),
        account(&format!("secret = {{ value = '{m}' }}")),
        account(&format!("secret = {{ '{m}' = '' }}")),
        account(&format!("secret.'{m}' = 'x'")),
        account(&format!("secrt = '{m}'")),
        account(&format!("app_secret = {{ file = '{m}' }}")),
        account(&format!("secret = {m}")),
        account(&format!("secret = \"{m}")),
        account(&format!("secret = '{m}\" # x")),
        account(&format!("secret '{m}'")),
        account(&format!("secret = '{m}'\nsecret = '{m}'")),
        account(&format!("secret = {{ file = '{m}'")),
        account(&format!("token_api = '''\nsecret = '{m}'\n'''")),
        account(&format!("'{m}' = 1")),
        account(m),
        format!("secret = '{m}'\n{ACCOUNT}"),
        format!("account = '{m}'"),
        format!("account = ['{m}']"),
        format!("upstream = '{m}'\n{ACCOUNT}"),
        format!("{ACCOUNT}[upstream]\nurl = 'https://u:{m}@api.weixin.qq.com'"),
        format!("{ACCOUNT}[upstream]\nurl = 'https://api.weixin.qq.com/?secret={m}'"),
        format!("{ACCOUNT}[admin]\nkey = '{m}'"),
        format!("{ACCOUNT}[[caller]]\nkey = '{m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'wecom'\nurl = '{m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'wecom'\nurl = 'https://qyapi.weixin.qq.com/?key={m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'wecom'\nurl = 'https://example.com/?key={m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'wecom'\nurl = 'https://qyapi.weixin.qq.com/k'\nsecret = '{m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'feishu'\nurl = 'https://open.feishu.cn/k'\nsecret = '{m}'"),
        format!("{ACCOUNT}[[alert]]\nkind = 'feishu'\nurl = 'https://open.feishu.cn/k'\nsecret = '{m} {m}'"),
        format!("{ACCOUNT}[tls]\nkey = '{m}'"),
        format!("{ACCOUNT}[tls]\ncert = '-----BEGIN PRIVATE KEY-----{m}'"),
        format!("{ACCOUNT}[tls]\nkey = {{ env = 'X' }}\ncert = {{ env = 'X' }}\nlisten = '127.0.0.1:0'"),
        format!("{ACCOUNT}[upstream]\nca = {{ env = 'X' }}"),
        format!("{ACCOUNT}[store]\nurl = 'redis://:{m}@h'"),
        format!("{ACCOUNT}[store]\nkind = 'redis'\nurl = {{ plain = '{m}' }}"),
        format!("{ACCOUNT}[store]\nuri = 'redis://:{m}@h'"),
        format!("{ACCOUNT}[account.signing]\nkey = '{m}'\nprivate_key = '{m}'"),
        format!(
            "{ACCOUNT}[account.signing]\nkey = {{ env = 'X' }}\nprivate_key = {{ env = 'X' }}\nkey_number = 1"
        ),
        format!("{ACCOUNT}[account.signing]\nprivate_key = '-----BEGIN RSA PRIVATE KEY-----{m}'"),
        format!("{ACCOUNT}[account.signing]\ncertificates = {{ '{m}' = 'x' }}"),
        format!("{ACCOUNT}[account.signing]\ncertificates = {{ 7 = '-----BEGIN {m}' }}"),
        format!("{ACCOUNT}[secret]\nvalue = '{m}'"),
    ];
    for text in texts {
        let said = everything_said(&text);
        assert!(!said.contains("MARKER"), "{text}\n=> {said}");
    }
}

#[test]
fn nor_from_the_environment() {
    for pairs in [
        vec![("WXGATE_SECRET", MARKER)],
        vec![("WXGATE_SECRET", "MARKER MARKER"), ("WXGATE_APPID", "wx1")],
        vec![("WXGATE_SECRET_FILE", MARKER), ("WXGATE_APPID", "wx1")],
        vec![("WXGATE_SECRET_FILE", "x"), ("WXGATE_SECRET", MARKER)],
        vec![("WXGATE_UPSTREAM", "https://u:MARKER@h")],
        vec![("WXGATE_SECRET", MARKER), ("WXGATE_APPID", "wx1")],
    ] {
        let said = match Config::from_environment(&env_of(&pairs)) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(errors) => format!("{errors}\n{errors:?}"),
        };
        assert!(!said.contains("MARKER"), "{pairs:?}\n=> {said}");
    }
}

/// Pieces that make texts which are nearly right, where mistakes are most interesting.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[[account]]\n".to_owned()),
        Just("[upstream]\n".to_owned()),
        Just(format!("secret = '{MARKER}'\n")),
        Just(format!("secret = {{ file = \"{MARKER}\" }}\n")),
        Just(format!("secret = {MARKER}\n")),
        Just(format!("key = \"{MARKER}\"\n")),
        Just(format!("url = \"redis://:{MARKER}@h/0\"\n")),
        prop::sample::select(vec![
            "listen",
            "name",
            "hosts",
            "paths",
            "store",
            "tls",
            "upstream",
            "ca",
            "url",
            "refresh_on",
            "account",
            "secret",
            "limits",
            "max_body",
            "workers",
            "=",
            "[",
            "]",
            "{",
            "}",
            "'",
            "\"",
            "\"\"\"",
            "'''",
            "\n",
            ",",
            "#",
            "0x",
            "-1",
            "1e9",
            "true",
            "\\",
            "\\u",
            "1979-05-27",
        ])
        .prop_map(|word| format!("{word} ")),
        "\\PC{0,6}",
        ".{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_neither_panics_nor_leaks(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        let said = everything_said(&text);
        prop_assert!(!said.contains("MARKER"), "{}\n=> {}", text, said);
    }

    #[test]
    fn arbitrary_values_never_panic(value in "\\PC{0,20}") {
        for key in ["listen", "state_dir", "shutdown_grace", "upstream.url", "upstream.egress_ip", "limits.max_body"] {
            let _ = load_text(&format!("{key} = {}\n", toml::Value::from(value.as_str())));
        }
    }
}
