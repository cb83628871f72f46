//! Forms of the admin listener's answers, and the fields that all of them have.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::view::Phase;

/// An answer of the admin listener.
pub(super) type Answer = Response<Full<Bytes>>;

/// The path names no account; at the start of the process there is none yet, whatever the configuration says.
pub(super) fn no_account(phase: Phase) -> Answer {
    match phase {
        Phase::Starting => {
            let words = "wxgate is starting, and has no accounts yet; try again";
            refusal(StatusCode::SERVICE_UNAVAILABLE, "starting", words)
        }
        Phase::Serving | Phase::Draining => {
            refusal(StatusCode::NOT_FOUND, "not-found", "there is no account of this name")
        }
    }
}

/// `{"error", "message"}`: a word for programs, a sentence for people.
pub(super) fn refusal(status: StatusCode, error: &str, message: &str) -> Answer {
    json_answer(status, &json!({ "error": error, "message": message }))
}

/// JSON, with a line feed for whoever uses curl.
pub(super) fn json_answer(status: StatusCode, body: &Value) -> Answer {
    plain(status, "application/json; charset=utf-8", format!("{body}\n"))
}

/// An answer with the fields that all of them have: nothing is kept by caches, framed, or read by other origins.
pub(super) fn plain(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}
