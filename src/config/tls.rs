//! Reads `[tls]`, the HTTPS listener for callers, and tries its certificates, so that a wrong one is reported with
//! line and key before anything starts.

use super::table::Table;
use super::{Tls, file, pem};
use crate::tls::{ServerPem, server_config};

/// The table, if the file has it and it is right.
pub(super) fn read(top: &Table<'_>) -> Option<Tls> {
    let mut table = top.table("tls")?;
    let listen = table.required("listen", file::listen);
    let cert = table.required("cert", pem::read);
    let key = table.required("key", pem::read_key);
    let client_ca = table.optional("client_ca", |value| Some(pem::read(value)));
    table.finish();
    let (listen, cert, key) = (listen?, cert?, key?);
    let client_ca = client_ca.map_or(Some(None), |pem| pem.map(Some))?;
    let tls = Tls { listen, pem: ServerPem { cert, key, client_ca } };
    if let Err(error) = server_config(&tls.pem) {
        let key = error.key();
        table.problem(key, error.to_string());
    }
    Some(tls)
}
