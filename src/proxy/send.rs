//! One sending: inject, send, inspect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response};

use super::Proxy;
use super::answer::{AnswerBody, Hidden};
use super::inject::{Call, query};
use super::inspect::{self, Inspected};
use super::refusal::Refusal;
use super::sealed_call;
use super::state::OwnToken;
use super::tally::Tally;
use crate::credential::Credential;

/// How long a request waits for the first token of its account.
const FIRST_TOKEN_WAIT: Duration = Duration::from_secs(5);

/// What came of one sending.
pub(super) struct Attempt {
    pub(super) answer: Response<AnswerBody>,
    /// Top-level, where there was one to read.
    pub(super) errcode: Option<i64>,
    pub(super) sent: Instant,
}

impl Proxy {
    /// One sending: inject, send, inspect.
    pub(super) async fn attempt(
        &self,
        call: &mut Call<'_>,
        token: Option<&Credential>,
        stats: &mut Tally,
    ) -> Result<Attempt, Refusal> {
        let (path, query) = (call.path, call.query);
        let mut first = Some(target(path, query, token)?);
        call.seal()?;
        let (method, upstream) = (call.method, call.upstream);
        let hidden = Hidden { token, secret: call.secret };
        // A POST is sent again only if the upstream has received nothing of it; so is a call whose code works once.
        let resend_as = if call.secret.is_some() { &Method::POST } else { method };
        let _in_flight = token.map(Credential::sending);
        let sent = stats.sent();
        let request = |host: Option<&HeaderValue>| {
            // Another connection is rare, and a copy kept for it would be an allocation for each call.
            let target = first.take().or_else(|| target(path, query, token).ok())?;
            call.request(target, host)
        };
        let response = upstream.send(resend_as, request).await;
        let took = stats.heard();
        let response = response?;
        let Inspected { answer, errcode, explanation } = match &call.sealed {
            None => inspect::inspect(response, hidden, method).await?,
            Some(sealed) => Box::pin(sealed_call::inspect(sealed, response, hidden)).await?,
        };
        stats.exchanged(took, errcode, explanation);
        Ok(Attempt { answer, errcode, sent })
    }
}

/// Path and query for the upstream, with the token where the call takes one.
fn target(path: &str, query: Option<&str>, token: Option<&Credential>) -> Result<PathAndQuery, Refusal> {
    let target = match token {
        Some(token) => query::with_token(path, query, token.encoded.expose().as_bytes()),
        None => query::untouched(path, query),
    };
    PathAndQuery::from_maybe_shared(Bytes::from(target))
        .map_err(|_| Refusal::BadRequest("path and query are too long".into()))
}

/// The account's token, waited for where there is none yet.
pub(super) async fn token_of(own: &OwnToken) -> Result<Arc<Credential>, Refusal> {
    match own.reader.current() {
        Ok(token) => Ok(token),
        Err(_) => Ok(Box::pin(own.reader.first(FIRST_TOKEN_WAIT)).await?),
    }
}
