//! Whom wxgate trusts on the way to the API host.
//!
//! Always the system's roots, plus the file named by `upstream.ca`. There is no switch that turns
//! verification off, here or elsewhere.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why no TLS client could be made; the text says what to do.
#[derive(Debug)]
pub struct TrustError(pub String);

impl std::fmt::Display for TrustError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TrustError {}

/// The trust roots and where they come from.
#[derive(Debug)]
pub struct Trust {
    /// All of them.
    pub roots: RootCertStore,
    /// How many the system gave.
    pub system: usize,
    /// How many the file of `upstream.ca` gave.
    pub file: usize,
}

/// Reads the system's trust roots and those of `upstream.ca`.
///
/// # Errors
/// When `ca` cannot be read or holds no certificate, or when there is no trust root at all.
pub fn trust(ca: Option<&Path>) -> Result<Trust, TrustError> {
    let mut roots = RootCertStore::empty();
    let (system, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut file = 0;
    if let Some(path) = ca {
        let shown = path.display();
        let certs = CertificateDer::pem_file_iter(path)
            .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
            .map_err(|e| TrustError(format!("upstream.ca: cannot read `{shown}` as PEM: {e}")))?;
        if certs.is_empty() {
            return Err(TrustError(format!("upstream.ca: `{shown}` holds no certificate")));
        }
        file = certs.len();
        for cert in certs {
            roots.add(cert).map_err(|e| {
                TrustError(format!("upstream.ca: a certificate in `{shown}` is unusable: {e}"))
            })?;
        }
    }
    if roots.is_empty() {
        return Err(TrustError(
            "no trust roots: install the system's CA certificates (Debian: `apt-get install ca-certificates`) or set upstream.ca"
                .to_owned(),
        ));
    }
    Ok(Trust { roots, system, file })
}

/// One client configuration for forwarded calls and token calls alike: session resumption is shared.
///
/// # Errors
/// See [`trust`].
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    client_config_trusting(trust(ca)?.roots)
}

/// The same with trust roots that have been read already.
///
/// # Errors
/// When the TLS library offers no protocol version.
pub fn client_config_trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| TrustError(format!("TLS versions: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
