//! Reads `[tls]`, the HTTPS listener for callers, and tries its files, so that a wrong one is said with line
//! and key before anything starts.

use std::net::SocketAddr;

use toml::Spanned;
use toml::de::DeTable;

use super::table::Table;
use super::value::Value;
use super::{Tls, credential, file};
use crate::listener::tls;

/// What a warning says about a key that others can read.
const EXPOSED: &str = "other users of this machine can read the file with the private key; `chmod 600` it";

/// The table, if the file has one and it is right.
pub(super) fn read<'r>(top: &mut Table<'r>, empty: &'r Spanned<DeTable<'r>>) -> Option<Tls> {
    let report = top.report;
    if top.given("tls") {
        return read_one(top.table("tls", empty));
    }
    // Read for its key names, so that a `cert` at the top of the file is told where it belongs.
    report.quietly(|| drop(read_one(top.table("tls", empty))));
    None
}

fn read_one(mut table: Table<'_>) -> Option<Tls> {
    let listen: Option<Vec<SocketAddr>> =
        table.required("listen", r#"listen = ["0.0.0.0:8443"]"#, file::listen);
    let cert = table.required("cert", r#"cert = "server.pem", a PEM chain"#, Value::path);
    let key = table.required("key", r#"key = "server.key""#, |value| {
        let path = value.path()?;
        if credential::is_exposed_at(&path, value.report.env) {
            value.report.warn(value.line(), value.key(), EXPOSED);
        }
        Some(path)
    });
    let client_ca = table.value("client_ca").map(|value| value.path());
    table.check_rest();
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
