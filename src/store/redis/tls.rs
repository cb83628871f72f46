//! The TLS client of the store: its trust roots, what wxgate shows, and what a failure means.

use rustls::{ClientConfig, RootCertStore};

use super::RedisSettings;
use super::dial::DialError;

/// With TLS 1.3 this is heard only after the handshake.
pub(super) const OUR_CERTIFICATE: &str =
    "; it wants a client certificate of a CA that it trusts: `store.cert` and `store.key`";

pub(super) const PERHAPS_OUR_CERTIFICATE: &str =
    "; so ends a connection to a store that wants a client certificate: `store.cert` and `store.key`";

pub(super) const NO_TLS: &str = "; a port that does not speak TLS wants `redis://`";

/// Why TLS failed, with what to do about it.
pub(super) fn refusal(error: &std::io::Error) -> String {
    use rustls::{CertificateError as Certificate, Error};
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let advice = match cause {
        Some(Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature)) => {
            "; give its CA's certificate in `store.ca`"
        }
        Some(Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => "; connect by a name or an address that its certificate has",
        Some(Error::InvalidMessage(_)) => NO_TLS,
        Some(Error::AlertReceived(_)) => OUR_CERTIFICATE,
        _ => "",
    };
    format!("{error}{advice}")
}

/// The TLS client for these settings, which trusts these roots and `ca`.
///
/// # Errors
/// What is unusable.
pub(super) fn client(settings: &RedisSettings, mut roots: RootCertStore) -> Result<ClientConfig, DialError> {
    if let Some(ca) = &settings.ca {
        ca.add_to(&mut roots).map_err(|e| DialError::because("store.ca", e))?;
    }
    let builder = crate::tls::client(roots).map_err(|e| DialError::because("TLS versions", e))?;
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
