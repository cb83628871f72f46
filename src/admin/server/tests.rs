//! What is answered before there is any account.

use std::rc::Rc;

use super::*;
use crate::admin::gate::{At, Rules};
use crate::calls::Calls;
use crate::listener::Connections;
use crate::metrics::Metrics;
use crate::proxy::budget::Budget;

fn server(phase: Phase) -> Server {
    let rules = Rules { at: At::Unix, key: None, hosts: Vec::new() };
    let (metrics, budget) = (Metrics::new(1), Budget::new(0));
    let sources = Sources::new(rules, metrics, Calls::new(1), budget, Connections::default());
    sources.enter(phase);
    Server { sources, console: Rc::new(|_, _| Box::pin(async { None })), reload: mpsc::channel(1).0 }
}

#[tokio::test]
async fn no_rejection_blames_a_limit_of_callers() {
    let server = server(Phase::Serving);
    let head = Rejection::Head(HeadError::TooLarge("raise limits.max_header_bytes"));
    for rejection in [Rejection::TooManyConnections, Rejection::HeadTimeout, head] {
        let answer = Handler::<()>::reject(&server, rejection, ());
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("limits."), "{body:?}");
    }
    assert!(!Handler::<()>::limits(&server).when_full.contains("limits."));
}

#[tokio::test]
async fn a_reload_that_cannot_be_says_why() {
    for (phase, words) in [(Phase::Draining, "stopping"), (Phase::Serving, "without a configuration")] {
        let answer = server(phase).read_again().await;
        assert_eq!(answer.status(), 503);
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains(words), "{phase:?}: {body:?}");
    }
}

#[tokio::test]
async fn an_account_is_unknown_once_it_could_be_there_and_not_before() {
    for (phase, right) in [(Phase::Starting, 503), (Phase::Serving, 404), (Phase::Draining, 404)] {
        let (server, request) = (server(phase), Request::get("/readyz?account=main").body(()));
        let parts = request.unwrap().into_parts().0;
        assert_eq!(server.ready(&parts, true).status(), right, "/readyz, {phase:?}");
        let answer = server.refresh(&parts, "main").await;
        assert_eq!(answer.status(), right, "a refresh, {phase:?}");
        assert_eq!(no_account(server.sources.phase()).status(), right, "a call, {phase:?}");
    }
}
