//! The trust roots for API hosts, and the TLS client made of them.
//!
//! Always the system's roots, plus the file named by `upstream.ca`. There is no switch that turns
//! verification off, here or elsewhere.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use crate::tls::{self, Pem};

/// Why no TLS client could be made; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(pub String);

/// The trust roots, and one client for forwarded calls and token calls alike: they share session resumption.
///
/// Equal where the roots are the same, wherever they came from.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    client: Arc<ClientConfig>,
    system: usize,
    file: usize,
}

impl Trust {
    /// Reads the system's trust roots, and adds those of `upstream.ca`. It blocks for as long as the system's files
    /// take.
    ///
    /// # Errors
    /// When `ca` holds no usable certificate, or when there is no trust root at all.
    pub fn load(ca: Option<&Pem>) -> Result<Self, TrustError> {
        let mut roots = tls::system_roots();
        let system = roots.len();
        let file = ca.map_or(Ok(0), |pem| pem.add_to(&mut roots));
        let file = file.map_err(|e| TrustError(format!("upstream.ca: {e}")))?;
        if roots.is_empty() {
            return Err(TrustError(
                "no trust roots: install the system's CA certificates (Debian: `apt-get install ca-certificates`) or set upstream.ca"
                    .to_owned(),
            ));
        }
        let roots = Arc::new(roots);
        let client = tls::client(Arc::clone(&roots)).map_err(|e| TrustError(format!("TLS versions: {e}")))?;
        Ok(Self { roots, client: Arc::new(client.with_no_client_auth()), system, file })
    }

    /// How many roots the system gave.
    pub fn system(&self) -> usize {
        self.system
    }

    /// How many roots `upstream.ca` gave.
    pub fn file(&self) -> usize {
        self.file
    }

    /// The TLS client that trusts these roots.
    pub fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }
}

impl PartialEq for Trust {
    fn eq(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }
}
