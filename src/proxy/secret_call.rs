//! A call that takes appid and AppSecret: wxgate puts them in, so that the caller need not have them.
//!
//! It is sent once, whatever comes of it: the codes that such calls carry work once. What it is answered with says
//! nothing about the account's token. How the two are put in is in `inject/secret.rs`.

use http::Response;

use super::Proxy;
use super::answer::AnswerBody;
use super::buffer::Buffered;
use super::inject::secret::Credentials;
use super::inject::{Call, Head};
use super::refusal::Refusal;
use super::route::SecretPath;
use super::send::token_of;
use super::state::OwnToken;
use super::tally::Tally;
use crate::upstream::Upstream;

impl Proxy {
    /// The call with appid and AppSecret, by this entry of the account's `secret_paths`.
    pub(super) async fn with_secret(
        &self,
        (own, entry): (&OwnToken, &SecretPath),
        head: Head<'_>,
        (path, query): (&str, Option<&str>),
        body: Buffered,
        upstream: &Upstream,
        stats: &mut Tally,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let token = match entry.token {
            true => Some(token_of(own).await?),
            false => None,
        };
        let credentials = Credentials::new(entry, &own.appid, &own.secret);
        let text = body.in_full()?;
        let query = credentials.in_parameters(query.unwrap_or_default());
        let body = match credentials.in_body(&head.headers, &text) {
            Some(filled) => body.replaced(filled)?,
            None => body,
        };
        let mut call = Call::new(head, (path, Some(&query)), body, upstream).with_secret(&own.secret);
        Ok(self.attempt(&mut call, token.as_deref(), stats).await?.answer)
    }
}
