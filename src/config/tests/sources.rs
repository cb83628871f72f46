//! Which file or environment decides, what values come from files, and what is warned about.

use std::fs;

use super::*;

#[test]
fn nothing_configured_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let errors = Config::load_in(folder.path(), None, &env_of(&[("WXGATE_APPID", "")])).unwrap_err();
    assert_eq!(errors, ConfigErrors::NothingConfigured);
}

#[test]
fn the_file_named_wins_then_the_one_here_then_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let env = env_of(&[("WXGATE_APPID", "wxenv"), ("WXGATE_SECRET", "s")]);
    let named = folder.path().join("other.toml");
    fs::write(&named, ACCOUNT.replace("wx1", "wxnamed")).unwrap();
    let appid = |path: Option<&Path>| {
        Config::load_in(folder.path(), path, &env).unwrap().config.accounts[0].appid.clone()
    };
    assert_eq!(appid(None), "wxenv");
    fs::write(folder.path().join("wxgate.toml"), ACCOUNT.replace("wx1", "wxhere")).unwrap();
    assert_eq!(appid(None), "wxhere");
    assert_eq!(appid(Some(&named)), "wxnamed");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_whatever_the_environment_holds() {
    let env = env_of(&[("WXGATE_APPID", "wxenv"), ("WXGATE_SECRET", "s")]);
    let errors = Config::load(Some(Path::new("/nowhere/x.toml")), &env).unwrap_err().to_string();
    assert!(
        errors.starts_with(
            "/nowhere/x.toml: cannot read the configuration: No such file or directory (os error 2)\nhint: "
        ),
        "{errors}"
    );
}

#[test]
fn the_environment_beside_a_file_is_ignored_and_that_is_said() {
    let text = "[[account]]\nappid = 'wx1'\nsecret = { env = 'WXGATE_SECRET' }\n";
    let env = env_of(&[("WXGATE_SECRET", "s"), ("WXGATE_LISTEN", "0.0.0.0:1"), ("WXGATE_APPID", "x")]);
    let loaded = Config::from_toml(text, Path::new("wxgate.toml"), &env).unwrap();
    assert_eq!(
        loaded.warnings,
        ["WXGATE_APPID, WXGATE_LISTEN in the environment: ignored, wxgate.toml alone decides"]
    );
    assert_eq!(loaded.source, Source::File("wxgate.toml".into()));
}

#[test]
fn the_environment_alone_sets_all_that_it_can() {
    let env = env_of(&[
        ("WXGATE_APPID", "wx1"),
        ("WXGATE_SECRET", "s3cret\r"),
        ("WXGATE_LISTEN", "127.0.0.1:0, [::1]:9"),
        ("WXGATE_UPSTREAM", "http://127.0.0.1:9443"),
        ("WXGATE_EGRESS_IP", "127.0.0.2"),
        ("WXGATE_STATE_DIR", "state"),
    ]);
    let loaded = Config::from_environment(&env).unwrap();
    let mut expected = load_text(ACCOUNT).unwrap().config;
    expected.listen = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:9".parse().unwrap()];
    expected.upstream.url = BaseUrl::new(false, "127.0.0.1", 9443).unwrap();
    expected.accounts[0].upstream = expected.upstream.url.clone();
    expected.upstream.egress_ip = Some("127.0.0.2".parse().unwrap());
    expected.state_dir = "state".into();
    assert_eq!((loaded.config, loaded.source), (expected, Source::Environment));
}

#[test]
fn what_is_wrong_with_the_environment_comes_at_once() {
    let env = |name: &str| match name {
        "WXGATE_LISTEN" => Some("0.0.0.0:80".into()),
        "WXGATE_UPSTREAM" => Some("http://example.com".into()),
        _ => None,
    };
    let errors = Config::from_environment(&env).unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "WXGATE_APPID",
            "WXGATE_SECRET_FILE",
            "WXGATE_LISTEN",
            "WXGATE_UPSTREAM",
            "WXGATE_STATE_DIR",
            "hint"
        ]
    );
    assert!(errors.contains("WXGATE_LISTEN: found \"0.0.0.0:80\", want a loopback address"), "{errors}");
    assert!(errors.contains("a [[caller]] or open_to_everyone = true"), "{errors}");
}

#[test]
fn relative_paths_start_from_the_files_folder_and_secrets_lose_their_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wxgate.toml");
    fs::write(folder.path().join("appsecret"), "\u{feff}s3cret\r\n").unwrap();
    fs::write(folder.path().join("ca.pem"), "").unwrap();
    let text = "state_dir = 'state'\nupstream.ca = 'ca.pem'\n[[account]]\nappid = 'wx1'\nsecret.file = 'appsecret'\n";
    fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), &env_of(&[])).unwrap().config;
    assert_eq!(config.state_dir, folder.path().join("state"));
    assert_eq!(config.upstream.ca, Some(folder.path().join("ca.pem")));
    assert_eq!(config.accounts[0].secret.expose(), "s3cret");
    fs::write(folder.path().join("appsecret"), " \n").unwrap();
    let errors = Config::load(Some(&file), &env_of(&[])).unwrap_err();
    assert!(errors.to_string().contains("account[0].secret.file: the secret is empty"), "{errors}");
}

#[cfg(unix)]
#[test]
fn files_that_others_can_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("wxgate.toml"), folder.path().join("appsecret"));
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let warnings = || Config::load(Some(&file), &env_of(&[])).unwrap().warnings;

    fs::write(&file, ACCOUNT).unwrap();
    mode(&file, 0o600);
    assert_eq!(warnings(), [""; 0]);
    mode(&file, 0o644);
    assert_eq!(warnings().len(), 1);
    assert!(warnings()[0].contains("holds a secret, and other users"), "{:?}", warnings());

    fs::write(&secret, "s3cret").unwrap();
    fs::write(&file, "[[account]]\nappid = 'wx1'\nsecret = { file = 'appsecret' }").unwrap();
    mode(&secret, 0o640);
    assert_eq!(warnings().len(), 1);
    assert!(warnings()[0].contains("wxgate.toml:3: account[0].secret.file: other users"), "{:?}", warnings());
    mode(&secret, 0o600);
    assert_eq!(warnings(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn keys_of_callers_and_of_tls_that_others_can_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name), at(name)).unwrap();
    }
    fs::write(at("cms.key"), "k3y").unwrap();
    let text = "[tls]\nlisten = '127.0.0.1:0'\ncert = 'server.pem'\nkey = 'server.key'\n[[caller]]\n\
                name = 'cms'\nkey = { file = 'cms.key' }\n";
    fs::write(at("wxgate.toml"), format!("{text}{ACCOUNT}")).unwrap();
    mode("wxgate.toml", 0o600);
    let warnings = || Config::load(Some(&at("wxgate.toml")), &env_of(&[])).unwrap().warnings;
    for (tls, caller, right) in [
        (0o600, 0o600, &[][..]),
        (
            0o640,
            0o600,
            &["wxgate.toml:4: tls.key: other users of this machine can read the file with the private"],
        ),
        (
            0o600,
            0o604,
            &["wxgate.toml:7: caller[0].key.file: other users of this machine can read the file with"],
        ),
    ] {
        mode("server.key", tls);
        mode("cms.key", caller);
        let said = warnings();
        assert_eq!(said.len(), right.len(), "{said:?}");
        assert!(said.iter().zip(right).all(|(said, right)| said.contains(right)), "{said:?}");
    }
}

#[test]
fn a_path_without_a_slash_at_its_end_is_allowed_and_warned_about() {
    let loaded = load_text(&format!("{ACCOUNT}paths = ['/cgi-bin', '/sns/jscode2session']\n")).unwrap();
    assert_eq!(
        loaded.warnings,
        [
            r#"wxgate.toml:4: account[0].paths[0]: "/cgi-bin" also admits "/cgi-binx"; "/cgi-bin/" is most likely meant"#
        ]
    );
}

#[test]
fn state_goes_where_the_system_says() {
    for (pairs, expected) in [
        (vec![("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), ("XDG_STATE_HOME", "/x")], "/var/lib/a"),
        (vec![("XDG_STATE_HOME", "/x")], "/x/wxgate"),
        (vec![("XDG_STATE_HOME", "relative")], "/home/wx/.local/state/wxgate"),
    ] {
        assert_eq!(state_dir(&env_of(&pairs)).unwrap(), Path::new(expected), "{pairs:?}");
    }
    assert!(state_dir(&|_| None).unwrap_err().contains("HOME"));
}

#[test]
fn replay_memory_is_never_larger_than_a_body() {
    let config = load_text(&format!("limits.max_body = '1MiB'\n{ACCOUNT}")).unwrap().config;
    assert_eq!(config.limits.replay_per_request, 1 << 20);
}
