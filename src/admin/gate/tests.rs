//! The gate as tables: by which names, with which keys, from which pages a request gets through.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Request;

use super::*;

const KEY: &str = "k3y-of-the-admin";

fn rules(at: &str, key: bool, hosts: &[&str]) -> Rules {
    Rules {
        at: at.parse().map_or(At::Unix, At::Tcp),
        key: key.then(|| Secret::new(KEY.to_owned())),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    }
}

fn ask(rules: &Rules, method: &str, path: &str, fields: &[(&str, &str)]) -> Decision {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    decide(rules, &parts.method, &parts.uri, &parts.headers)
}

const OPEN: Decision = Decision::Admit { trusted: true };

#[test]
fn a_host_is_loopback_the_listeners_or_configured() {
    let local = rules("127.0.0.1:9090", false, &["Admin.Example.com.", "[2001:DB8::7]"]);
    let wide = rules("10.0.0.5:9090", false, &[]);
    let six = rules("[::1]:9090", false, &[]);
    for (rules, host, known) in [
        (&local, "127.0.0.1:9090", true),
        (&local, "127.0.0.1", true),
        (&local, "127.9.9.9:1", true),
        (&local, "localhost:9090", true),
        (&local, "LOCALHOST.", true),
        (&local, "[::1]:9090", true),
        (&local, "[0:0:0:0:0:0:0:1]", true),
        (&local, "[::ffff:127.0.0.1]:9090", true),
        (&local, "admin.example.com", true),
        (&local, "ADMIN.example.com.:443", true),
        (&local, "[2001:db8:0::7]:9090", true),
        (&local, "10.0.0.5:9090", false),
        (&local, "evil.example.com", false),
        (&local, "admin.example.com.evil.com", false),
        (&local, "localhost.evil.com", false),
        (&local, "127.0.0.1.evil.com", false),
        (&local, "localhost:x", false),
        (&local, "user@localhost", false),
        (&local, "", false),
        (&local, "[::1", false),
        (&local, "[::1]x", false),
        (&wide, "10.0.0.5:9090", true),
        (&wide, "10.0.0.6:9090", false),
        (&wide, "127.0.0.1:9090", true),
        (&six, "[::1]:9090", true),
        (&six, "localhost", true),
    ] {
        let right = if known { OPEN } else { Decision::Forbidden(FOREIGN_HOST) };
        assert_eq!(ask(rules, "GET", "/", &[("host", host)]), right, "{host} at {:?}", rules.at);
    }
}

#[test]
fn a_listener_on_all_addresses_is_reached_at_those_of_this_machine() {
    let all = rules("0.0.0.0:9090", false, &[]);
    assert_eq!(ask(&all, "GET", "/", &[("host", "127.0.0.1:9090")]), OPEN);
    // RFC 5737 keeps these for documents.
    for foreign in ["203.0.113.7", "0.0.0.0", "evil.example.com"] {
        assert_eq!(
            ask(&all, "GET", "/", &[("host", foreign)]),
            Decision::Forbidden(FOREIGN_HOST),
            "{foreign}"
        );
    }
}

#[test]
fn no_host_or_several_are_foreign() {
    let local = rules("127.0.0.1:9090", false, &[]);
    for fields in [&[][..], &[("host", "localhost"), ("host", "localhost")]] {
        assert_eq!(ask(&local, "GET", "/", fields), Decision::Forbidden(FOREIGN_HOST), "{fields:?}");
    }
    // HTTP/2 and an absolute target have it in the target; a Host that says else is no help.
    assert_eq!(ask(&local, "GET", "http://localhost:9090/", &[]), OPEN);
    assert_eq!(ask(&local, "GET", "http://localhost/", &[("host", "localhost")]), OPEN);
    for target in ["http://evil.example.com/", "http://localhost:1/"] {
        let decision = ask(&local, "GET", target, &[("host", "localhost")]);
        assert_eq!(decision, Decision::Forbidden(FOREIGN_HOST), "{target}");
    }
}

#[test]
fn on_a_unix_socket_any_host_is_right() {
    let unix = rules("unix", false, &[]);
    for host in ["localhost", "wxgate", "evil.example.com"] {
        assert_eq!(ask(&unix, "GET", "/", &[("host", host)]), OPEN);
    }
    let decision = ask(&unix, "POST", "/reload", &[("host", "x"), ("origin", "http://y")]);
    assert_eq!(decision, Decision::Forbidden(FOREIGN_ORIGIN));
}

#[test]
fn a_key_is_shown_in_any_of_the_forms_of_a_callers_key() {
    let keyed = rules("127.0.0.1:9090", true, &[]);
    let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let bearer = format!("Bearer {KEY}");
    for (name, value, right) in [
        ("x-wxgate-key", KEY, OPEN),
        ("authorization", &*bearer, OPEN),
        ("proxy-authorization", &*bearer, OPEN),
        ("authorization", &*basic(&format!("any:{KEY}")), OPEN),
        ("authorization", &*basic(&format!(":{KEY}")), OPEN),
        ("proxy-authorization", &*basic(&format!("any:{KEY}")), OPEN),
        ("authorization", &*basic(KEY), Decision::Unauthorized),
        ("authorization", &*basic(&format!("{KEY}:")), Decision::Unauthorized),
        ("authorization", KEY, Decision::Unauthorized),
        ("x-wxgate-key", "", Decision::Unauthorized),
        ("x-wxgate-key", &KEY[1..], Decision::Unauthorized),
        ("cookie", KEY, Decision::Unauthorized),
    ] {
        let decision = ask(&keyed, "GET", "/status", &[("host", "localhost"), (name, value)]);
        assert_eq!(decision, right, "{name}: {value}");
    }
}

#[test]
fn probes_need_neither_key_nor_host_and_tell_strangers_less() {
    let keyed = rules("127.0.0.1:9090", true, &[]);
    let open = rules("127.0.0.1:9090", false, &[]);
    for probe in PROBES {
        for method in ["GET", "HEAD"] {
            let stranger = ask(&keyed, method, probe, &[("host", "10.1.2.3")]);
            assert_eq!(stranger, Decision::Admit { trusted: false }, "{method} {probe}");
        }
        assert_eq!(ask(&keyed, "GET", probe, &[("x-wxgate-key", KEY)]), OPEN);
        assert_eq!(
            ask(&keyed, "GET", &format!("{probe}?account=main"), &[]),
            Decision::Admit { trusted: false }
        );
        assert_eq!(ask(&open, "GET", probe, &[]), OPEN);
        assert_ne!(ask(&keyed, "POST", probe, &[("host", "localhost")]), OPEN);
        assert_ne!(ask(&keyed, "GET", &format!("{probe}/"), &[("host", "localhost")]), OPEN);
    }
}

#[test]
fn what_may_change_something_comes_from_our_own_page_or_from_none() {
    let local = rules("127.0.0.1:9090", false, &["admin.example.com"]);
    let foreign = Decision::Forbidden(FOREIGN_ORIGIN);
    for (host, name, value, right) in [
        ("localhost:9090", "origin", "http://localhost:9090", OPEN),
        ("LOCALHOST:9090", "origin", "http://localhost:9090", OPEN),
        ("localhost", "origin", "http://localhost", OPEN),
        ("localhost:80", "origin", "http://localhost", OPEN),
        ("admin.example.com", "origin", "https://admin.example.com", OPEN),
        ("admin.example.com:443", "origin", "https://admin.example.com", OPEN),
        ("localhost:9090", "origin", "http://localhost:9091", foreign),
        ("localhost:9090", "origin", "http://localhost", foreign),
        ("localhost:9090", "origin", "http://127.0.0.1:9090", foreign),
        ("localhost:9090", "origin", "http://evil.example.com", foreign),
        ("localhost:9090", "origin", "null", foreign),
        ("localhost:9090", "origin", "", foreign),
        ("localhost:9090", "origin", "file://localhost:9090", foreign),
        ("localhost:9090", "sec-fetch-site", "same-origin", OPEN),
        ("localhost:9090", "sec-fetch-site", "none", OPEN),
        ("localhost:9090", "sec-fetch-site", "same-site", foreign),
        ("localhost:9090", "sec-fetch-site", "cross-site", foreign),
        ("localhost:9090", "accept", "*/*", OPEN),
    ] {
        for method in ["POST", "PUT", "DELETE"] {
            let decision = ask(&local, method, "/reload", &[("host", host), (name, value)]);
            assert_eq!(decision, right, "{method} at {host} with {name}: {value}");
        }
        // Reading changes nothing, and other origins cannot see the answer.
        assert_eq!(ask(&local, "GET", "/status", &[("host", host), (name, value)]), OPEN);
    }
}
