//! Asks a proxy for a connection to an API host: what crosses the wire before TLS, or before HTTP where it is plain.
//!
//! A file for each protocol. What is read has a limit; the caller of [`open`] limits the time. No error holds a text
//! that the proxy chose, nor user name and password.

mod connect;
mod socks5;

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use super::outbound_proxy::{OutboundProxy, ProxyProtocol};

/// Why a proxy that was reached gave no connection; the text follows "the proxy …: ".
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// It wants other credentials, or some.
    #[error("{0}")]
    Credentials(&'static str),
    /// It does not connect to this host.
    #[error("it refuses the connection: {0}")]
    Refused(String),
    /// Its answer is none of this protocol.
    #[error("{0}")]
    Strange(&'static str),
    /// The connection to it broke.
    #[error("it closed the connection instead of an answer: {0}")]
    Broken(#[from] io::Error),
}

/// Where a tunnel shall lead: a name or an address without brackets, and a port.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The name or address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}

/// Makes a connection to the proxy one to the target. Exactly the proxy's answer has been read then.
///
/// # Errors
/// Why there is none; the connection to the proxy is of no more use.
pub async fn open(
    proxy: &OutboundProxy,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    target: Target<'_>,
) -> Result<(), TunnelError> {
    let credentials = proxy.credentials.as_ref();
    match proxy.protocol {
        ProxyProtocol::Http => connect::open(stream, target, credentials).await,
        ProxyProtocol::Socks5 => socks5::open(stream, target, credentials).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::upstream::outbound_proxy::ProxyCredentials;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// What comes of a tunnel through a proxy that answers with these bytes, one after the other, each after it has
    /// read so many; and what it read.
    pub(super) async fn outcome(
        protocol: ProxyProtocol,
        credentials: Option<(&str, &str)>,
        target: Target<'_>,
        script: &[(usize, &[u8])],
    ) -> (Result<(), String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Vec<(usize, Vec<u8>)> = script.iter().map(|(n, bytes)| (*n, bytes.to_vec())).collect();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            for (length, bytes) in script {
                let mut part = vec![0; length];
                stream.read_exact(&mut part).await.unwrap();
                seen.extend(part);
                // One byte at a time: answers come in pieces. An error is a client that has heard enough.
                for byte in bytes {
                    let _ = stream.write_all(&[byte]).await;
                }
            }
            // What was not read would end the connection with a reset.
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
            seen
        });
        let secret = |text: &str| Secret::new(text.to_owned());
        let credentials = credentials
            .map(|(user, password)| ProxyCredentials { user: secret(user), password: secret(password) });
        let proxy =
            OutboundProxy { protocol, host: "127.0.0.1".to_owned(), port: address.port(), credentials };
        let mut stream = TcpStream::connect(address).await.unwrap();
        let outcome = open(&proxy, &mut stream, target).await.map_err(|error| error.to_string());
        drop(stream);
        (outcome, served.await.unwrap())
    }

    #[test]
    fn a_proxy_shows_neither_user_nor_password() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let credentials = Some(ProxyCredentials { user: secret("alice"), password: secret("hunter2") });
        let (protocol, host) = (ProxyProtocol::Socks5, "2001:db8::1".to_owned());
        let proxy = OutboundProxy { protocol, host, port: 1080, credentials };
        assert_eq!(proxy.to_string(), "socks5h://[2001:db8::1]:1080");
        let debug = format!("{proxy:?}");
        assert!(!debug.contains("alice") && !debug.contains("hunter2"), "{debug}");
    }
}
