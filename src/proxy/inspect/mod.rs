//! Looks into an answer: reads its beginning, finds its errcode, and makes the answer fit for the caller.
//!
//! Keeps back no more than [`LIMIT`] (and what that may take compressed); everything else flows.

pub mod coding;
pub mod errcode;

use std::future::Future;

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::answer::{AnswerBody, Hidden, headers};
use super::faults;
use super::refusal::Refusal;
use crate::upstream::ResponseBody;
use coding::Coding;
use errcode::Explanation;

/// Decoded size up to which an answer can be an error, in bytes.
pub const LIMIT: usize = 4096;

/// An answer that is fit for the caller, and what it says of itself.
pub(super) struct Inspected {
    pub(super) answer: Response<AnswerBody>,
    pub(super) errcode: Option<i64>,
    /// Of an errcode other than 0.
    pub(super) explanation: Explanation,
}

/// Reads an answer as far as needed to know whether it is an error, and makes it fit for the caller: without
/// what the call was made with.
pub(super) fn inspect<'a>(
    response: Response<ResponseBody>,
    hidden: Hidden<'a>,
    method: &'a Method,
) -> impl Future<Output = Result<Inspected, Refusal>> + use<'a> {
    // Taken apart before the future begins: what it is handed as a whole it would hold to its end.
    let (mut parts, mut body) = response.into_parts();
    async move {
        switches_nothing(&parts)?;
        let bodiless = *method == Method::HEAD || body.is_end_stream();
        let coding = match bodiless {
            true => None,
            false => errcode::can_be_error(&parts.headers, body.size_hint().exact()),
        };
        to_caller(&mut parts, hidden);
        let Some(coding) = coding else {
            return Ok(Inspected::unread(parts, AnswerBody::stream(Bytes::new(), body)));
        };
        let mut beginning = Beginning::default();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame?.into_data() else { continue };
            beginning.push(chunk);
            if beginning.len() > coding.limit() {
                return Ok(Inspected::unread(parts, AnswerBody::stream(beginning.freeze(), body)));
            }
            if body.is_end_stream() {
                break;
            }
            if beginning.is_due(coding) && errcode::cannot_be_error(coding, beginning.as_slice()) {
                return Ok(Inspected::unread(parts, AnswerBody::stream(beginning.freeze(), body)));
            }
        }
        Ok(Inspected::read(parts, coding, beginning.freeze(), hidden))
    }
}

/// As [`inspect`] for an answer whose whole body is here, however long it is.
pub(super) fn whole(mut parts: Parts, body: Bytes, hidden: Hidden<'_>) -> Result<Inspected, Refusal> {
    switches_nothing(&parts)?;
    let coding = Coding::of(&parts.headers);
    to_caller(&mut parts, hidden);
    Ok(match coding {
        Some(coding) => Inspected::read(parts, coding, body, hidden),
        None => Inspected::unread(parts, AnswerBody::whole(body)),
    })
}

fn switches_nothing(parts: &Parts) -> Result<(), Refusal> {
    match parts.status {
        StatusCode::SWITCHING_PROTOCOLS => Err(faults::unreachable_upstream(
            "the WeChat API switched to a protocol that nobody asked for",
            "unasked-for 101 Switching Protocols".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Makes a head fit for the caller.
fn to_caller(parts: &mut Parts, hidden: Hidden<'_>) {
    headers::to_caller(&mut parts.headers, hidden);
    headers::mask_reason(&mut parts.extensions, hidden);
    // An HTTP/1.0 upstream must not make the caller's answer HTTP/1.0.
    parts.version = Version::HTTP_11;
}

impl Inspected {
    /// An answer that is no error, as far as anybody can say.
    fn unread(parts: Parts, body: AnswerBody) -> Self {
        let answer = Response::from_parts(parts, body);
        Self { answer, errcode: None, explanation: Explanation::default() }
    }

    /// An answer whose whole body is here.
    fn read(mut parts: Parts, coding: Coding, body: Bytes, hidden: Hidden<'_>) -> Self {
        let decoded = coding.decode(&body);
        let Some(text) = decoded.as_deref().filter(|text| crate::json::Object::find(text).is_some()) else {
            return Self::unread(parts, AnswerBody::whole(body));
        };
        let clean = hidden.masked(text);
        let text = clean.as_deref().unwrap_or(text);
        let errcode = errcode::errcode(text);
        let explanation = match errcode {
            None | Some(0) => Explanation::default(),
            Some(_) => errcode::explanation(text),
        };
        let body = match clean {
            None => body,
            Some(clean) => {
                headers::describe_decoded(&mut parts.headers, clean.len());
                clean.into()
            }
        };
        Self { answer: Response::from_parts(parts, AnswerBody::whole(body)), errcode, explanation }
    }
}

/// The beginning of an answer; the usual single chunk is not copied.
#[derive(Default)]
struct Beginning {
    first: Bytes,
    all: BytesMut,
    /// The length at which a compressed one is decoded again.
    next_look: usize,
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

    /// Whether it is time to look whether it can be an error. A compressed one has to be decoded for that: only
    /// whenever it has doubled, so that one that comes byte by byte takes no more work than one that does not.
    fn is_due(&mut self, coding: Coding) -> bool {
        let due = coding == Coding::Identity || self.len() >= self.next_look;
        if due {
            self.next_look = 2 * self.len();
        }
        due
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_all_its_chunks_in_order() {
        for chunks in [&[][..], &["abc"], &["abc", "d"], &["", "abc"], &["a", "", "bc", "d"], &["", "", "a"]]
        {
            let mut beginning = Beginning::default();
            for chunk in chunks {
                beginning.push(Bytes::from_static(chunk.as_bytes()));
            }
            let whole = chunks.concat();
            assert_eq!(
                (beginning.as_slice(), beginning.len()),
                (whole.as_bytes(), whole.len()),
                "{chunks:?}"
            );
            assert_eq!(beginning.freeze(), whole, "{chunks:?}");
        }
    }

    #[test]
    fn a_single_chunk_is_not_copied() {
        let chunk = Bytes::from("abc".to_owned());
        let mut beginning = Beginning::default();
        beginning.push(chunk.clone());
        assert_eq!(beginning.freeze().as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn a_compressed_beginning_is_due_whenever_it_has_doubled_and_a_plain_one_always() {
        let looks = |coding, size: usize| -> Vec<usize> {
            let mut beginning = Beginning::default();
            let chunk = vec![b'x'; size];
            (0..100 / size)
                .filter_map(|_| {
                    beginning.push(Bytes::from(chunk.clone()));
                    beginning.is_due(coding).then_some(beginning.len())
                })
                .collect()
        };
        assert_eq!(looks(Coding::Gzip, 1), [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(looks(Coding::Brotli, 3), [3, 6, 12, 24, 48, 96]);
        assert_eq!(looks(Coding::Identity, 25), [25, 50, 75, 100]);
    }
}
