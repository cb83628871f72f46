//! Sends one call of an issuer and reads its answer, and nothing else of WeChat's API.
//!
//! One call, one answer. What is asked for is the issuer's business. The secret leaves here in the query or body of the
//! call, and no error quotes those.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::answer::{parse, status_words};
use crate::credential::Reader;
use crate::credential::types::FetchAnswer;
use crate::secret::Secret;
use crate::upstream::{ApiHost, CallError, Settings};

/// More than this is no answer to a token call.
const LONGEST_BODY: usize = 64 * 1024;

/// A token call that takes longer has failed.
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// Asks the upstream on behalf of one account.
#[derive(Debug)]
pub struct IssuerClient {
    host: Arc<ApiHost>,
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

impl IssuerClient {
    /// Its connections are made as `host` says, as those of forwarded calls are.
    pub fn new(host: &Arc<ApiHost>, appid: &str, secret: Secret) -> Self {
        Self { host: Arc::clone(host), appid: appid.to_owned(), secret, token: None }
    }

    /// The same for credentials that are asked for with the account's token.
    #[must_use]
    pub fn with_token(self, token: Reader) -> Self {
        Self { token: Some(token), ..self }
    }

    /// `GET` of this path and query, which hold this token; what comes back is read as a ticket.
    pub(super) async fn get_ticket(&self, path_and_query: &str, token: &Secret) -> FetchAnswer {
        self.send(Method::GET, path_and_query, None, Reading { name: "ticket", secret: token }).await
    }

    /// `GET` of this path and query, which may hold the secret.
    pub(super) async fn get(&self, path_and_query: &str) -> FetchAnswer {
        self.send(Method::GET, path_and_query, None, self.token_reading()).await
    }

    /// `POST` of JSON to this path.
    pub(super) async fn post(&self, path: &str, body: &impl serde::Serialize) -> FetchAnswer {
        // What issuers ask with always makes JSON; an empty body would get WeChat's 44002.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.send(Method::POST, path, Some(body), self.token_reading()).await
    }

    fn token_reading(&self) -> Reading<'_> {
        Reading { name: "access_token", secret: &self.secret }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        json: Option<Vec<u8>>,
        reading: Reading<'_>,
    ) -> FetchAnswer {
        let mut request = Request::new(Full::from(Bytes::new()));
        *request.method_mut() = method;
        match target.parse() {
            Ok(target) => *request.uri_mut() = target,
            // Issuers encode what they put in, so that only its length can be wrong.
            Err(_) => {
                return FetchAnswer::Unsent { what: "appid and secret are too long for a call".to_owned() };
            }
        }
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(json) = json {
            // A body of known length is sent with Content-Length: WeChat answers 412 to a chunked one.
            *request.body_mut() = Full::from(json);
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let answer = match self.host.call(request, time_limit(self.host.settings()), LONGEST_BODY).await {
            Ok(answer) => answer,
            Err(CallError::Connect(error)) => {
                let cure = if error.is_tls() { " (is `upstream.ca` right, and the port?)" } else { "" };
                return FetchAnswer::Unsent { what: format!("cannot connect to {error}{cure}") };
            }
            Err(CallError::TooLong { base }) => {
                return FetchAnswer::Passing {
                    what: format!(
                        "{base} answered with more than 64 KiB; does `upstream.url` lead to the WeChat API?"
                    ),
                };
            }
            Err(error) => return FetchAnswer::Passing { what: error.to_string() },
        };
        if !answer.status().is_success() {
            let base = self.host.base_in_use().to_string();
            return FetchAnswer::Passing { what: status_words(answer.status(), &base) };
        }
        let body = Zeroizing::new(Vec::from(answer.into_body()));
        parse(&body, reading.name, reading.secret)
    }
}

/// For a whole token call. All callers may wait for it, so a `response_timeout` made long for slow interfaces
/// is not for it.
fn time_limit(settings: &Settings) -> Duration {
    settings.response_timeout.min(LONGEST_CALL)
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
