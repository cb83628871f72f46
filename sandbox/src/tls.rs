//! The sandbox's certificate and its TLS configuration: TLS 1.2 and 1.3, resumption, no ALPN, so HTTP/1.1.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// The test pair; see `certs/README.md`. Its key is public.
const CERT: &[u8] = include_bytes!("../certs/server.pem");
const KEY: &[u8] = include_bytes!("../certs/server.key");

/// With the files of `--cert` and `--key`, or the built-in pair.
///
/// # Errors
/// In words, with the name of the file.
pub(crate) fn config(files: Option<(&Path, &Path)>) -> Result<Arc<ServerConfig>, String> {
    let (cert, key) = match files {
        Some((cert, key)) => (read(cert)?, read(key)?),
        None => (CERT.to_vec(), KEY.to_vec()),
    };
    let name = |index: usize| match files {
        Some(paths) => format!("`{}`", [paths.0, paths.1][index].display()),
        None => "the built-in certificate".to_owned(),
    };
    let chain = CertificateDer::pem_slice_iter(&cert)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| format!("cannot read {} as PEM: {e}", name(0)))?;
    if chain.is_empty() {
        return Err(format!("{} holds no certificate", name(0)));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|e| format!("cannot read a private key from {}: {e}", name(1)))?;
    let built = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = built.map_err(|e| format!("cannot use {} with {}: {e}", name(0), name(1)))?;
    // Tickets: sessions resume in TLS 1.2 and 1.3 without a cache that many clients would push over.
    config.ticketer =
        aws_lc_rs::Ticketer::new().map_err(|e: rustls::Error| format!("no session tickets: {e}"))?;
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("cannot read `{}`: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_pair_is_usable() {
        assert!(config(None).is_ok());
    }

    #[test]
    fn a_missing_file_is_named() {
        let said = config(Some((Path::new("/nowhere/a.pem"), Path::new("/nowhere/a.key")))).unwrap_err();
        assert!(said.contains("`/nowhere/a.pem`"), "{said}");
    }
}
