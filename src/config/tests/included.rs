//! Files that `accounts` names.

use std::fs;

use super::*;

/// A folder with these files, loaded from its `wxgate.toml`.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Loaded, ConfigErrors>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = Config::load(Some(&folder.path().join("wxgate.toml")), &env_of(&[]));
    (folder, loaded)
}

const MAIN: &str = "accounts = ['accounts.d/*.toml']\n";

fn account(name: &str, more: &str) -> String {
    format!("[[account]]\nname = '{name}'\nappid = 'wx-{name}'\nsecret = 's'\nprefix = '/{name}'\n{more}\n")
}

/// What is wrong, without the folder's name.
fn complaints(files: &[(&str, &str)]) -> Vec<String> {
    let (folder, loaded) = load(files);
    let folder = format!("{}/", folder.path().display());
    let errors = loaded.unwrap_err();
    errors.problems().iter().map(|problem| problem.to_string().replace(&folder, "")).collect()
}

#[test]
fn accounts_and_callers_of_all_files_are_one_configuration() {
    let a = account("a", "");
    let caller =
        format!("[[caller]]\nname = 'cms'\nkey = {{ file = 'cms.key' }}\naccounts = ['a', 'main']\n{a}");
    let (_folder, loaded) = load(&[
        ("wxgate.toml", &format!("accounts = ['accounts.d/*.toml', 'more.toml']\n{ACCOUNT}")),
        ("accounts.d/2.toml", &account("b", "")),
        ("accounts.d/1.toml", &caller),
        ("accounts.d/cms.key", "k3y"),
        ("accounts.d/.hidden.toml", "nonsense"),
        ("accounts.d/3.toml~", "nonsense"),
        ("more.toml", "# nothing\n"),
    ]);
    let loaded = loaded.unwrap();
    let names: Vec<_> = loaded.config.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["main", "a", "b"]);
    assert_eq!(loaded.config.callers[0].keys[0].expose(), "k3y");
    let keys: Vec<_> = loaded.settings.iter().filter(|s| s.key.ends_with("].appid")).collect();
    let sources: Vec<_> =
        keys.iter().map(|setting| (setting.key.as_str(), setting.source.to_string())).collect();
    assert!(
        sources[1].0 == "account[1].appid" && sources[1].1.ends_with("accounts.d/1.toml:7"),
        "{sources:?}"
    );
    assert!(
        sources[2].0 == "account[2].appid" && sources[2].1.ends_with("accounts.d/2.toml:3"),
        "{sources:?}"
    );
}

#[test]
fn errors_name_the_file_that_has_them() {
    assert_eq!(
        complaints(&[
            ("wxgate.toml", &format!("workers = -1\n{MAIN}{ACCOUNT}")),
            (
                "accounts.d/a.toml",
                "listen = '127.0.0.1:1'\n[[acount]]\n[[account]]\nname = 'x'\nappid = 'wx1'\nsecret = 's'\n"
            ),
            ("accounts.d/b.toml", "[[account]]\nappid = \n"),
            ("accounts.d/c.toml", "[[account]]\nname = 'x'\nappid = 'wx3'\nsecrt = 's'\nprefix = '/x'\n"),
        ]),
        [
            "accounts.d/a.toml:1: listen: not in a file that `accounts` names: want [[account]] and [[caller]] here alone",
            "accounts.d/a.toml:2: acount: unknown key, did you mean `account`?",
            "accounts.d/a.toml:3: account[0]: `hosts` or `prefix` is required: account[0] of wxgate.toml has neither too, \
             and a request could belong to both",
            "accounts.d/a.toml:5: account[0].appid: the appid of account[0] of wxgate.toml once more; two accounts with \
             one appid would end each other's token",
            "accounts.d/b.toml:2:9: not valid TOML: string values must be quoted, want \"…\" around the value",
            "accounts.d/c.toml:1: account[0].secret: missing, and required: secret = { env = \"WECHAT_SECRET\" }",
            "accounts.d/c.toml:2: account[0].name: found \"x\", want a name that account[0] of accounts.d/a.toml does not \
             have",
            "accounts.d/c.toml:4: account[0].secrt: unknown key, did you mean `secret`?",
            "wxgate.toml:1: workers: found -1, want a whole number from 0 to 1024",
        ]
    );
}

#[test]
fn what_names_no_file_is_wrong_and_an_empty_folder_is_not() {
    let (folder, loaded) = load(&[("wxgate.toml", &format!("{MAIN}{ACCOUNT}"))]);
    assert_eq!(loaded.unwrap().config.accounts.len(), 1);
    drop(folder);
    assert_eq!(
        complaints(&[("wxgate.toml", MAIN)]),
        [
            "wxgate.toml:1: account: at least one [[account]] with `appid` and `secret` is required, here or in the files \
             of `accounts`"
        ]
    );
    assert_eq!(
        complaints(&[("wxgate.toml", &format!("accounts = ['no.toml']\n{ACCOUNT}"))]),
        [
            "wxgate.toml:1: accounts[0]: `no.toml`: cannot read the configuration: No such file or directory (os error 2); \
             want the path of a TOML file"
        ]
    );
    assert_eq!(
        complaints(&[("wxgate.toml", &format!("accounts = 'a.toml'\n{ACCOUNT}"))]),
        ["wxgate.toml:1: accounts: found \"a.toml\", want an array of paths"]
    );
    assert_eq!(complaints(&[("wxgate.toml", &format!("accounts = ['a***']\n{ACCOUNT}"))]).len(), 1);
}

#[test]
fn an_open_listener_may_have_its_callers_in_another_file() {
    let (_folder, loaded) = load(&[
        ("wxgate.toml", &format!("listen = '0.0.0.0:80'\n{MAIN}{ACCOUNT}")),
        ("accounts.d/a.toml", "[[caller]]\nname = 'a'\nkey = 'k'\n"),
    ]);
    assert_eq!(loaded.unwrap().config.callers.len(), 1);
}

#[test]
fn an_included_file_is_a_file_like_any_other() {
    let (folder, loaded) =
        load(&[("wxgate.toml", &format!("{MAIN}{ACCOUNT}")), ("accounts.d/a.toml", &account("a", ""))]);
    // The default of a test's umask lets others read both.
    let warnings = loaded.unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[1].contains("accounts.d/a.toml: holds a secret"), "{warnings:?}");
    let fifo = folder.path().join("accounts.d/b.toml");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let errors =
        Config::load(Some(&folder.path().join("wxgate.toml")), &env_of(&[])).unwrap_err().to_string();
    let end = "accounts.d/b.toml`: cannot read the configuration: it is a FIFO, want a regular file; want the path of a TOML file";
    assert!(errors.contains("wxgate.toml:1: accounts[0]: `") && errors.ends_with(end), "{errors}");
}
