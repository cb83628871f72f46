//! Calls to API hosts: endpoints, connections and their pools, one exchange after the other, time limits.
//!
//! One [`Upstream`] per worker and [`ApiHost`]. The hosts it talks to are fixed by the configuration; nothing that a
//! caller sends can change them. Knows nothing of tokens and errcodes, and follows no redirect.

mod answer_head;
mod api_host;
mod body;
mod certificate;
mod connection;
mod connector;
mod dial;
mod endpoint;
mod exchange;
mod in_flight;
mod one_call;
mod outbound_proxy;
mod pool;
mod resolver;
mod response;
mod site;
mod tcp_info;
pub mod tls;
mod traffic;
#[doc(hidden)]
pub mod tunnel;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, header};
use tokio::select;
use tokio::sync::Notify;

pub use api_host::ApiHost;
pub use body::RequestBody;
pub use certificate::Certificate;
pub use endpoint::{BaseUrl, Endpoint, Settings};
pub use one_call::CallError;
pub use outbound_proxy::{OutboundProxy, ProxyCredentials, ProxyProtocol};
pub use response::{BodyError, ResponseBody};
pub use wire::ConnectError;
pub(crate) use wire::chain;

use connection::Connection;
use connector::Connector;
use exchange::{Cause, Failed, exchange};
use in_flight::InFlight;
use pool::Pool;

/// How often idle connections are looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Between two attempts to make a connection when none can be made, at most.
const MOST_PAUSE: Duration = Duration::from_secs(30);

/// An API as one worker reaches it.
pub struct Upstream {
    host: Arc<ApiHost>,
    /// In the order of the API's hosts.
    sites: Vec<Reached>,
    in_flight: Rc<InFlight>,
    host_header: HeaderValue,
    /// A request found no idle connection.
    missed: Notify,
}

/// One host, and the worker's connections to it.
struct Reached {
    connector: Connector,
    pool: Rc<Pool>,
    /// What the `Host` field becomes, unless this is the first host.
    other_host: Option<HeaderValue>,
}

/// Why a request brought no response.
#[derive(Debug)]
pub enum SendError {
    /// No connection could be made.
    Connect(ConnectError),
    /// No head of a response within the time limit.
    TimedOut,
    /// The connection broke before the head of a response, or the response was not HTTP.
    Broken(hyper::Error),
    /// The response's Transfer-Encoding is another than chunked.
    Coded,
    /// The caller's body broke while it was passed on.
    CallerBody(hyper::Error),
    /// There was nothing to send: the body had been passed on already.
    BodyGone,
}

impl Upstream {
    /// Connects to nobody yet; [`Self::keep_warm`] keeps idle connections ready.
    pub fn new(host: Arc<ApiHost>) -> Self {
        let host_header = host.endpoint().base.host_header();
        let reached = |(index, site): (usize, &Arc<site::Site>)| {
            let connector = Connector::new(Arc::clone(site));
            let other_host = (index > 0).then(|| site.endpoint().base.host_header());
            Reached { pool: Rc::new(Pool::new(connector.clone())), connector, other_host }
        };
        let sites = host.sites().iter().enumerate().map(reached).collect();
        Self { host, sites, in_flight: InFlight::new(), host_header, missed: Notify::new() }
    }

    /// The value of the `Host` field of requests to the first host.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// Sends a request and waits for the head of its response. `make` makes it, and makes it anew for a second
    /// sending, unless its body is gone; what it is given stands in the place of [`Self::host_header`].
    ///
    /// When the host in use cannot be connected to, the others are tried in turn.
    ///
    /// When the connection breaks before any byte of a response came, a request is sent again, once, if its
    /// method is idempotent, nothing of it had been written, or the upstream had closed before it received any of it:
    /// a POST may have been executed otherwise.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future ends the request and closes its connection.
    pub async fn send(
        &self,
        method: &Method,
        mut make: impl FnMut(Option<&HeaderValue>) -> Option<Request<RequestBody>>,
    ) -> Result<Response<ResponseBody>, SendError> {
        // Held until the head of the response is here.
        let _permit = match self.in_flight.try_acquire() {
            Some(permit) => permit,
            // Boxed like all that is rare here: a future is as large as its largest branch.
            None => Box::pin(self.in_flight.acquire()).await,
        };
        let mut at = self.host.in_use();
        let connection = match self.sites[at].pool.take() {
            Some(connection) => connection,
            None => {
                // The next one shall not have to wait for one, too.
                self.missed.notify_one();
                match self.sites[at].pool.wait().await {
                    Ok(connection) => connection,
                    Err(error) => {
                        let other = Box::pin(self.elsewhere(at, error)).await;
                        let (other, connection) = other.map_err(SendError::Connect)?;
                        at = other;
                        connection
                    }
                }
            }
        };
        let site = &self.sites[at];
        let begin = || make(site.other_host.as_ref());
        let failed = match exchange(connection, begin, self.host.settings().response_timeout).await {
            Ok((response, connection)) => return Ok(self.attach(site, response, connection)),
            Err(failed) => failed,
        };
        if let Some(heard) = failed.died_after {
            site.connector.host().connection_died(heard);
        }
        let idempotent = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        // Never begun: what had come on the connection was no answer to it.
        let unsent = failed.unsent.is_some();
        let harmless = unsent || (idempotent || !failed.written || failed.unseen) && !failed.answered;
        if matches!(failed.cause, Cause::TimedOut | Cause::Coded | Cause::BodyGone) || !harmless {
            return Err(failed.into());
        }
        let request = match failed.unsent {
            Some(request) => request,
            None => match make(None) {
                Some(request) => Box::new(request),
                None => return Err(failed.into()),
            },
        };
        Box::pin(self.send_again(request)).await
    }

    /// Over a new connection: the idle ones may have died with the one that broke.
    async fn send_again(
        &self,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let (at, connection) = self.connect().await.map_err(SendError::Connect)?;
        let site = &self.sites[at];
        let host = site.other_host.as_ref().unwrap_or(&self.host_header);
        request.headers_mut().insert(header::HOST, host.clone());
        match exchange(connection, || Some(*request), self.host.settings().response_timeout).await {
            Ok((response, connection)) => Ok(self.attach(site, response, connection)),
            Err(failed) => Err(failed.into()),
        }
    }

    /// A new connection to the host in use, or one to another; with the host's index.
    async fn connect(&self) -> Result<(usize, Box<Connection>), ConnectError> {
        let at = self.host.in_use();
        match self.sites[at].connector.connect().await {
            Ok(connection) => Ok((at, connection)),
            Err(error) => self.elsewhere(at, error).await,
        }
    }

    /// A connection to another host, since this one cannot be reached.
    async fn elsewhere(
        &self,
        failed: usize,
        error: ConnectError,
    ) -> Result<(usize, Box<Connection>), ConnectError> {
        let connect = async |pool: &Rc<Pool>| match pool.take() {
            Some(connection) => Ok(connection),
            None => pool.wait().await,
        };
        self.host.elsewhere(failed, error, |next| connect(&self.sites[next].pool)).await
    }

    /// Makes a connection to the first host and keeps it for the next request: for `wxgate check`.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn reach(&self) -> Result<(), ConnectError> {
        let first = &self.sites[0];
        first.pool.give_back(first.connector.connect().await?);
        Ok(())
    }

    fn attach(
        &self,
        site: &Reached,
        response: Response<hyper::body::Incoming>,
        connection: Box<Connection>,
    ) -> Response<ResponseBody> {
        response.map(|incoming| {
            ResponseBody::new(
                incoming,
                connection,
                Rc::clone(&site.pool),
                self.host.settings().response_timeout,
            )
        })
    }

    /// Looks after the idle connections: drops dead and old ones, keeps `warm_connections` of them ready at the host in
    /// use, beside those that are in use. Never returns.
    pub async fn keep_warm(&self) {
        let mut pause = SWEEP_EVERY;
        loop {
            let in_use = self.host.in_use();
            let left: Vec<usize> = self.sites.iter().map(|site| site.pool.sweep()).collect();
            let site = &self.sites[in_use];
            // Counted once: an upstream that ends each connection at once is not asked for the next one at once.
            for _ in left[in_use]..self.host.settings().warm_connections {
                // Requests come first.
                let Some(permit) = site.connector.host().try_permit() else { break };
                let error = match site.connector.connect_with(permit).await {
                    Ok(connection) => {
                        site.pool.give_back(connection);
                        pause = SWEEP_EVERY;
                        continue;
                    }
                    Err(error) => error,
                };
                match self.elsewhere(in_use, error).await {
                    Ok((other, connection)) => {
                        self.sites[other].pool.give_back(connection);
                        break;
                    }
                    // Requests that try meanwhile do not make this one try more often.
                    Err(error) => {
                        tracing::debug!(%error, "cannot keep a connection to the upstream ready");
                        pause = (pause * 2).min(MOST_PAUSE);
                        tokio::time::sleep(pause).await;
                    }
                }
            }
            select! {
                () = tokio::time::sleep(SWEEP_EVERY) => {}
                () = self.missed.notified() => {}
                () = site.connector.host().becomes_full() => {}
            }
        }
    }
}

impl From<Failed> for SendError {
    fn from(failed: Failed) -> Self {
        match failed.cause {
            Cause::TimedOut => Self::TimedOut,
            Cause::Coded => Self::Coded,
            Cause::BodyGone => Self::BodyGone,
            Cause::Broken(error) if error.is_user() => Self::CallerBody(error),
            Cause::Broken(error) => Self::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests;
