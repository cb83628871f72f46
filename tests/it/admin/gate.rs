//! No route is answered before the gate has let it through: this walks the table of routes, so that a new route cannot
//! miss it.

use wxgate::admin::routes::ROUTES;

use super::support::{KEY, ask, field, with};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Settings;

fn paths() -> impl Iterator<Item = (String, String)> {
    let path = |path: &str| path.replace("{account}", "main");
    let real = ROUTES.iter().map(move |row| (row.method.to_string(), path(row.path)));
    // What is not there is not told to strangers either.
    let others =
        [("GET", "/nothing"), ("PUT", "/status"), ("DELETE", "/accounts/main"), ("OPTIONS", "/reload")];
    real.chain(others.map(|(method, path)| (method.to_owned(), path.to_owned())))
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/healthz" | "/readyz")
}

#[tokio::test]
async fn every_route_asks_for_the_key_and_a_known_host() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = with(&fake.url(), &format!("key = \"{KEY}\""), Settings::default()).await;
    let shown = format!("X-Wxgate-Key: {KEY}");
    let wrong = "Authorization: Bearer wrong";
    for (method, path) in paths() {
        for (fields, status) in [
            (&["Host: localhost"][..], 401),
            (&["Host: localhost", wrong][..], 401),
            (&["Host: evil.example.com", &shown][..], 403),
            (&["Host: evil.example.com"][..], 403),
        ] {
            let answer = ask(&gate, &method, &path, fields, "").await;
            if is_probe(&path) {
                assert!(matches!(answer.status, 200 | 503), "{method} {path} {fields:?}: {answer:?}");
                let stranger = !fields.contains(&shown.as_str());
                assert!(!stranger || !answer.text().contains("main"), "more than a status: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, status, "{method} {path} {fields:?}");
            assert_eq!(field(&answer, "www-authenticate").is_some(), status == 401, "{method} {path}");
            assert!(!answer.text().contains("main") && !answer.text().contains("wx"), "{answer:?}");
        }
    }
    assert_eq!(fake.calls(), 0);
    // With key and Host each is there.
    for row in &ROUTES {
        let path = row.path.replace("{account}", "main");
        let answer = ask(&gate, row.method.as_str(), &path, &["Host: localhost", &shown], "").await;
        assert!(!matches!(answer.status, 401 | 403 | 404 | 405), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn no_foreign_page_changes_anything() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = with(&fake.url(), "", Settings::default()).await;
    super::support::ready(&gate).await;
    let fetches = fake.fetches();
    for (method, path) in paths().filter(|(method, _)| method != "GET") {
        for field in [
            "Origin: http://evil.example.com",
            "Origin: http://localhost:1",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let answer = ask(&gate, &method, &path, &["Host: localhost", field], "{}").await;
            assert_eq!(answer.status, 403, "{method} {path} {field}");
        }
    }
    assert_eq!((fake.calls(), fake.fetches()), (0, fetches));
}

#[tokio::test]
async fn every_answer_forbids_frames_caches_and_other_origins() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = with(&fake.url(), "", Settings::default()).await;
    for (method, path) in paths() {
        let answer = ask(&gate, &method, &path, &["Host: localhost"], "").await;
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(field(&answer, name), Some(value), "{method} {path}");
        }
    }
}
