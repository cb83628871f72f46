//! A client that writes bytes and reads one response: what was sent and what came is seen unchanged.
//!
//! It trusts `certs/ca.pem` alone. It does not follow, retry, pool or decompress.

#![allow(clippy::unwrap_used, reason = "in a test, also in its helpers, a panic is how a failure is said")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// A response with the header names as they were spelled, in their order.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header with exactly this spelling.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The top-level errcode; 0 when there is none.
    pub(crate) fn errcode(&self) -> i64 {
        self.json()["errcode"].as_i64().unwrap_or_default()
    }
}

/// One connection, plain or TLS.
pub(crate) struct Connection(Box<dyn Stream>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection {
    pub(crate) async fn plain(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap())
    }

    /// Plain HTTP over a connection that the test has made itself.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self(Box::new(stream))
    }

    pub(crate) async fn tls(addr: SocketAddr) -> Self {
        Self::tls_as(addr, "localhost", client_config()).await.unwrap()
    }

    /// TLS with a server name and configuration of the test's own: resumption, a wrong name.
    pub(crate) async fn tls_as(
        addr: SocketAddr,
        name: &str,
        config: Arc<ClientConfig>,
    ) -> std::io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tcp = TcpStream::connect(addr).await?;
        Ok(Self(Box::new(TlsConnector::from(config).connect(name, tcp).await?)))
    }

    /// Writes the bytes and reads one response; an error is a connection that ended before it was whole.
    pub(crate) async fn send(&mut self, request: &[u8]) -> std::io::Result<Response> {
        self.0.write_all(request).await?;
        self.0.flush().await?;
        self.read(request.starts_with(b"HEAD ")).await
    }

    /// Writes the bytes and reads everything that comes.
    pub(crate) async fn send_all(&mut self, requests: &[u8]) -> std::io::Result<Vec<u8>> {
        self.0.write_all(requests).await?;
        self.0.flush().await?;
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    async fn read(&mut self, head_only: bool) -> std::io::Result<Response> {
        let mut bytes = Vec::new();
        let (mut response, length) = loop {
            if self.0.read_buf(&mut bytes).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(length) = head.parse(&bytes).unwrap() {
                let text = |header: &httparse::Header<'_>| {
                    (header.name.to_owned(), String::from_utf8(header.value.to_vec()).unwrap())
                };
                let headers = head.headers.iter().map(text).collect();
                break (Response { status: head.code.unwrap(), headers, body: Vec::new() }, length);
            }
        };
        response.body = bytes.split_off(length);
        let length = response.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        match length.map(|(_, value)| value.parse::<usize>().unwrap()) {
            _ if head_only => {}
            Some(length) => {
                while response.body.len() < length {
                    if self.0.read_buf(&mut response.body).await? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                assert_eq!(response.body.len(), length, "bytes after the response");
            }
            None => _ = self.0.read_to_end(&mut response.body).await?,
        }
        Ok(response)
    }
}

/// Trusts `certs/ca.pem` alone and remembers sessions.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    let ca = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/ca.pem");
    client_config_with(CertificateDer::from_pem_file(ca).unwrap())
}

/// Trusts this certificate alone and remembers sessions.
pub(crate) fn client_config_with(root: CertificateDer<'_>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.into_owned()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The bytes of a request; a body brings its `Content-Length`.
pub(crate) fn request(method: &str, target: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers {
        text += header;
        text += "\r\n";
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}
