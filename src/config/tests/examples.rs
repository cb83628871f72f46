//! The example files are right, complete and tell the program's own defaults.

use super::*;

const MINIMAL: &str = include_str!("../../../examples/minimal.toml");
const FULL: &str = include_str!("../../../examples/full.toml");

#[test]
fn both_are_accepted_without_a_warning() {
    for text in [MINIMAL, FULL] {
        let loaded = load_text(text).unwrap();
        assert_eq!(loaded.warnings, [""; 0]);
    }
}

#[test]
fn the_full_one_sets_what_is_the_default_anyway() {
    assert_eq!(load_text(MINIMAL).unwrap().config, load_text(FULL).unwrap().config);
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let config = load_text(ACCOUNT).unwrap().config;
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(config.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.state_dir, Path::new("/home/wx/.local/state/wxgate"));
    assert_eq!((config.log_format, config.access_log, config.workers), (LogFormat::Auto, true, cpus));
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    assert_eq!((config.shutdown_delay, config.watch), (Duration::ZERO, false));
    let upstream = Upstream {
        url: BaseUrl::new(true, "api.weixin.qq.com", 443).unwrap(),
        egress_ip: None,
        ca: None,
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(30),
        max_connections: 1024,
        fallbacks: Vec::new(),
        proxy: None,
        strip: Vec::new(),
        warm_connections: 2,
    };
    assert_eq!(config.upstream, upstream);
    let limits = Limits {
        max_connections: 10_000,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        max_header_bytes: 32 * 1024,
        max_body: 64 * 1024 * 1024,
        replay_per_request: 16 * 1024 * 1024,
        replay_total: 256 * 1024 * 1024,
    };
    assert_eq!(config.limits, limits);
    let account = Account {
        name: "main".to_owned(),
        kind: Product::Weixin,
        app: Some(App {
            appid: "wx1".to_owned(),
            secret: Secret::new("s3cret".to_owned()),
            token_api: TokenApi::Token,
        }),
        hosts: Vec::new(),
        prefix: String::new(),
        upstream: config.upstream.url.clone(),
        paths: vec!["/cgi-bin/".to_owned()],
        untouched: Vec::new(),
        tickets: false,
        secret_paths: Vec::new(),
        refresh_on: vec![40001, 40014, 42001],
        signing: None,
    };
    assert_eq!(config.accounts, [account]);
}
