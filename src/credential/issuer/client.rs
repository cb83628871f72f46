//! Sends one call of an issuer and reads its answer, and nothing else of WeChat's API.
//!
//! One call, one answer: no retry, no redirect, no proxy, no cookie. What is asked for is the issuer's business. The
//! secret leaves here in the query or body of the call; reqwest's own errors, which quote the URL, never do.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use zeroize::Zeroizing;

use super::answer::{parse, status_words};
use crate::credential::Reader;
use crate::credential::types::FetchAnswer;
use crate::secret::Secret;
use crate::upstream::{ApiHost, Settings};

/// More than this is no answer to a token call.
const LONGEST_BODY: usize = 64 * 1024;

/// A token call that takes longer has failed.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Asks the upstream on behalf of one account.
#[derive(Debug)]
pub struct IssuerClient {
    client: Client,
    /// `https://host:port`, without a slash at the end.
    base: String,
    pub(super) appid: String,
    pub(super) secret: Secret,
    /// The account's token, for credentials that are asked for with it.
    pub(super) token: Option<Reader>,
}

/// What is read from an answer.
struct Reading<'a> {
    /// The credential's name.
    name: &'a str,
    /// What it is asked for with.
    secret: &'a Secret,
}

/// Why there can be no issuer; the text says what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make the HTTP client for token calls: {0}")]
pub struct IssuerError(String);

impl IssuerClient {
    /// Its connections are made as `host` says, as those of forwarded calls are.
    ///
    /// # Errors
    /// When no HTTP client can be made from these settings.
    pub fn new(host: &ApiHost, appid: &str, secret: Secret) -> Result<Self, IssuerError> {
        let client = host
            .client(time_limit(host.settings()))
            .map_err(|e| IssuerError(root_cause(&e).unwrap_or_else(|| "no reason given".to_owned())))?;
        Ok(Self {
            client,
            base: host.endpoint().base.to_string(),
            appid: appid.to_owned(),
            secret,
            token: None,
        })
    }

    /// The same for credentials that are asked for with the account's token.
    #[must_use]
    pub fn with_token(self, token: Reader) -> Self {
        Self { token: Some(token), ..self }
    }

    /// `GET` of this path and query, which hold this token; what comes back is read as a ticket.
    pub(super) async fn get_ticket(&self, path_and_query: &str, token: &Secret) -> FetchAnswer {
        let url = Zeroizing::new(format!("{}{path_and_query}", self.base));
        self.send(self.client.get(url.as_str()), Reading { name: "ticket", secret: token }).await
    }

    fn token_reading(&self) -> Reading<'_> {
        Reading { name: "access_token", secret: &self.secret }
    }

    /// `GET` of this path and query, which may hold the secret.
    pub(super) async fn get(&self, path_and_query: &str) -> FetchAnswer {
        let url = Zeroizing::new(format!("{}{path_and_query}", self.base));
        self.send(self.client.get(url.as_str()), self.token_reading()).await
    }

    /// `POST` of JSON to this path.
    pub(super) async fn post(&self, path: &str, body: &impl serde::Serialize) -> FetchAnswer {
        // What issuers ask with always makes JSON; an empty body would get WeChat's 44002.
        let body = serde_json::to_vec(body).unwrap_or_default();
        // A body of known length is sent with Content-Length: WeChat answers 412 to a chunked one.
        let call = self.client.post(format!("{}{path}", self.base));
        let call = call.header(http::header::CONTENT_TYPE, "application/json").body(body);
        self.send(call, self.token_reading()).await
    }

    async fn send(&self, call: RequestBuilder, reading: Reading<'_>) -> FetchAnswer {
        match call.send().await {
            Ok(response) => {
                self.take(response, reading).await.unwrap_or_else(|what| FetchAnswer::Passing { what })
            }
            Err(e) if e.is_connect() => FetchAnswer::Unsent { what: self.words(&e) },
            Err(e) => FetchAnswer::Passing { what: self.words(&e) },
        }
    }

    async fn read(&self, mut response: Response) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut body = Zeroizing::new(Vec::with_capacity(4096));
        while let Some(chunk) = response.chunk().await.map_err(|e| self.words(&e))? {
            if body.len() + chunk.len() > LONGEST_BODY {
                return Err(format!(
                    "{} answered with more than 64 KiB; does `upstream.url` lead to the WeChat API?",
                    self.base
                ));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn take(&self, response: Response, reading: Reading<'_>) -> Result<FetchAnswer, String> {
        let status = response.status();
        if !status.is_success() {
            return Err(status_words(status, &self.base));
        }
        let body = self.read(response).await?;
        Ok(parse(&body, reading.name, reading.secret))
    }

    /// reqwest's error in own words: its text would hold the URL, the secret with it.
    fn words(&self, e: &reqwest::Error) -> String {
        let base = &self.base;
        let cause = root_cause(e).map(|cause| format!(": {cause}")).unwrap_or_default();
        if e.is_timeout() && e.is_connect() {
            format!("no connection to {base} in time")
        } else if e.is_timeout() {
            format!("{base} did not answer in time")
        } else if e.is_connect() {
            format!("cannot connect to {base}{cause}")
        } else {
            format!("the connection to {base} broke before the whole answer was there{cause}")
        }
    }
}

/// For a whole token call. All callers may wait for it, so a `response_timeout` made long for slow interfaces
/// is not for it.
fn time_limit(settings: &Settings) -> Duration {
    settings.response_timeout.min(LONGEST_CALL)
}

/// The innermost cause, if it is of a kind whose text holds no URL.
fn root_cause(e: &reqwest::Error) -> Option<String> {
    let mut found = None;
    let mut next: Option<&(dyn StdError + 'static)> = e.source();
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(format!("TLS: {tls} (is `upstream.ca` right, and the port?)"));
        }
        next = error.source();
        if let Some(io) = error.downcast_ref::<io::Error>() {
            found = Some(io.to_string());
            // `source` of a wrapping io::Error steps over the error that it wraps.
            if let Some(inner) = io.get_ref() {
                next = Some(inner);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_call_takes_half_a_minute_at_most() {
        for (response_timeout, limit) in [(1, 1), (30, 30), (31, 30), (86_400, 30)] {
            let response_timeout = Duration::from_secs(response_timeout);
            let connect_timeout = Duration::from_secs(3);
            let settings =
                Settings { connect_timeout, response_timeout, max_connections: 1, warm_connections: 0 };
            assert_eq!(time_limit(&settings).as_secs(), limit);
        }
    }
}
