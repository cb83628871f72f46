//! One connection to the store: name, TCP, TLS, greeting. Asks the sentinels where there are some.
//!
//! Of the `redis` crate's connections none is used that reconnects by itself: its manager keeps a demoted master, and
//! gives up where a password was changed. TLS is made here, so that both connections have the same.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ErrorKind, RedisConnectionInfo, RedisError};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::RedisSettings;
use super::tls;
use crate::beside::{READING, beside};

/// For name, TCP and TLS together, unless one command may take longer; the greeting is a command.
const CONNECTING: Duration = Duration::from_secs(1);

/// Why there is no connection, in words for an operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DialError(pub(super) String);

impl DialError {
    pub(super) fn because(doing: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{doing}: {why}"))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Host and port.
pub(super) type Address = (String, u16);

/// A connection for commands, each of which has its time limit.
#[derive(Debug)]
pub(super) struct Commands {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    /// The master that the sentinels named and that it leads to; `None` without sentinels.
    pub(super) master: Option<Address>,
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    settings: RedisSettings,
    tls: Option<Arc<ClientConfig>>,
    /// The sentinel that is asked first.
    first: AtomicUsize,
}

impl Dialer {
    /// Reads the system's trust roots where TLS is asked for.
    ///
    /// # Errors
    /// When `ca`, `cert` or `key` are unusable.
    pub(super) async fn new(settings: RedisSettings) -> Result<Self, DialError> {
        let tls = match settings.url.tls {
            true => {
                let roots = beside(READING, crate::tls::system_roots).await;
                let roots = roots.map_err(|e| DialError::because("reading the system's trust roots", e))?;
                Some(Arc::new(tls::client(&settings, roots)?))
            }
            false => None,
        };
        Ok(Self { settings, tls, first: AtomicUsize::new(0) })
    }

    /// A connection for commands.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn commands(&self) -> Result<Commands, DialError> {
        let (stream, master) = self.stream().await?;
        let (connection, driver) = self.greeted(&self.info(self.settings.url.database), stream).await?;
        Ok(Commands { connection, driver, master })
    }

    async fn greeted(
        &self,
        info: &RedisConnectionInfo,
        stream: Box<dyn Stream>,
    ) -> Result<(MultiplexedConnection, Driver), DialError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.settings.timeout));
        let greeting = MultiplexedConnection::new_with_config(info, stream, config);
        let (connection, driver) = self.in_time(greeting).await?;
        Ok((connection, Driver(tokio::spawn(driver))))
    }

    /// Why the first command on a connection failed.
    pub(super) fn refused(&self, error: &RedisError) -> DialError {
        let words = refusal(error);
        let hung_up = error.is_io_error() && !error.is_timeout();
        let hint = match self.tls {
            // What speaks nothing but TLS hangs up at words in clear.
            None if hung_up => "; a port that speaks TLS wants `rediss://`",
            // The alert that says so gets lost where the first command finds the connection closed.
            Some(_) if hung_up && !words.ends_with(tls::OUR_CERTIFICATE) => tls::PERHAPS_OUR_CERTIFICATE,
            _ => "",
        };
        DialError(format!("{words}{hint}"))
    }

    /// The server was of no use: another sentinel may know better than the one that named it.
    pub(super) fn was_of_no_use(&self) {
        self.first.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection for messages.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn messages(&self) -> Result<PubSub, DialError> {
        let (stream, _) = self.stream().await?;
        self.in_time(PubSub::new(&self.info(self.settings.url.database), stream)).await
    }

    fn info(&self, database: i64) -> RedisConnectionInfo {
        // Nothing of RESP3, and no CLIENT SETINFO: not every offer has them.
        let mut info = RedisConnectionInfo::default().set_db(database).set_skip_set_lib_name();
        if let Some(password) = self.settings.password() {
            info = info.set_password(password.expose());
            if let Some(user) = self.settings.user() {
                info = info.set_username(user);
            }
        }
        info
    }

    /// The greeting (AUTH, SELECT) is one exchange.
    async fn in_time<T>(
        &self,
        greeting: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, DialError> {
        match tokio::time::timeout(self.settings.timeout, greeting).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(e)) => Err(self.refused(&e)),
            Err(_) => Err(DialError(format!(
                "it accepts connections and does not answer within {}",
                humantime::format_duration(self.settings.timeout)
            ))),
        }
    }

    /// A connection to the store, and the master that it leads to where sentinels named one.
    async fn stream(&self) -> Result<(Box<dyn Stream>, Option<Address>), DialError> {
        let Some((host, port)) = self.master().await? else {
            let (host, port) = &self.settings.url.hosts[0];
            return Ok((self.connect(host, *port).await?, None));
        };
        let because = |e| DialError::because(&format!("the master {host}:{port}"), e);
        let stream = self.connect(&host, port).await.map_err(because)?;
        Ok((stream, Some((host, port))))
    }

    /// Where the sentinels say that the master is; `None` without sentinels.
    ///
    /// # Errors
    /// Why none of them says it.
    pub(super) async fn master(&self) -> Result<Option<Address>, DialError> {
        let url = &self.settings.url;
        let Some(master) = &url.master else { return Ok(None) };
        let mut last = DialError("no sentinel answers".to_owned());
        let first = self.first.load(Ordering::Relaxed) % url.hosts.len();
        let (later, sooner) = url.hosts.split_at(first);
        for (host, port) in sooner.iter().chain(later) {
            match self.ask_sentinel(host, *port, master).await {
                Ok(master) => return Ok(Some(master)),
                Err(e) => last = DialError::because(&format!("sentinel {host}:{port}"), e),
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, host: &str, port: u16, master: &str) -> Result<Address, DialError> {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(master);
        // Sentinels without a password refuse one, and those with one have the servers', of that user or of nobody.
        let mut infos = vec![RedisConnectionInfo::default().set_skip_set_lib_name()];
        if self.settings.password().is_some() {
            infos.extend([self.info(0), self.info(0).set_username("default")]);
        }
        let mut last = DialError("it does not answer".to_owned());
        for info in infos {
            let stream = self.connect(host, port).await?;
            let (mut connection, _driver) = match self.greeted(&info, stream).await {
                Ok(greeted) => greeted,
                Err(e) => {
                    last = e;
                    continue;
                }
            };
            let asked: Result<Option<Address>, _> = ask.query_async(&mut connection).await;
            match asked {
                Ok(master_at) => {
                    return master_at.ok_or_else(|| DialError(format!("it knows no master `{master}`")));
                }
                Err(e) => {
                    let no_sentinel = e.detail().is_some_and(|detail| detail.contains("unknown command"));
                    let hint = if no_sentinel { "; this is no sentinel" } else { "" };
                    last = DialError(format!("{}{hint}", refusal(&e)));
                    if e.code() != Some("NOAUTH") {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, DialError> {
        let limit = CONNECTING.max(self.settings.timeout);
        let end = Instant::now() + limit;
        let late = |what: &str, hint: &str| {
            DialError(format!("no {what} within {}{hint}", humantime::format_duration(limit)))
        };
        let tcp = timeout_at(end, tcp(host, port)).await.map_err(|_| late("connection", ""))??;
        let _ = tcp.set_nodelay(true);
        let Some(client) = &self.tls else { return Ok(Box::new(tcp)) };
        let name =
            ServerName::try_from(host.to_owned()).map_err(|e| DialError::because("the name for TLS", e))?;
        // A Redis that does not speak TLS waits for the rest of what it takes for a command.
        let shaken = timeout_at(end, TlsConnector::from(Arc::clone(client)).connect(name, tcp))
            .await
            .map_err(|_| late("answer to TLS", tls::NO_TLS))?;
        Ok(Box::new(shaken.map_err(|e| DialError::because("TLS", tls::refusal(&e)))?))
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let name = host.to_owned();
    let looked_up = beside(CONNECTING, move || {
        (name.as_str(), port).to_socket_addrs().map(|found| found.take(4).collect::<Vec<SocketAddr>>())
    });
    let looked_up = looked_up.await.map_err(|e| DialError::because("looking the name up", e))?;
    let addresses = looked_up.map_err(|e| DialError::because("looking the name up", e))?;
    let mut last = DialError("its name has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = DialError(e.to_string()),
        }
    }
    Err(last)
}

/// Drives a connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Driver(tokio::task::JoinHandle<()>);

impl Driver {
    /// Waits until the other side has ended the connection.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.0).await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the store said, in one line, with what to do about it where that is known.
pub(super) fn refusal(error: &RedisError) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    // The crate keeps the kind of this one alone.
    if error.kind() == ErrorKind::AuthenticationFailed {
        return "it refuses the user or the password (AUTH); correct `store.user` and `store.password`, or those in \
                `store.url`"
            .to_owned();
    }
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    let said: String = said.replace(char::is_control, " ").chars().take(200).collect();
    match error.code() {
        Some("NOAUTH") => format!("{said}; give `store.password`"),
        Some("NOPERM") => format!("{said}; allow `store.user` what docs/replicas.md lists"),
        _ if said.starts_with("received fatal alert") => format!("TLS: {said}{}", tls::OUR_CERTIFICATE),
        _ => said,
    }
}
