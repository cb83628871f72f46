//! Which file or environment decides, what values come from files, and what is warned about.

use std::fs;

use super::*;

#[test]
fn certificates_that_nothing_can_be_verified_with_are_found_with_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    fs::write(at("wxgate.toml"), format!("{ACCOUNT}[upstream]\nca = 'ca.pem'\n")).unwrap();
    let errors = Config::load(Some(&at("wxgate.toml")), &env_of(&[])).unwrap_err();
    let [problem] = errors.problems() else { panic!("{errors}") };
    assert_eq!((problem.key.as_deref(), problem.line.is_some()), (Some("upstream.ca"), true), "{errors}");
    assert!(errors.to_string().contains("is unusable"), "{errors}");
}

#[test]
fn nothing_configured_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let errors = Config::load_in(folder.path(), None, &Files::default(), &env_of(&[("WXGATE_APPID", "")]))
        .unwrap_err();
    assert_eq!(errors, ConfigErrors::NothingConfigured);
}

#[test]
fn the_file_named_wins_then_the_one_here_then_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let env = env_of(&[("WXGATE_APPID", "wxenv"), ("WXGATE_SECRET", "s")]);
    let named = folder.path().join("other.toml");
    fs::write(&named, ACCOUNT.replace("wx1", "wxnamed")).unwrap();
    let appid = |path: Option<&Path>| {
        let loaded = Config::load_in(folder.path(), path, &Files::default(), &env).unwrap();
        app(&loaded.config).appid.clone()
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
            "/nowhere/x.toml: cannot read the configuration: No such file or directory (os error 2)"
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
    assert_eq!(loaded.source, ConfigSource::File("wxgate.toml".into()));
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
    assert_eq!((loaded.config, loaded.source), (expected, ConfigSource::Environment));
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
        ["WXGATE_APPID", "WXGATE_SECRET_FILE", "WXGATE_LISTEN", "WXGATE_UPSTREAM", "WXGATE_STATE_DIR",]
    );
    assert!(errors.contains("WXGATE_LISTEN: found \"0.0.0.0:80\", want a loopback address"), "{errors}");
    assert!(errors.contains("a [[caller]] or open_to_everyone = true"), "{errors}");
}

#[test]
fn relative_paths_start_from_the_files_folder_and_secrets_lose_their_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wxgate.toml");
    fs::write(folder.path().join("appsecret"), "\u{feff}s3cret\r\n").unwrap();
    fs::write(folder.path().join("ca.pem"), include_str!("../../../certs/ca.pem")).unwrap();
    let text = "state_dir = 'state'\nupstream.ca = 'ca.pem'\n[[account]]\nappid = 'wx1'\nsecret.file = 'appsecret'\n";
    fs::write(&file, text).unwrap();
    let config = Config::load(Some(&file), &env_of(&[])).unwrap().config;
    assert_eq!(config.state_dir, folder.path().join("state"));
    let ca = folder.path().join("ca.pem");
    assert_eq!(config.upstream.ca.as_ref().map(|pem| pem.name().to_owned()), Some(ca.display().to_string()));
    assert_eq!(app(&config).secret.expose(), "s3cret");
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
fn rules_that_no_call_fits_are_warned_about() {
    let account = "[[account]]\nappid = 'wx1'\nsecret = 's3cret'\nprefix = '/shop'\n";
    let warnings = |account_more: &str, allow: &str| {
        let caller = format!("[[caller]]\nname = 'a'\nkey = 'k'\nallow = [{allow}]\n");
        load_text(&format!("{account}{account_more}\n{caller}")).unwrap().warnings
    };
    assert_eq!(
        warnings("untouched = ['/cgi-bin/x', '/cgi-bin/*']", "'* /*', 'GET /cgi-bin/user/get'"),
        [""; 0]
    );
    let signatures = "'GET /wxgate/jssdk', '* /wxgate/*'";
    assert_eq!(warnings("tickets = true", signatures), [""; 0]);
    assert_eq!(warnings("", signatures).len(), 2, "without tickets nothing is signed");
    assert_eq!(
        warnings("paths = ['/shop/cgi-bin/', '/shopping/']", "'* /shop/*'"),
        [
            r#"wxgate.toml:5: account[0].paths[0]: "/shop/cgi-bin/" begins with the account's `prefix`, which is taken off before: write it without"#
        ]
    );
    assert_eq!(
        warnings("untouched = ['/wxa/x']", "'GET /shop/cgi-bin/*'"),
        [
            r#"wxgate.toml:5: account[0].untouched[0]: no call fits "/wxa/x": none of the account's `paths` admits one"#,
            "wxgate.toml:9: caller[0].allow[0]: no call fits `/shop/cgi-bin/*`: the `paths` of no account admit one"
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
        assert_eq!(defaults::state_dir(&env_of(&pairs)).unwrap().0, Path::new(expected), "{pairs:?}");
    }
    assert!(defaults::state_dir(&|_| None).unwrap_err().contains("HOME"));
}

#[test]
fn replay_memory_is_never_larger_than_a_body() {
    let config = load_text(&format!("limits.max_body = '1MiB'\n{ACCOUNT}")).unwrap().config;
    assert_eq!(config.limits.replay_per_request, 1 << 20);
}

/// A file that is named and is no regular file is wrong, wherever it is named, and costs no time.
#[test]
fn what_is_no_regular_file_is_refused_wherever_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::create_dir(at("folder")).unwrap();
    for name in ["server.pem", "server.key"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("certs").join(name), at(name)).unwrap();
    }
    let env = env_of(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]);
    for (path, what) in [("fifo", "a FIFO"), ("folder", "a directory"), ("/dev/zero", "a device")] {
        let tls = |key: &str, value: &str| {
            let keys = [("cert", "'server.pem'"), ("key", "'server.key'"), (key, value)];
            let lines = keys.iter().enumerate().filter(|(n, (name, _))| *n == 2 || *name != key);
            let lines: String = lines.map(|(_, (name, value))| format!("{name} = {value}\n")).collect();
            format!("{ACCOUNT}[tls]\nlisten = '127.0.0.1:0'\n{lines}")
        };
        let mut cases = vec![
            (
                format!("[[account]]\nappid = 'wx1'\nsecret = {{ file = '{path}' }}\n"),
                "account[0].secret.file",
            ),
            (format!("{ACCOUNT}[[caller]]\nname = 'a'\nkey = {{ file = '{path}' }}\n"), "caller[0].key.file"),
            (format!("{ACCOUNT}[upstream]\nca = '{path}'\n"), "upstream.ca"),
            (tls("cert", &format!("'{path}'")), "tls.cert"),
            (tls("key", &format!("'{path}'")), "tls.key"),
            (tls("key", &format!("{{ file = '{path}' }}")), "tls.key.file"),
            (tls("client_ca", &format!("'{path}'")), "tls.client_ca"),
        ];
        if !path.starts_with('/') {
            let secret = format!("[[account]]\nappid = 'wx1'\nsecret = {{ credential = '{path}' }}\n");
            cases.push((secret, "account[0].secret.credential"));
        }
        for (text, key) in cases {
            fs::write(at("wxgate.toml"), &text).unwrap();
            let errors = Config::load(Some(&at("wxgate.toml")), &env).unwrap_err();
            let [problem] = errors.problems() else { panic!("{text}: {errors}") };
            assert_eq!(problem.key.as_deref(), Some(key), "{text}: {errors}");
            assert!(errors.to_string().contains(what), "{text}: {errors}");
        }
        let errors = Config::load(Some(&at(path)), &env).unwrap_err().to_string();
        assert!(
            errors.ends_with(&format!("cannot read the configuration: it is {what}, want a regular file"))
        );
        let env = env_of(&[("WXGATE_APPID", "wx1"), ("WXGATE_SECRET_FILE", at(path).to_str().unwrap())]);
        let errors = Config::from_environment(&env).unwrap_err().to_string();
        assert!(errors.starts_with("WXGATE_SECRET_FILE: ") && errors.contains(what), "{errors}");
    }
}

#[test]
fn secrets_and_pem_come_from_files_variables_and_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs");
    fs::write(folder.path().join("appsecret"), "fr0m-systemd\n").unwrap();
    fs::copy(certs.join("server.key"), folder.path().join("tls-key")).unwrap();
    let text = format!(
        "[[account]]\nappid = 'wx1'\nsecret = {{ credential = 'appsecret' }}\n[[caller]]\nname = 'a'\n\
         key = {{ env = 'CALLER' }}\n[tls]\nlisten = '127.0.0.1:0'\ncert = {{ env = 'CERT' }}\n\
         key = {{ credential = 'tls-key' }}\nclient_ca = {{ file = '{}' }}\n",
        certs.join("ca.pem").display()
    );
    let cert = fs::read_to_string(certs.join("server.pem")).unwrap();
    let env = env_of(&[
        ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap()),
        ("CALLER", "k3y"),
        ("CERT", &cert),
    ]);
    let loaded = Config::from_toml(&text, Path::new("wxgate.toml"), &env).unwrap();
    assert_eq!(app(&loaded.config).secret.expose(), "fr0m-systemd");
    assert_eq!(loaded.config.callers[0].keys[0].expose(), "k3y");
    assert!(loaded.config.tls.unwrap().pem.client_ca.is_some());
    assert_eq!(loaded.credentials, ["tls.key.credential", "account[0].secret.credential"]);
    // Outside of a unit there are none.
    let errors =
        Config::from_toml(&text, Path::new("wxgate.toml"), &env_of(&[("CALLER", "k"), ("CERT", &cert)]));
    let errors = errors.unwrap_err().to_string();
    assert!(errors.contains("account[0].secret.credential: CREDENTIALS_DIRECTORY is not set"), "{errors}");
    for name in ["../x", "a/b", "", ".", ".."] {
        let text = format!("[[account]]\nappid = 'wx1'\nsecret = {{ credential = '{name}' }}\n");
        let errors = Config::from_toml(&text, Path::new("wxgate.toml"), &env).unwrap_err().to_string();
        assert!(errors.contains("want the name of a credential"), "{errors}");
    }
}

/// `key = "server.key"` is a path in [tls]; for a caller it would be the key itself.
#[test]
fn a_plain_secret_that_names_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cms.key"), "k3y").unwrap();
    let load = |text: &str| Config::from_toml(text, &folder.path().join("wxgate.toml"), &env_of(&[]));
    let caller = |key: &str| format!("{ACCOUNT}[[caller]]\nname = 'a'\nkey = '{key}'\n");
    assert!(load(&caller("no-such.key")).is_ok());
    let errors = load(&caller("cms.key")).unwrap_err().to_string();
    assert!(errors.ends_with(":6: caller[0].key: the key is the name of a file; want { file = \"…\" } around it, to use what the file holds"), "{errors}");
    assert!(load("[[account]]\nappid = 'wx1'\nsecret = 'cms.key'\n").is_err());
}
