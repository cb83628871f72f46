//! Reads `[upstream]`: where the API is and how to get there.
//!
//! Names are not looked up and nothing is connected to; that is what `wxgate check` does.

use std::fs::File;
use std::path::PathBuf;

use super::table::Table;
use super::value::Value;
use super::{Upstream, credential, parse};
use crate::upstream::BaseUrl;

pub(super) fn read(mut table: Table<'_>) -> Upstream {
    let upstream = Upstream {
        url: table.key("url", url),
        egress_ip: table.optional("egress_ip", |v| v.parsed(parse::IP_WANTED, parse::egress_ip)),
        ca: table.optional("ca", ca),
        connect_timeout: table.key("connect_timeout", Value::time),
        response_timeout: table.key("response_timeout", Value::time),
        warm_connections: table.key("warm_connections", Value::count),
    };
    table.finish();
    upstream
}

/// The URL of an API host; a text that may hold a password is not shown.
pub(super) fn url(value: &Value<'_>) -> Option<BaseUrl> {
    let hidden = value.secret();
    let value = match value.toml().as_str() {
        Some(text) if parse::url_may_be_shown(text) => value,
        _ => &hidden,
    };
    value.parsed(parse::URL_WANTED, parse::upstream_url)
}

/// Whether the file holds certificates is seen when the TLS client is made; here it must be there at all.
fn ca(value: &Value<'_>) -> Option<PathBuf> {
    let path = value.path()?;
    let opened = File::open(&path).and_then(|file| file.metadata());
    match opened {
        Ok(meta) if !meta.is_dir() => Some(path),
        Ok(_) => value.wrong("a PEM file; this is a folder"),
        Err(e) => value.wrong(format!(
            "a PEM file that can be read: {}: {}",
            path.display(),
            credential::reason(&e)
        )),
    }
}
