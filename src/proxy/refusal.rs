//! Every reason for which wxgate answers by itself, and what the caller then sees.
//!
//! One exhaustive map from reason to HTTP status, errcode and `x-wxgate-error`; the compiler asks for a row
//! whenever a reason is added. What the log may know besides (an OS error, say) stays in `cause` and never
//! reaches a caller.

use std::borrow::Cow;

use http::StatusCode;

/// Why wxgate answers by itself. The text says what happened and what to do; it is shown to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's request is malformed: path, target, Host, framing.
    BadRequest(Cow<'static, str>),
    /// No such account, or a path outside `paths`.
    NotFound(Cow<'static, str>),
    /// CONNECT or TRACE, or another method than one of wxgate's own paths takes.
    Method(&'static str),
    /// The caller is not known, or not allowed this call.
    Denied(&'static str),
    /// A request body over `max_body`, or one without a length over `replay_per_request`.
    TooLarge(Cow<'static, str>),
    /// A request head over `max_header_bytes`, or with too many fields.
    HeadTooLarge(Cow<'static, str>),
    /// The caller was too slow.
    CallerTimeout(&'static str),
    /// The upstream could not be reached, refused TLS, or broke the connection.
    UpstreamUnreachable {
        /// For the caller.
        what: &'static str,
        /// For the log alone.
        cause: String,
    },
    /// No answer within `response_timeout`.
    UpstreamTimeout,
    /// There is no token yet, for a passing reason.
    NoToken {
        /// For the caller.
        what: &'static str,
        /// For the log alone.
        cause: String,
    },
    /// The upstream refuses to issue a token.
    TokenRefused {
        /// The upstream's own number.
        errcode: i64,
        /// The upstream's own text, cleaned of control characters.
        errmsg: String,
    },
    /// The call could not be encrypted and signed.
    Unsigned,
    /// The answer is not what WeChat encrypts and signs.
    Unverified {
        /// WeChat's number for the same trouble with a call.
        errcode: i64,
        /// What is wrong with the answer, and what to do.
        why: String,
    },
    /// More than wxgate is allowed to hold at once.
    Busy(&'static str),
    /// A caller has used up its `rate` or `concurrent`.
    Limited {
        /// For the caller.
        what: &'static str,
        /// Seconds until it is worth another try, at least 1.
        retry_after: u64,
    },
}

/// What a refusal looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// HTTP status.
    pub status: StatusCode,
    /// The number in the body; -1 (WeChat's "system busy") for passing conditions alone.
    pub errcode: i64,
    /// The value of `x-wxgate-error`.
    pub code: &'static str,
}

impl Refusal {
    /// The row of this reason in the table of own answers.
    pub fn shape(&self) -> Shape {
        let (status, errcode, code) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, 40066, "bad-request"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, 40066, "not-found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, 43002, "method"),
            Self::Denied(_) => (StatusCode::FORBIDDEN, 48001, "denied"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, 45001, "too-large"),
            Self::HeadTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, 45002, "head-too-large"),
            Self::CallerTimeout(_) => (StatusCode::REQUEST_TIMEOUT, -1, "caller-timeout"),
            Self::UpstreamUnreachable { .. } => (StatusCode::BAD_GATEWAY, -1, "upstream-unreachable"),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, -1, "upstream-timeout"),
            Self::NoToken { .. } => (StatusCode::SERVICE_UNAVAILABLE, -1, "no-token"),
            Self::TokenRefused { errcode, .. } => (StatusCode::BAD_GATEWAY, *errcode, "token-refused"),
            Self::Unsigned => (StatusCode::BAD_GATEWAY, 40234, "signing"),
            Self::Unverified { errcode, .. } => (StatusCode::BAD_GATEWAY, *errcode, "signing"),
            Self::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, -1, "busy"),
            Self::Limited { .. } => (StatusCode::TOO_MANY_REQUESTS, 45011, "limited"),
        };
        Shape { status, errcode, code }
    }

    /// What the caller reads after `wxgate: `.
    pub fn message(&self) -> Cow<'_, str> {
        match self {
            Self::BadRequest(text)
            | Self::NotFound(text)
            | Self::TooLarge(text)
            | Self::HeadTooLarge(text) => Cow::Borrowed(text),
            Self::Method(text) | Self::Denied(text) | Self::CallerTimeout(text) | Self::Busy(text) => {
                Cow::Borrowed(text)
            }
            Self::UpstreamUnreachable { what, .. }
            | Self::NoToken { what, .. }
            | Self::Limited { what, .. } => Cow::Borrowed(what),
            Self::UpstreamTimeout => Cow::Borrowed(
                "the WeChat API did not answer in time; try again, or raise upstream.response_timeout",
            ),
            Self::Unsigned => {
                Cow::Borrowed("the call could not be encrypted and signed for WeChat; nothing was sent")
            }
            Self::Unverified { why, .. } => Cow::Owned(format!(
                "WeChat's answer to this call is not passed on: {why}. The call may have been executed"
            )),
            Self::TokenRefused { errmsg, .. } => Cow::Owned(format!(
                "the WeChat API refuses to issue a token ({errmsg}); the log and `wxgate check` say what to do"
            )),
        }
    }

    /// What the log may know beyond the message.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::UpstreamUnreachable { cause, .. } | Self::NoToken { cause, .. } => Some(cause),
            Self::Unverified { why, .. } => Some(why),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of CONTRACT section 4, row by row.
    #[test]
    fn every_reason_has_its_row() {
        let text = || Cow::Borrowed("x");
        let rows = [
            (Refusal::BadRequest(text()), 400, 40066, "bad-request"),
            (Refusal::NotFound(text()), 404, 40066, "not-found"),
            (Refusal::Method("x"), 405, 43002, "method"),
            (Refusal::Denied("x"), 403, 48001, "denied"),
            (Refusal::TooLarge(text()), 413, 45001, "too-large"),
            (Refusal::HeadTooLarge(text()), 431, 45002, "head-too-large"),
            (Refusal::CallerTimeout("x"), 408, -1, "caller-timeout"),
            (
                Refusal::UpstreamUnreachable { what: "x", cause: String::new() },
                502,
                -1,
                "upstream-unreachable",
            ),
            (Refusal::UpstreamTimeout, 504, -1, "upstream-timeout"),
            (Refusal::NoToken { what: "x", cause: String::new() }, 503, -1, "no-token"),
            (Refusal::TokenRefused { errcode: 40013, errmsg: String::new() }, 502, 40013, "token-refused"),
            (Refusal::Busy("x"), 503, -1, "busy"),
            (Refusal::Unsigned, 502, 40234, "signing"),
            (Refusal::Unverified { errcode: 40235, why: String::new() }, 502, 40235, "signing"),
            (Refusal::Limited { what: "x", retry_after: 1 }, 429, 45011, "limited"),
        ];
        let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/en/errcodes.md");
        let documented = std::fs::read_to_string(documented).unwrap();
        for (refusal, status, errcode, code) in rows {
            let shape = refusal.shape();
            assert_eq!(
                (shape.status.as_u16(), shape.errcode, shape.code),
                (status, errcode, code),
                "{refusal:?}"
            );
            // The documents have the same row.
            let errcode = match code {
                "token-refused" => "*".to_owned(),
                "signing" => "40234, 40235".to_owned(),
                _ => errcode.to_string(),
            };
            let row = format!("\n| `{code}` | {status} | {errcode} | ");
            assert!(documented.contains(&row), "{row}");
            assert!(!refusal.message().is_empty());
            assert!(crate::metrics::CODES.contains(&code) && crate::errcodes::own(code).is_some(), "{code}");
        }
    }
}
