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
        if matches!(failed.cause, Cause::TimedOut | Cause::BodyGone) || !harmless {
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
            Cause::BodyGone => Self::BodyGone,
            Cause::Broken(error) if error.is_user() => Self::CallerBody(error),
            Cause::Broken(error) => Self::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::{LocalSet, spawn_local, yield_now};
    use tokio::time::{Instant, timeout_at};

    fn settings(warm_connections: usize) -> Settings {
        Settings {
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(30),
            max_connections: 1024,
            warm_connections,
        }
    }

    fn upstream(listener: &TcpListener, warm_connections: usize) -> Rc<Upstream> {
        let endpoint = plain(listener.local_addr().unwrap());
        Rc::new(Upstream::new(ApiHost::new(endpoint, Vec::new(), settings(warm_connections))))
    }

    fn plain(address: std::net::SocketAddr) -> Endpoint {
        Endpoint {
            base: BaseUrl::new(false, &address.ip().to_string(), address.port()).unwrap(),
            egress: None,
            proxy: None,
            trust: tls::Trust::load(None).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_for_five_minutes_at_most() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = upstream(&listener, 0);
        let connections = Rc::<Cell<usize>>::default();
        let accepted = Rc::clone(&connections);
        let serve = async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.set(accepted.get() + 1);
                spawn_local(async move {
                    let mut request = [0; 1000];
                    while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                    }
                });
            }
        };
        let calls = async {
            spawn_local(serve);
            // It is never idle for long: that alone would not end it.
            let mut seen = Vec::new();
            for call in 0..8 {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(if call == 0 { 0 } else { 45 })).await;
                tokio::time::resume();
                let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
                upstream.send(&Method::GET, request).await.unwrap();
                seen.push(connections.get());
            }
            // It ends at an age between 270 and 300 seconds.
            assert!(seen == [1, 1, 1, 1, 1, 1, 2, 2] || seen == [1, 1, 1, 1, 1, 1, 1, 2], "{seen:?}");
        };
        LocalSet::new().run_until(calls).await;
    }

    /// Two upstreams with one port, which count their calls; the first lives on when its name has moved to the other.
    #[tokio::test]
    async fn a_name_that_moves_is_followed_within_a_connections_five_minutes() {
        let (first, second) = loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
                break (first, second);
            }
        };
        let port = first.local_addr().unwrap().port();
        let counts = [Rc::<Cell<usize>>::default(), Rc::default()];
        let serve = |listener: TcpListener, count: Rc<Cell<usize>>| async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Rc::clone(&count);
                spawn_local(async move {
                    let mut request = [0; 1000];
                    while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                        count.set(count.get() + 1);
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                    }
                });
            }
        };
        let moved = Arc::<AtomicBool>::default();
        let lookup = {
            let moved = Arc::clone(&moved);
            move |_: &str| Ok(vec![[127, 0, 0, 1 + u8::from(moved.load(Ordering::SeqCst))].into()])
        };
        let endpoint = Endpoint {
            base: BaseUrl::new(false, "api.test", port).unwrap(),
            ..plain(first.local_addr().unwrap())
        };
        let resolver = resolver::Resolver::with("api.test", lookup);
        let site = site::Site::with_resolver(endpoint, settings(0), resolver);
        let upstream = Upstream::new(ApiHost::of(vec![site], settings(0)));
        let calls = async {
            spawn_local(serve(first, Rc::clone(&counts[0])));
            spawn_local(serve(second, Rc::clone(&counts[1])));
            let mut seen = Vec::new();
            for call in 0..16 {
                tokio::time::pause();
                tokio::time::advance(Duration::from_millis(if call == 0 { 0 } else { 49_500 })).await;
                tokio::time::resume();
                let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
                upstream.send(&Method::GET, request).await.unwrap();
                moved.store(true, Ordering::SeqCst);
                seen.push(counts[1].get());
            }
            // The seventh call, after 297 s, mostly needs a new connection; the eighth, after 346 s, always.
            assert!(seen[7..].iter().zip(1..).all(|(count, least)| *count >= least), "{seen:?}");
            assert_eq!(counts[0].get() + counts[1].get(), 16);
        };
        LocalSet::new().run_until(calls).await;
    }

    /// Before the next look at the idle connections; on a machine that is too busy for that nothing is seen, and it is
    /// tried again.
    #[tokio::test]
    async fn a_call_that_found_no_connection_has_the_next_one_made_at_once() {
        async fn attempt() -> Option<()> {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let upstream = upstream(&listener, 1);
            let next_look = Instant::now() + SWEEP_EVERY;
            let accepted = async || timeout_at(next_look, listener.accept()).await.ok().map(Result::unwrap);
            let call = || {
                let upstream = Rc::clone(&upstream);
                let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
                spawn_local(async move { upstream.send(&Method::GET, request).await.map(drop) })
            };
            let keeper = Rc::clone(&upstream);
            spawn_local(async move { keeper.keep_warm().await });
            let _ready = accepted().await?;
            while upstream.sites[0].pool.sweep() == 0 {
                yield_now().await;
            }
            // The first takes it, the second finds none.
            let _calls = (call(), call());
            let _theirs_and_the_next = (accepted().await?, accepted().await?);
            Some(())
        }
        let attempts = async {
            for _ in 0..5 {
                if attempt().await.is_some() {
                    return true;
                }
            }
            false
        };
        assert!(LocalSet::new().run_until(attempts).await);
    }
}
