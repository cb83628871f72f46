//! TLS for callers: certificates, ALPN, client certificates.
//!
//! HTTP/1.1 and HTTP/2 are offered; sessions are resumed with tickets. Those of an older configuration are worth
//! nothing after a reload, so that a changed `client_ca` cannot be passed by with one. Knows nothing of requests.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::config::Tls;

/// Which of the files is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError {
    /// The key under `[tls]`.
    pub key: &'static str,
    /// What is wrong, in words that follow the key.
    pub words: String,
}

/// Reads the files and makes the configuration that all HTTPS listeners share.
///
/// # Errors
/// When a file cannot be read, holds nothing of its kind, or certificate and key do not belong together.
pub fn server_config(tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates("cert", &tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|e| wrong("key", format!("cannot read `{}` as a PEM key: {e}", tls.key.display())))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("cert", e.to_string()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("client_ca", path)? {
                roots.add(certificate).map_err(|e| {
                    wrong("client_ca", format!("a certificate in `{}` is unusable: {e}", path.display()))
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| wrong("client_ca", e.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|e| {
        wrong("cert", format!("`{}` and the key cannot be used together: {e}", tls.cert.display()))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| wrong("cert", e.to_string()))?;
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let shown = path.display();
    let found = CertificateDer::pem_file_iter(path)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|e| wrong(key, format!("cannot read `{shown}` as PEM: {e}")))?;
    match found.is_empty() {
        true => Err(wrong(key, format!("`{shown}` holds no certificate"))),
        false => Ok(found),
    }
}

fn wrong(key: &'static str, words: String) -> TlsError {
    TlsError { key, words }
}
