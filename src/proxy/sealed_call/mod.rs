//! A call of the API security mode: encrypted, sent as any other, its answer checked and decrypted.
//!
//! The errcode is looked for behind the decryption, so that a dead token is found as in plain calls. [`super::signing`]
//! has the forms, [`super::inject::sealed`] what is kept for another sending.

pub mod probe;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::Proxy;
use super::answer::{AnswerBody, Hidden, headers};
use super::budget::Room;
use super::buffer::Buffered;
use super::inject::sealed::SealedCall;
use super::inject::{Call, Head};
use super::inspect::coding::Coding;
use super::inspect::{self, Inspected};
use super::refusal::Refusal;
use super::signing::open::{self, Unverified};
use super::signing::{FIELDS, Signing, seal};
use super::state::{Account, OwnToken, now};
use super::tally::Tally;
use crate::upstream::{ResponseBody, Upstream};

/// The longest answer that is kept to be checked, in bytes.
const LONGEST_ANSWER: usize = 4 << 20;

impl Proxy {
    /// The call with the account's token, encrypted and signed where it can be; `reveals`: its answer shows calls.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) async fn with_seal(
        &self,
        (account, own, signing): (&Account, &OwnToken, &Signing),
        reveals: bool,
        head: Head<'_>,
        (path, query): (&str, Option<&str>),
        body: Buffered,
        upstream: &Upstream,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let plain = seal::plaintext(query.unwrap_or_default(), &body.in_full()?);
        let mut call = match plain.map_err(|words| Refusal::BadRequest(words.into()))? {
            None => Call::new(head, (path, query), body, upstream),
            Some(plain) => {
                let sealed = SealedCall {
                    signing,
                    account: &account.name,
                    appid: &own.appid,
                    url: format!("{}{path}", signing.keys.url),
                    plain: body.replaced(plain)?,
                };
                Call::new(head, (path, None), sealed.plain.beside(Vec::new())?, upstream).with_seal(sealed)
            }
        };
        match reveals {
            true => self.with_clean_answer(own, &mut call, stats).await,
            false => self.with_token(own, &mut call, stats).await,
        }
    }
}

/// Looks into the answer: checked and decrypted, or an error that WeChat answers before it decrypts.
pub(super) async fn inspect(
    sealed: &SealedCall<'_>,
    response: Response<ResponseBody>,
    hidden: Hidden<'_>,
) -> Result<Inspected, Refusal> {
    let (mut parts, mut body) = response.into_parts();
    let mut whole = BytesMut::new();
    let mut room = sealed.plain.room();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame?.into_data() else { continue };
        if whole.len() + chunk.len() > LONGEST_ANSWER {
            return Err(Unverified::TooLong(LONGEST_ANSWER >> 20).into());
        }
        room.grow(chunk.len()).map_err(|_| Unverified::NoRoom)?;
        whole.extend_from_slice(&chunk);
        if body.is_end_stream() {
            break;
        }
    }
    // Nobody asked for a coding.
    let coding = Coding::of(&parts.headers);
    let decoded = coding.and_then(|coding| coding.decode_within(&whole, LONGEST_ANSWER));
    let body = decoded.as_deref().unwrap_or(&whole);
    let text = match open::is_signed(&parts.headers) {
        true => {
            let opened = open::open(&sealed.signing.keys, sealed.subject(), &parts.headers, body, now())?;
            sealed.signing.say_replaced(sealed.account, &opened);
            headers::describe_decoded(&mut parts.headers, opened.text.len());
            Kept { text: opened.text, _room: room }
        }
        false => {
            let errcode = Some(body).filter(|text| text.len() <= inspect::LIMIT);
            let errcode = errcode.and_then(inspect::errcode::errcode);
            let is_error = !parts.status.is_success() || errcode.is_some_and(|errcode| errcode != 0);
            if !is_error || open::is_ciphertext(body) {
                return Err(Unverified::NotSigned.into());
            }
            drop(decoded);
            Kept { text: whole.into(), _room: room }
        }
    };
    // They speak of what came, which the caller does not get.
    while let Some(name) = parts.headers.keys().find(|name| name.as_str().starts_with(FIELDS)).cloned() {
        parts.headers.remove(name);
    }
    inspect::whole(parts, Bytes::from_owner(text), hidden)
}

/// An answer that counts among the bodies that are held until its caller has it.
struct Kept {
    text: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
