//! One call on a connection of its own, for token calls: hours lie between two of them.
//!
//! One request, one answer of bounded length: no retry after a byte was written, no redirect, no cookie, no proxy but
//! the configured one. The environment's would see the secret, and WeChat would see its address.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::select;
use tokio::time::timeout;

use super::api_host::ApiHost;
use super::wire::{ConnectError, chain};

/// Why there is no answer; no text holds anything of the request.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection could be made, so that nothing was sent.
    #[error(transparent)]
    Connect(ConnectError),
    /// The answer was not there in time.
    #[error("{base} did not answer in time")]
    TimedOut {
        /// The host that was asked.
        base: String,
    },
    /// The answer is longer than asked for.
    #[error("{base} answered with too much")]
    TooLong {
        /// The host that was asked.
        base: String,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {base} broke before the whole answer was there: {cause}")]
    Broken {
        /// The host that was asked.
        base: String,
        /// hyper's words.
        cause: String,
    },
}

impl ApiHost {
    /// Sends a request whose target is in origin form to the host in use, or to the next that can be reached, and
    /// reads its answer, which comes within `limit` once there is a connection, and has at most `most` bytes. Host and
    /// length of the request are seen to.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let (index, wire) = self.wire().await.map_err(CallError::Connect)?;
        let base = &self.sites()[index].endpoint().base;
        request.headers_mut().insert(header::HOST, base.host_header());
        let exchange = async {
            let mut builder = http1::Builder::new();
            let (mut sender, connection) =
                builder.title_case_headers(true).handshake(TokioIo::new(wire)).await?;
            let mut exchange = pin!(async move {
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = Limited::new(body, most).collect().await?.to_bytes();
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::from_parts(head, body))
            });
            select! {
                biased;
                answer = &mut exchange => answer,
                // The answer may be whole all the same.
                _ = connection => exchange.await,
            }
        };
        let base = || base.to_string();
        match timeout(limit, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => Err(CallError::TimedOut { base: base() }),
            Ok(Err(error)) => Err(broken(&*error, base())),
        }
    }
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static), base: String) -> CallError {
    match error.is::<LengthLimitError>() {
        true => CallError::TooLong { base },
        false => CallError::Broken { base, cause: chain(error) },
    }
}
