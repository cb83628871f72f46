//! The life of a request for the API: early answers, count, ordered failures, 412, the interface, count again.
//!
//! It knows the interfaces and the world; neither knows it. Connections, and what waits or is reset, are `serve`'s.

use http::StatusCode;

use crate::answer::{Answer, JSON, TEXT};
use crate::api;
use crate::call::Call;
use crate::errors::{Refusal, refuse};
use crate::failures::How;
use crate::stats::Seen;
use crate::world::World;

/// Counts a request and says whether a failure was ordered for it; `early` is what [`early`] said.
pub(crate) fn begin(world: &mut World, call: &Call, early: Option<i64>) -> Option<How> {
    world.tally.request(call.path(), api::is_token_call(call.path()), call.peer);
    if call.count("access_token") > 1 {
        world.tally.stats.duplicated_token_params += 1;
    }
    match early {
        Some(code) => Some(How::Early(code)),
        None if call.is_chunked() => None,
        None => world.failures.strike(call.path()),
    }
}

/// The errcode with which a request is answered before its body has been read, if that was ordered.
pub(crate) fn early(world: &mut World, path: &str) -> Option<i64> {
    world.failures.strike_early(path)
}

/// The answer to a request that [`begin`] has counted.
pub(crate) fn answer(world: &mut World, call: Call, ordered: Option<How>) -> Answer {
    world.now = world.clock.now();
    let (answer, errcode) = match outcome(world, &call, ordered) {
        Ok(answer) => (answer, None),
        Err(refusal) => {
            let code = refusal.code;
            world.tally.refused(code);
            let answer = match world.wecom {
                true => api::wecom::error(&refusal, &call, world.now),
                false => {
                    let below_sns = call.path().starts_with("/sns/");
                    let refusal = if below_sns { refusal.with_comma() } else { refusal };
                    let mime = if api::answers_as_text(call.path()) { TEXT } else { JSON };
                    Answer::of(StatusCode::OK, mime, refusal.body(world.now))
                }
            };
            (answer, Some(code))
        }
    };
    let status = answer.status().as_u16();
    world.tally.remember(Seen { peer: call.peer, parts: call.parts, status, errcode });
    answer
}

fn outcome(world: &mut World, call: &Call, ordered: Option<How>) -> Result<Answer, Refusal> {
    if call.is_chunked() {
        world.tally.stats.chunked_bodies += 1;
        return Ok(Answer::empty(StatusCode::PRECONDITION_FAILED));
    }
    match ordered {
        Some(How::Errcode(code)) => Err(refuse(code)),
        // The token is in the head, and is looked at before any of the body.
        Some(How::Early(code)) => api::authorise(world, call).and_then(|_| Err(refuse(code))),
        Some(How::Status(status)) => {
            Ok(Answer::empty(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
        }
        Some(How::Hang(_) | How::Reset) | None => api::answer(world, call),
    }
}
