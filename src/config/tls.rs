//! Reads `[tls]`, the HTTPS listener for callers, and tries its files, so that a wrong one is said with line
//! and key before anything starts.

use super::table::Table;
use super::value::Value;
use super::{Tls, credential, file};
use crate::listener::tls;

/// What a warning says about a key that others can read.
const EXPOSED: &str = "other users of this machine can read the file with the private key; `chmod 600` it";

/// The table, if the file has it and it is right.
pub(super) fn read(top: &mut Table<'_>) -> Option<Tls> {
    let mut table = top.table("tls")?;
    let listen = table.required("listen", file::listen);
    let cert = table.required("cert", Value::path);
    let key = table.required("key", |value| {
        let path = value.path()?;
        if credential::is_exposed_at(&path, value.report.env()) {
            value.report.warn(value.line(), value.key(), EXPOSED);
        }
        Some(path)
    });
    let client_ca = table.optional("client_ca", |value| Some(value.path()));
    table.finish();
    let tls = Tls {
        listen: listen?,
        cert: cert?,
        key: key?,
        client_ca: client_ca.map_or(Some(None), |path| path.map(Some))?,
    };
    if let Err(error) = tls::server_config(&tls) {
        table.report.problem(table.line_of(error.key), &table.path_of(error.key), None, error.words);
    }
    Some(tls)
}
