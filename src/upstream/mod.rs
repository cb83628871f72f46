//! The way to the API host: trust, egress address, pool, time limits.
//!
//! One [`Upstream`] per worker. The host it talks to is fixed by the configuration; nothing that a caller
//! sends can change it. Knows nothing of tokens and errcodes, and follows no redirect.

mod body;
mod connect;
mod connection;
mod places;
mod pool;
mod response;
pub mod tls;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response};
use tokio::select;
use tokio::sync::Notify;

pub use body::RequestBody;
pub use connect::ConnectError;
pub(crate) use connect::chain;
pub use response::{BodyError, ResponseBody};

use crate::config;
use connect::Connector;
use connection::{Broken, Connection, Why};
use places::Places;
use pool::Pool;

/// How often idle connections are looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The API host as one worker reaches it.
pub struct Upstream {
    connector: Connector,
    pool: Rc<Pool>,
    places: Rc<Places>,
    host: HeaderValue,
    response_timeout: Duration,
    warm: usize,
    /// A request found no idle connection.
    missed: Notify,
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
    /// Prepares the way; connects to nobody yet. `warm` idle connections are kept ready by [`Self::keep_warm`].
    ///
    /// # Errors
    /// When the host name of the configuration is none that TLS could verify.
    pub fn new(
        config: &config::Upstream,
        tls: Arc<rustls::ClientConfig>,
        warm: usize,
    ) -> Result<Self, ConnectError> {
        Ok(Self {
            connector: Connector::new(config, tls)?,
            pool: Rc::new(Pool::default()),
            places: Places::new(),
            host: connect::host_header(config)?,
            response_timeout: config.response_timeout,
            warm,
            missed: Notify::new(),
        })
    }

    /// What the `Host` field of a request to this upstream says.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Sends a request and waits for the head of its response. `make` makes it, and makes it anew for a second
    /// sending, unless its body is gone.
    ///
    /// When the connection breaks before any byte of a response came, a request is sent again, once, if its
    /// method is idempotent or nothing of it had been written: a POST may have been executed.
    ///
    /// # Errors
    /// See [`SendError`]. Dropping the future ends the request and closes its connection.
    pub async fn send(
        &self,
        method: &Method,
        mut make: impl FnMut() -> Option<Request<RequestBody>>,
    ) -> Result<Response<ResponseBody>, SendError> {
        // Held until the head of the response is here.
        let _place = match self.places.take() {
            Some(place) => place,
            // Boxed like all that is rare here: a future is as large as its largest way.
            None => Box::pin(self.places.wait()).await,
        };
        let connection = match self.pool.take() {
            Some(connection) => connection,
            None => {
                // The next one shall not have to wait for one, too.
                self.missed.notify_one();
                Box::pin(self.connector.connect()).await.map_err(SendError::Connect)?
            }
        };
        let broken = match connection.exchange(&mut make, self.response_timeout).await {
            Ok((response, connection)) => return Ok(self.attach(response, connection)),
            Err(broken) => broken,
        };
        let idempotent = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        // Never begun: what had come on the connection was no answer to it.
        let unsent = broken.request.is_some();
        let harmless = unsent || (idempotent || !broken.written) && !broken.answered;
        if matches!(broken.why, Why::TimedOut | Why::BodyGone) || !harmless {
            return Err(send_error(broken));
        }
        let request = match broken.request {
            Some(request) => request,
            None => match make() {
                Some(request) => Box::new(request),
                None => return Err(send_error(broken)),
            },
        };
        Box::pin(self.send_again(request)).await
    }

    /// Over a new connection: the idle ones may have died with the one that broke.
    async fn send_again(
        &self,
        request: Box<Request<RequestBody>>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let connection = self.connector.connect().await.map_err(SendError::Connect)?;
        match connection.exchange(|| Some(*request), self.response_timeout).await {
            Ok((response, connection)) => Ok(self.attach(response, connection)),
            Err(broken) => Err(send_error(broken)),
        }
    }

    /// Makes a connection and keeps it for the next request: for `wxgate check`.
    ///
    /// # Errors
    /// When none can be made.
    pub async fn reach(&self) -> Result<(), ConnectError> {
        self.pool.give_back(self.connector.connect().await?);
        Ok(())
    }

    fn attach(
        &self,
        response: Response<hyper::body::Incoming>,
        connection: Box<Connection>,
    ) -> Response<ResponseBody> {
        response.map(|incoming| {
            ResponseBody::new(incoming, connection, Rc::clone(&self.pool), self.response_timeout)
        })
    }

    /// Looks after the idle connections: drops dead and old ones, keeps `warm` of them ready, beside those that are in
    /// use. Never returns.
    pub async fn keep_warm(&self) {
        let mut pause = SWEEP_EVERY;
        loop {
            pause = match self.pool.sweep() {
                idle if idle >= self.warm => SWEEP_EVERY,
                _ => match self.connector.connect().await {
                    Ok(connection) => {
                        self.pool.give_back(connection);
                        // The next missing one at once.
                        Duration::ZERO
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot keep a connection to the upstream ready");
                        (pause.max(SWEEP_EVERY) * 2).min(Duration::from_secs(30))
                    }
                },
            };
            let sleep = tokio::time::sleep(pause);
            match pause > SWEEP_EVERY {
                // No connection can be made: calls that try do not make this one try more often.
                true => sleep.await,
                false => select! { () = sleep => {}, () = self.missed.notified() => {} },
            }
        }
    }
}

fn send_error(broken: Broken) -> SendError {
    match broken.why {
        Why::TimedOut => SendError::TimedOut,
        Why::BodyGone => SendError::BodyGone,
        Why::Failed(error) if error.is_user() => SendError::CallerBody(error),
        Why::Failed(error) => SendError::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{Instant, timeout};

    /// Before the next look at the idle connections; on a machine that is too busy for that nothing is seen, and it is
    /// tried again.
    #[tokio::test]
    async fn a_call_that_found_no_connection_has_the_next_one_made_at_once() {
        let attempt = async || {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let config = config::Upstream {
                tls: false,
                host: "127.0.0.1".to_owned(),
                port: listener.local_addr().unwrap().port(),
                egress_ip: None,
                ca: None,
                connect_timeout: Duration::from_secs(3),
                response_timeout: Duration::from_secs(30),
                warm_connections: 1,
            };
            let upstream = Rc::new(Upstream::new(&config, tls::client_config(None).unwrap(), 1).unwrap());
            let mut held: Vec<TcpStream> = Vec::new();
            let begun = Instant::now();
            let (kept, call) = (Rc::clone(&upstream), || {
                let upstream = Rc::clone(&upstream);
                let request = || Some(Request::new(RequestBody::whole([])));
                spawn_local(async move { upstream.send(&Method::GET, request).await.map(drop) })
            });
            spawn_local(async move { kept.keep_warm().await });
            // One beforehand; the first call takes it, the second finds none.
            for calls in [0, 2] {
                (0..calls).for_each(|_| drop(call()));
                for _ in 0..calls.max(1) {
                    let left = SWEEP_EVERY.saturating_sub(begun.elapsed());
                    match timeout(left, listener.accept()).await {
                        Ok(accepted) => held.push(accepted.unwrap().0),
                        Err(_) => return false,
                    }
                }
                while calls == 0 && upstream.pool.sweep() == 0 {
                    tokio::task::yield_now().await;
                }
                // Let the keeper see that it has one.
                tokio::time::sleep(Duration::ZERO).await;
                tokio::time::sleep(Duration::ZERO).await;
            }
            true
        };
        let attempts = async {
            for _ in 0..5 {
                if attempt().await {
                    return true;
                }
            }
            false
        };
        assert!(LocalSet::new().run_until(attempts).await);
    }
}
