//! Certificates and keys: PEM as it was read, the TLS configuration of listeners made of it, and the beginning of that of
//! clients.
//!
//! Nothing here reads a file but [`system_roots`], so that building a configuration never blocks. Knows neither sockets
//! nor requests.

use std::fmt;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

/// PEM text, and what it is called in messages. Wiped when dropped: it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    name: String,
    text: Zeroizing<Vec<u8>>,
}

/// Why PEM text is unusable. No variant shows any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The text is malformed.
    #[error("`{0}` is no PEM: {1}")]
    Malformed(String, &'static str),
    /// It is PEM of something else.
    #[error("`{0}` holds no certificate")]
    NoCertificate(String),
    /// It is PEM of something else.
    #[error("`{0}` holds no private key (want a section PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY)")]
    NoKey(String),
    /// It is PEM of a certificate, which nothing can be verified with.
    #[error("a certificate in `{0}` is unusable: {1}")]
    Unusable(String, String),
}

impl Pem {
    /// `name` is the path of the file, or what else the text came from.
    pub fn new(name: String, text: Zeroizing<Vec<u8>>) -> Self {
        Self { name, text }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All certificates, at least one.
    ///
    /// # Errors
    /// When the text is malformed or holds no certificate.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, PemError> {
        let found = CertificateDer::pem_slice_iter(&self.text).collect::<Result<Vec<_>, _>>();
        let found = found.map_err(|error| self.malformed(&error))?;
        if found.is_empty() { Err(PemError::NoCertificate(self.name.clone())) } else { Ok(found) }
    }

    /// Adds all certificates, at least one, to trust roots; how many there are.
    ///
    /// # Errors
    /// When the text is malformed, or holds no certificate or one that is unusable.
    pub fn add_to(&self, roots: &mut RootCertStore) -> Result<usize, PemError> {
        let certificates = self.certificates()?;
        let count = certificates.len();
        for certificate in certificates {
            roots.add(certificate).map_err(|e| PemError::Unusable(self.name.clone(), e.to_string()))?;
        }
        Ok(count)
    }

    /// The first private key.
    ///
    /// # Errors
    /// When the text is malformed or holds no key.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| match error {
            pem::Error::NoItemsFound => PemError::NoKey(self.name.clone()),
            error => self.malformed(&error),
        })
    }

    fn malformed(&self, error: &pem::Error) -> PemError {
        // The crate's own words quote lines of the text.
        let words = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no END line (did the line ends get lost?)",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line does not end in `-----`",
            pem::Error::Base64Decode(_) => "a section is not base64",
            pem::Error::NoItemsFound => "it holds nothing",
            _ => "it cannot be read",
        };
        PemError::Malformed(self.name.clone(), words)
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pem").field(&self.name).finish()
    }
}

/// The system's trust roots. They stand in some hundred files: it blocks for as long as these take.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A TLS client that trusts these roots, but for what it shows of itself. Nothing turns its verification off.
///
/// # Errors
/// When the cryptography that is built in has no version of TLS.
pub fn client(
    roots: impl Into<Arc<RootCertStore>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}

/// What HTTPS listeners show, and whom they ask for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPem {
    /// The chain, the server's own certificate first.
    pub cert: Pem,
    /// Its key.
    pub key: Pem,
    /// Callers must show a certificate signed by one of these.
    pub client_ca: Option<Pem>,
}

/// Which part is wrong, and how; each variant is a key under `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerTlsError {
    /// `cert`, or `cert` with `key`.
    #[error("{0}")]
    Cert(String),
    /// `key`.
    #[error("{0}")]
    Key(String),
    /// `client_ca`.
    #[error("{0}")]
    ClientCa(String),
}

impl ServerTlsError {
    /// The key under `[tls]` that has to be mended.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Cert(_) => "cert",
            Self::Key(_) => "key",
            Self::ClientCa(_) => "client_ca",
        }
    }
}

/// The configuration that all HTTPS listeners share: HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3, resumption by tickets.
///
/// Tickets of an earlier configuration are worth nothing, so that a changed `client_ca` cannot be passed by with one.
///
/// # Errors
/// When PEM is malformed or holds nothing of its kind, or certificate and key do not belong together.
pub fn server_config(pem: &ServerPem) -> Result<Arc<ServerConfig>, ServerTlsError> {
    let cert = |error: &dyn fmt::Display| ServerTlsError::Cert(error.to_string());
    let chain = pem.cert.certificates().map_err(|e| cert(&e))?;
    let key = pem.key.private_key().map_err(|e| ServerTlsError::Key(e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| cert(&e))?;
    let builder = match &pem.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let client_ca = |error: &dyn fmt::Display| ServerTlsError::ClientCa(error.to_string());
            let mut roots = RootCertStore::empty();
            ca.add_to(&mut roots).map_err(|e| client_ca(&e))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| client_ca(&e))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| {
        cert(&format_args!("`{}` and `{}` cannot be used together: {e}", pem.cert.name(), pem.key.name()))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| cert(&e))?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERT: &str = include_str!("../certs/server.pem");
    const KEY: &str = include_str!("../certs/server.key");

    fn pem(name: &str, text: &str) -> Pem {
        Pem::new(name.to_owned(), Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn what_is_wrong_is_named_by_its_key_and_never_quoted() {
        let one_line = KEY.replace('\n', "");
        let cut: String = KEY.lines().take(2).map(|line| format!("{line}\n")).collect();
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (cert, key, wrong, words) in [
            (CERT, KEY, "", ""),
            ("", KEY, "cert", "`c` holds no certificate"),
            (KEY, KEY, "cert", "`c` holds no certificate"),
            (CERT, "", "key", "`k` holds no private key"),
            (CERT, CERT, "key", "`k` holds no private key"),
            (CERT, &one_line, "key", "did the line ends get lost?"),
            (CERT, &cut, "key", "no END line"),
            (CERT, &other, "cert", "`c` and `k` cannot be used together"),
        ] {
            let pem = ServerPem { cert: pem("c", cert), key: pem("k", key), client_ca: None };
            match server_config(&pem) {
                Ok(_) => assert_eq!(wrong, "", "{words}"),
                Err(error) => {
                    let said = error.to_string();
                    assert_eq!(error.key(), wrong, "{said}");
                    assert!(said.contains(words), "{said}");
                    let secret = KEY.lines().nth(1).unwrap();
                    assert!(
                        !said.contains(&secret[..8]) && !format!("{error:?}{pem:?}").contains(&secret[..8])
                    );
                }
            }
        }
        let client_ca = Some(pem("a", KEY));
        let error =
            server_config(&ServerPem { cert: pem("c", CERT), key: pem("k", KEY), client_ca }).unwrap_err();
        assert_eq!((error.key(), error.to_string().as_str()), ("client_ca", "`a` holds no certificate"));
    }
}
