//! Reads an answer's beginning, looks into it, and makes the answer fit for the caller.
//!
//! Keeps back no more than [`errcode`] can look into; everything else flows.

pub mod errcode;

use std::future::Future;

use bytes::{Bytes, BytesMut};
use http::{Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::answer::AnswerBody;
use super::faults;
use super::inject::headers;
use super::refusal::Refusal;
use crate::credential::Credential;
use crate::upstream::ResponseBody;

/// Reads an answer as far as needed to know whether it is an error, and makes it fit for the caller.
pub(super) fn receive(
    response: Response<ResponseBody>,
    token: Option<&Credential>,
    method: &Method,
) -> impl Future<Output = Result<(Response<AnswerBody>, Option<i64>), Refusal>> {
    // Taken apart before the future begins: what it is handed as a whole it would hold to its end.
    let (mut parts, mut body) = response.into_parts();
    async move {
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(faults::unreachable_upstream(
                "the WeChat API switched to a protocol that nobody asked for",
                "unasked-for 101 Switching Protocols".to_owned(),
            ));
        }
        let bodiless = *method == Method::HEAD || body.is_end_stream();
        let coding = match bodiless {
            true => None,
            false => errcode::can_be_error(&parts.headers, body.size_hint().exact()),
        };
        headers::to_caller(&mut parts.headers, token);
        // An HTTP/1.0 upstream must not make the caller's answer HTTP/1.0.
        parts.version = Version::HTTP_11;
        let Some(coding) = coding else {
            return Ok((Response::from_parts(parts, AnswerBody::stream(Bytes::new(), body)), None));
        };
        let mut beginning = Beginning::default();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            beginning.push(chunk);
            if beginning.len() > coding.limit() || errcode::cannot_be_error(coding, beginning.as_slice()) {
                let answer = AnswerBody::stream(beginning.freeze(), body);
                return Ok((Response::from_parts(parts, answer), None));
            }
            if body.is_end_stream() {
                break;
            }
        }
        let errcode = errcode::errcode(coding, beginning.as_slice());
        Ok((Response::from_parts(parts, AnswerBody::whole(beginning.freeze())), errcode))
    }
}

/// The beginning of an answer; the usual single chunk is not copied.
#[derive(Default)]
struct Beginning {
    first: Bytes,
    all: BytesMut,
}

impl Beginning {
    fn push(&mut self, chunk: Bytes) {
        if self.all.is_empty() && self.first.is_empty() {
            self.first = chunk;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
    }

    fn as_slice(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn freeze(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}
