//! Sends one message to one robot: over TLS that is always verified, to the service's own host, without following
//! redirects. No error of this file holds the robot's URL, for that holds its key.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::{Robot, sign, text};
use crate::upstream::tls::Trust;
use crate::upstream::{ApiHost, BaseUrl, CallError, Endpoint, OutboundProxy, Settings};

/// For a connection, and for the answer then.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// The way to robots: that of calls to API hosts.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Whom it trusts.
    pub trust: Trust,
    /// The address that connections leave from; `None`: the system chooses.
    pub egress: Option<IpAddr>,
    /// The proxy that they go through.
    pub proxy: Option<OutboundProxy>,
}

impl Sender {
    /// Sends a test message, once.
    ///
    /// # Errors
    /// Why the robot did not take it, without its URL.
    pub async fn test(&self, robot: &Robot) -> Result<(), String> {
        self.send(robot, text::TEST).await
    }

    /// Sends a message, once.
    ///
    /// # Errors
    /// As [`Sender::test`].
    pub(super) async fn send(&self, robot: &Robot, words: &str) -> Result<(), String> {
        let service = robot.service;
        let url: Uri = robot.url.expose().parse().map_err(|_| "its url is no URL".to_owned())?;
        let host = self.host(&url).ok_or("its url does not lead to a host over TLS")?;
        let mut target = url.path_and_query().map(ToString::to_string).unwrap_or_default();
        let mut body = text::body(service, words);
        if let Some(secret) = &robot.secret {
            sign::sign(service, secret, SystemTime::now(), &mut target, &mut body);
        }
        let mut request = Request::new(Full::from(Bytes::from(body.to_string())));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.parse().map_err(|_| "its url is no URL".to_owned())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let answer = host.call(request, LIMIT, LONGEST_ANSWER).await.map_err(|error| {
            let what = match error {
                CallError::Connect(error) => format!("cannot be reached over verified TLS: {error}"),
                CallError::TimedOut { .. } => "does not answer in time".to_owned(),
                CallError::TooLong { .. } | CallError::Broken { .. } => "gives no whole answer".to_owned(),
            };
            format!("{} {what}", service.hosts().join(" or "))
        })?;
        if !answer.status().is_success() {
            return Err(format!("{} answers with status {}", service.as_str(), answer.status().as_u16()));
        }
        text::taken(robot, answer.body())
    }

    fn host(&self, url: &Uri) -> Option<std::sync::Arc<ApiHost>> {
        if url.scheme_str() != Some("https") {
            return None;
        }
        let base = BaseUrl::new(true, url.host()?, url.port_u16().unwrap_or(443))?;
        let Self { trust, egress, proxy } = self.clone();
        let settings = Settings {
            connect_timeout: LIMIT,
            response_timeout: LIMIT,
            max_connections: 1,
            warm_connections: 0,
        };
        Some(ApiHost::new(Endpoint { base, egress, proxy, trust }, Vec::new(), settings))
    }
}

#[cfg(test)]
mod tests;
