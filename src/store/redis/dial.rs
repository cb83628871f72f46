//! One connection to the store: name, TCP, TLS, greeting. Asks the sentinels where there are some.
//!
//! Of the `redis` crate's connections none is used that reconnects by itself: its manager keeps a demoted master, and
//! gives up where a password was changed. TLS is made here, so that both connections have the same.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::RedisSettings;
use crate::beside::{READING, beside};

/// For name, TCP and TLS together; the greeting is a command.
const CONNECTING: Duration = Duration::from_secs(1);

/// Why there is no connection, in words for an operator, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct DialError(pub(super) String);

impl DialError {
    fn because(doing: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{doing}: {why}"))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Dialer {
    settings: RedisSettings,
    tls: Option<TlsConnector2>,
}

/// A connector, which has no `Debug`.
struct TlsConnector2(TlsConnector);

impl std::fmt::Debug for TlsConnector2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConnector")
    }
}

impl Dialer {
    /// Reads the system's trust roots where TLS is asked for.
    ///
    /// # Errors
    /// When `ca`, `cert` or `key` are unusable, or there is no trust root.
    pub(super) async fn new(settings: RedisSettings) -> Result<Self, DialError> {
        let tls = match settings.url.tls {
            true => {
                let of = settings.clone();
                let made = beside(READING, move || tls(&of)).await;
                let made = made.map_err(|e| DialError::because("reading the system's trust roots", e))??;
                Some(TlsConnector2(TlsConnector::from(Arc::new(made))))
            }
            false => None,
        };
        Ok(Self { settings, tls })
    }

    /// A connection for commands, each of which has its time limit.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn commands(&self) -> Result<(MultiplexedConnection, Driver), DialError> {
        let stream = self.stream().await?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.settings.timeout));
        let info = self.info(self.settings.url.database);
        let greeting = MultiplexedConnection::new_with_config(&info, stream, config);
        let (connection, driver) = self.in_time(greeting).await?;
        Ok((connection, Driver(tokio::spawn(driver))))
    }

    /// A connection for messages.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn messages(&self) -> Result<PubSub, DialError> {
        let stream = self.stream().await?;
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
            Ok(Err(e)) => Err(DialError(refusal(&e))),
            Err(_) => Err(DialError(format!(
                "it accepts connections and does not answer within {}",
                humantime::format_duration(self.settings.timeout)
            ))),
        }
    }

    async fn stream(&self) -> Result<Box<dyn Stream>, DialError> {
        let url = &self.settings.url;
        let Some(master) = &url.master else {
            let (host, port) = &url.hosts[0];
            return self.connect(host, *port).await;
        };
        let mut last = DialError("no sentinel answers".to_owned());
        for (host, port) in &url.hosts {
            match self.ask_sentinel(host, *port, master).await {
                Ok((host, port)) => return self.connect(&host, port).await,
                Err(e) => last = DialError::because(&format!("sentinel {host}:{port}"), e),
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, host: &str, port: u16, master: &str) -> Result<(String, u16), DialError> {
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(master);
        // Sentinels without a password refuse one, and those with one have the servers'.
        let mut answer = Err(DialError("it does not answer".to_owned()));
        for info in [RedisConnectionInfo::default().set_skip_set_lib_name(), self.info(0)] {
            let stream = self.connect(host, port).await?;
            let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.settings.timeout));
            let greeting = MultiplexedConnection::new_with_config(&info, stream, config);
            let (mut connection, driver) = self.in_time(greeting).await?;
            let _driver = Driver(tokio::spawn(driver));
            let asked: Result<Option<(String, u16)>, _> = ask.query_async(&mut connection).await;
            answer = asked.map_err(|e| DialError(refusal(&e)));
            if answer.is_ok() {
                break;
            }
        }
        answer?.ok_or_else(|| DialError(format!("it knows no master `{master}`")))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, DialError> {
        let connecting = async {
            let tcp = tcp(host, port).await?;
            let _ = tcp.set_nodelay(true);
            let Some(TlsConnector2(tls)) = &self.tls else { return Ok(Box::new(tcp) as Box<dyn Stream>) };
            let name = ServerName::try_from(host.to_owned())
                .map_err(|e| DialError::because("the name for TLS", e))?;
            let stream = tls.connect(name, tcp).await.map_err(|e| DialError::because("TLS", e))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        };
        let late = || DialError(format!("no connection within {}", humantime::format_duration(CONNECTING)));
        tokio::time::timeout(CONNECTING, connecting).await.map_err(|_| late())?
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

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The TLS client for these settings.
///
/// # Errors
/// What is unusable.
pub(super) fn tls(settings: &RedisSettings) -> Result<ClientConfig, DialError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = &settings.ca {
        for cert in ca.certificates().map_err(|e| DialError::because("store.ca", e))? {
            roots.add(cert).map_err(|e| DialError::because("store.ca", e))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DialError::because("TLS versions", e))?
        .with_root_certificates(roots);
    match &settings.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let chain = cert.certificates().map_err(|e| DialError::because("store.cert", e))?;
            let key = key.private_key().map_err(|e| DialError::because("store.key", e))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| DialError::because("store.cert with store.key", e))
        }
    }
}

/// What the store said, in one line.
pub(super) fn refusal(error: &RedisError) -> String {
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    let said: String = said.replace(char::is_control, " ").chars().take(200).collect();
    if error.is_timeout() { "it does not answer in time".to_owned() } else { said }
}
