//! What goes wrong behind the proxy, in the words that a caller gets: token and upstream errors as refusals.

use super::buffer;
use super::refusal::Refusal;
use crate::credential::Absent;
use crate::upstream::{BodyError, SendError, chain};

impl From<Absent> for Refusal {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Waiting => Self::NoToken {
                what: "there is no access_token yet; try again in a moment",
                cause: "the first token has not come yet".to_owned(),
            },
            Absent::Passing { what } => Self::NoToken {
                what: "no access_token could be fetched; that is tried again and again, so try again",
                cause: what,
            },
            Absent::Refused { errcode, errmsg } => Self::TokenRefused { errcode, errmsg },
        }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect(error) if error.is_busy() => {
                Self::Busy("there are too many connections to the WeChat API at this moment; try again")
            }
            SendError::Connect(error) => unreachable_upstream(
                "the WeChat API cannot be reached; try again, and see wxgate's log for the reason",
                error.to_string(),
            ),
            SendError::TimedOut => Self::UpstreamTimeout,
            SendError::Coded => unreachable_upstream(
                "the WeChat API, or what stands before it, answered in a Transfer-Encoding other than chunked, which nobody \
                 asked for; the call may have been executed",
                "a transfer coding that cannot be taken off".to_owned(),
            ),
            SendError::Broken(error) if error.is_parse() => unreachable_upstream(
                "the WeChat API, or what stands before it, sent what is no HTTP answer that can be read; whether the call \
                 was executed is not known",
                chain(&error),
            ),
            SendError::Broken(error) => unreachable_upstream(
                "the connection to the WeChat API broke before it answered; whether the call was executed is not known",
                chain(&error),
            ),
            SendError::CallerBody(error) => buffer::broken(&error),
            SendError::BodyGone => unreachable_upstream(
                "the request body was too large to be kept, and cannot be sent a second time; try again",
                "a streamed body was asked for twice".to_owned(),
            ),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(error) => unreachable_upstream(
                "the connection to the WeChat API broke in the middle of its answer",
                chain(&error),
            ),
            BodyError::Stalled => Self::UpstreamTimeout,
        }
    }
}

pub(super) fn unreachable_upstream(what: &'static str, cause: String) -> Refusal {
    Refusal::UpstreamUnreachable { what, cause }
}
