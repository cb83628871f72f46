//! Reads `[upstream]`: where the API is and how to get there.
//!
//! Names are not looked up and nothing is connected to; that is what `wxgate check` does.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::table::Table;
use super::value::Value;
use super::{DAY, MILLISECOND, Upstream, credential, parse};

/// The API host unless the configuration says otherwise.
const DEFAULT_HOST: &str = "api.weixin.qq.com";

pub(super) fn read(mut table: Table<'_>) -> Upstream {
    let default = parse::ApiHost { tls: true, host: DEFAULT_HOST.to_owned(), port: 443 };
    let api = table.key("url", default, url);
    let upstream = Upstream {
        tls: api.tls,
        host: api.host,
        port: api.port,
        egress_ip: table.key("egress_ip", None, |v| v.parsed(parse::IP_WANTED, parse::egress_ip).map(Some)),
        ca: table.key("ca", None, |v| ca(v).map(Some)),
        connect_timeout: table.key("connect_timeout", Duration::from_secs(3), |v| v.time(MILLISECOND..=DAY)),
        response_timeout: table
            .key("response_timeout", Duration::from_secs(30), |v| v.time(MILLISECOND..=DAY)),
        warm_connections: table.key("warm_connections", 2, |v| v.count(0..=1000)),
    };
    table.later("fallbacks", |value| value.as_array().is_some_and(|hosts| hosts.is_empty()));
    table.finish();
    upstream
}

fn url(value: &Value<'_>) -> Option<parse::ApiHost> {
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
