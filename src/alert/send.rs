//! Sends one message to one robot: over TLS that is always verified, to the service's own host, without following
//! redirects. No error of this file holds the robot's URL, for that holds its key.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, Url, redirect};
use rustls::ClientConfig;

use super::{Robot, text};
use crate::upstream::tls::Trust;

/// For a whole message.
const LIMIT: Duration = Duration::from_secs(10);

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;

/// The pauses before a message that could not be sent is tried again.
const AGAIN: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// An HTTP client for robots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client,
}

impl Sender {
    /// Connects to nobody yet; later from `egress`, where there is one.
    ///
    /// # Errors
    /// When the TLS library does not like the settings.
    pub fn new(trust: &Trust, egress: Option<IpAddr>) -> Result<Self, String> {
        Self::built(Client::builder(), trust, egress)
    }

    fn built(builder: reqwest::ClientBuilder, trust: &Trust, egress: Option<IpAddr>) -> Result<Self, String> {
        let client = builder
            .tls_backend_preconfigured(ClientConfig::clone(trust.client()))
            // A proxy from the environment would see more than it should.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .https_only(true)
            .http1_only()
            .pool_max_idle_per_host(0)
            .local_address(egress)
            .timeout(LIMIT)
            .build();
        Ok(Self { client: client.map_err(|_| "the TLS library refuses its settings".to_owned())? })
    }

    /// Sends a test message, once.
    ///
    /// # Errors
    /// Why the robot did not take it, without its URL.
    pub async fn test(&self, robot: &Robot) -> Result<(), String> {
        self.send(robot, text::TEST).await
    }

    /// Sends a message, three times at most; logs when that was in vain.
    pub(super) async fn deliver(self, robot: Robot, words: String) {
        self.deliver_with(robot, words, &AGAIN).await;
    }

    async fn deliver_with(self, robot: Robot, words: String, pauses: &[Duration]) {
        let mut pauses = pauses.iter();
        loop {
            let Err(error) = self.send(&robot, &words).await else { return };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    return tracing::warn!(
                        "a message to a {} robot could not be sent: {error}",
                        robot.service.as_str()
                    );
                }
            }
        }
    }

    async fn send(&self, robot: &Robot, words: &str) -> Result<(), String> {
        let service = robot.service;
        let shown = |error: reqwest::Error| {
            let what = match () {
                () if error.is_timeout() => "does not answer in time",
                () if error.is_connect() => "cannot be reached over verified TLS",
                () => "gives no whole answer",
            };
            format!("{} {what}", service.hosts().join(" or "))
        };
        let url = Url::parse(robot.url.expose()).map_err(|_| "its url is no URL".to_owned())?;
        let body = text::body(service, words).to_string();
        let request = self.client.post(url).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let mut answer = request.send().await.map_err(shown)?;
        if !answer.status().is_success() {
            return Err(format!("{} answers with status {}", service.as_str(), answer.status().as_u16()));
        }
        let mut told = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(shown)? {
            if told.len() + chunk.len() > LONGEST_ANSWER {
                break;
            }
            told.extend_from_slice(&chunk);
        }
        text::taken(service, &told)
    }
}

#[cfg(test)]
mod tests;
