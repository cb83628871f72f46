//! The calls under `/sandbox/`, with which a test steers the sandbox and looks into it.
//!
//! They need no token, are struck by no ordered failure, and are counted as requests on a connection only.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::answer::{Answer, JSON};
use crate::call::{Body, Call};
use crate::failures::Failure;
use crate::secure::{ApiKeys, SealedAnswers};
use crate::tokens::Lag;
use crate::world::World;

/// Whether a path is one of these.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with("/sandbox/")
}

/// The answer to a request under `/sandbox/`.
pub(crate) fn answer(world: &mut World, call: &Call) -> Answer {
    let appid = call.parameter("appid");
    if appid.is_some_and(|appid| world.account_of(appid).is_none()) {
        return refused(StatusCode::NOT_FOUND, "the sandbox has no such appid");
    }
    match (&call.parts.method, call.path()) {
        (&Method::POST, "/sandbox/steal-token") => done(json!(world.steal_tokens(appid))),
        (&Method::POST, "/sandbox/expire-token") => done(json!(world.expire_tokens(appid))),
        (&Method::POST, "/sandbox/fail") => fail(world, &call.body),
        (&Method::POST, "/sandbox/lag") => lag(world, &call.body),
        (&Method::POST, "/sandbox/sealed") => sealed(world, &call.body),
        (&Method::GET | &Method::HEAD, "/sandbox/sealed") => Answer::json(&json!(ApiKeys::default())),
        (&Method::GET | &Method::HEAD, "/sandbox/stats") => match serde_json::to_string(&world.stats()) {
            Ok(stats) => Answer::of(StatusCode::OK, JSON, stats),
            Err(e) => refused(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        },
        (&Method::GET | &Method::HEAD, "/sandbox/last") => Answer::json(&world.tally.last()),
        _ => refused(
            StatusCode::NOT_FOUND,
            "POST steal-token, expire-token, fail, lag, sealed; GET sealed, stats, last; `wxgate sandbox --help` explains them",
        ),
    }
}

fn fail(world: &mut World, body: &Body) -> Answer {
    let order = match body {
        Body::Whole(bytes) => Failure::from_json(bytes),
        Body::TooLarge => Err("the body is too long".to_owned()),
    };
    match order {
        Ok(failure) => {
            world.failures.order(failure);
            done(json!(world.failures.left()))
        }
        Err(words) => refused(StatusCode::BAD_REQUEST, &words),
    }
}

fn lag(world: &mut World, body: &Body) -> Answer {
    const FORM: &str = r#"expected {"share": 0.3, "ms": 1000}, where `ms` may be left out"#;
    let order = match body {
        Body::Whole(bytes) => serde_json::from_slice::<LagOrder>(bytes).map_err(|e| format!("{e}; {FORM}")),
        Body::TooLarge => Err("the body is too long".to_owned()),
    };
    match order {
        Ok(LagOrder { share, ms }) if (0.0..=1.0).contains(&share) => {
            world.tokens.lag = Lag { share, time: ms.map(Duration::from_millis) };
            Answer::json(&json!({ "errcode": 0, "errmsg": "ok" }))
        }
        Ok(_) => refused(StatusCode::BAD_REQUEST, "`share` must be a number from 0 to 1"),
        Err(words) => refused(StatusCode::BAD_REQUEST, &words),
    }
}

fn sealed(world: &mut World, body: &Body) -> Answer {
    const FORM: &str = r#"expected {"count": 1, "how": "tampered"}, where `count` may be left out"#;
    let order = match body {
        Body::Whole(bytes) => {
            serde_json::from_slice::<SealedOrder>(bytes).map_err(|e| format!("{e}; {FORM}"))
        }
        Body::TooLarge => Err("the body is too long".to_owned()),
    };
    match (order, &mut world.secure) {
        (Ok(SealedOrder { how, count }), Some(secure)) => {
            secure.order(how, count.unwrap_or(1));
            Answer::json(&json!({ "errcode": 0, "errmsg": "ok" }))
        }
        (Ok(_), None) => refused(StatusCode::CONFLICT, "it was started without --api-security"),
        (Err(words), _) => refused(StatusCode::BAD_REQUEST, &words),
    }
}

/// The body of `POST /sandbox/sealed`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedOrder {
    how: SealedAnswers,
    count: Option<u32>,
}

/// The body of `POST /sandbox/lag`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LagOrder {
    share: f64,
    ms: Option<u64>,
}

/// `count` is how many tokens or failures it concerned.
fn done(count: serde_json::Value) -> Answer {
    Answer::json(&json!({ "errcode": 0, "errmsg": "ok", "count": count }))
}

fn refused(status: StatusCode, words: &str) -> Answer {
    let body = json!({ "errcode": status.as_u16(), "errmsg": format!("sandbox: {words}") });
    Answer::of(status, JSON, body.to_string())
}
