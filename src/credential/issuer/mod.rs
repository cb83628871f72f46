//! The two WeChat calls that issue a token, and nothing else of WeChat's API.
//!
//! One call, one answer: no retry, no redirect, no proxy, no cookie. When to call is decided elsewhere. The
//! secret leaves here in the query or body of the call; reqwest's own errors, which quote the URL, never do.

mod answer;

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use reqwest::{Client, Response, redirect};
use rustls::ClientConfig;
use zeroize::Zeroizing;

use super::types::{Answer, FetchMode};
use crate::http1::percent;
use crate::secret::Secret;
use crate::upstream::{ApiHost, Settings};

use answer::parse;

/// The step from "a token is wanted" to "this came back"; tests put their own in.
pub trait Issue: Send + Sync + 'static {
    /// Sends one call and waits for its answer; bounded in time by itself.
    fn fetch(&self, mode: FetchMode) -> impl Future<Output = Answer> + Send;
}

/// The body of `POST /cgi-bin/stable_token`.
#[derive(serde::Serialize)]
struct StableAsk<'a> {
    grant_type: &'a str,
    appid: &'a str,
    secret: &'a str,
    force_refresh: bool,
}

/// More than this is no answer to a token call.
const LONGEST_BODY: usize = 64 * 1024;

/// A token call that takes longer has failed.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Asks the upstream for one account's tokens.
#[derive(Debug)]
pub struct Issuer {
    client: Client,
    /// `https://host:port`, without a slash at the end.
    base: String,
    appid: String,
    secret: Secret,
}

/// Why there can be no issuer; the text says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct IssuerError(pub String);

impl std::fmt::Display for IssuerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for IssuerError {}

impl Issuer {
    /// Its connections are made as `host` says, as those of forwarded calls are.
    ///
    /// # Errors
    /// When no HTTP client can be made from these settings.
    pub fn new(host: &ApiHost, appid: &str, secret: Secret) -> Result<Self, IssuerError> {
        let (endpoint, settings) = (host.endpoint(), host.settings());
        let client = Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(endpoint.trust.client()))
            // A proxy from the environment would see the secret, and WeChat would see its address.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            // Hours lie between two fetches: a kept connection would be dead by then.
            .pool_max_idle_per_host(0)
            // With one address family bound, the connector tries destinations of that family alone.
            .local_address(endpoint.egress)
            .connect_timeout(settings.connect_timeout)
            .timeout(time_limit(settings))
            .build()
            .map_err(|e| {
                let why = root_cause(&e).unwrap_or_else(|| "no reason given".to_owned());
                IssuerError(format!("cannot make the HTTP client for token calls: {why}"))
            })?;
        Ok(Self { client, base: endpoint.base.to_string(), appid: appid.to_owned(), secret })
    }

    /// For `wxgate check`: the normal mode of `stable_token`, which ends no one's token.
    pub async fn check(&self) -> Answer {
        self.fetch(FetchMode::StableNormal).await
    }

    async fn send(&self, mode: FetchMode) -> Result<Response, reqwest::Error> {
        match mode {
            FetchMode::Token => {
                let secret = self.secret.expose();
                let mut query =
                    Zeroizing::new(String::with_capacity(3 * (self.appid.len() + secret.len()) + 64));
                query.push_str("grant_type=client_credential&appid=");
                percent::encode(&self.appid, &mut query);
                query.push_str("&secret=");
                percent::encode(secret, &mut query);
                let url = Zeroizing::new(format!("{}/cgi-bin/token?{}", self.base, *query));
                self.client.get(url.as_str()).send().await
            }
            FetchMode::StableNormal | FetchMode::StableForced => {
                let ask = StableAsk {
                    grant_type: "client_credential",
                    appid: &self.appid,
                    secret: self.secret.expose(),
                    force_refresh: mode == FetchMode::StableForced,
                };
                // Strings and a bool always make JSON; an empty body would get WeChat's 44002.
                let body = serde_json::to_vec(&ask).unwrap_or_default();
                // A body of known length is sent with Content-Length: WeChat answers 412 to a chunked one.
                self.client
                    .post(format!("{}/cgi-bin/stable_token", self.base))
                    .header(http::header::CONTENT_TYPE, "application/json")
                    .body(body)
                    .send()
                    .await
            }
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

    async fn take(&self, response: Response) -> Result<Answer, String> {
        let status = response.status();
        if !status.is_success() {
            return Err(answer::status_words(status, &self.base));
        }
        let body = self.read(response).await?;
        Ok(parse(&body, &self.secret))
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

impl Issue for Issuer {
    async fn fetch(&self, mode: FetchMode) -> Answer {
        match self.send(mode).await {
            Ok(response) => self.take(response).await.unwrap_or_else(|what| Answer::Passing { what }),
            Err(e) if e.is_connect() => Answer::Unsent { what: self.words(&e) },
            Err(e) => Answer::Passing { what: self.words(&e) },
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
            let settings = Settings { connect_timeout, response_timeout, warm_connections: 0 };
            assert_eq!(time_limit(&settings).as_secs(), limit);
        }
    }
}
