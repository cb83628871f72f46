//! Reads `[upstream]`: where the API is and how to get there.
//!
//! Names are not looked up and nothing is connected to; that is what `wxgate check` does.

use http::header::{self, HeaderName};

use super::parse::address;
use super::table::Table;
use super::value::Value;
use super::{Upstream, pem};
use crate::tls::Pem;
use crate::upstream::BaseUrl;

pub(super) fn read(mut table: Table<'_>) -> Upstream {
    let upstream = Upstream {
        url: table.key("url", url),
        egress_ip: table.optional("egress_ip", |v| v.parsed(address::IP_WANTED, address::egress_ip)),
        ca: table.optional("ca", ca),
        connect_timeout: table.key("connect_timeout", Value::time),
        response_timeout: table.key("response_timeout", Value::time),
        max_connections: table.key("max_connections", Value::count),
        strip: table.key("strip", strip),
        warm_connections: table.key("warm_connections", Value::count),
    };
    table.finish();
    upstream
}

/// The URL of an API host; a text that may hold a password is not shown.
pub(super) fn url(value: &Value<'_>) -> Option<BaseUrl> {
    let hidden = value.secret();
    let value = match value.toml().as_str() {
        Some(text) if address::url_may_be_shown(text) => value,
        _ => &hidden,
    };
    value.parsed(address::URL_WANTED, address::upstream_url)
}

/// Names of fields; one without which there is no request is a slip.
fn strip(value: &Value<'_>) -> Option<Vec<HeaderName>> {
    const WANTED: &str = r#"the name of a header in quotes, like "traceparent""#;
    const NEEDED: [HeaderName; 5] = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
    ];
    value.list(r#"an array of header names like ["traceparent", "tracestate"]"#, |v| {
        v.parsed(WANTED, |text| match text.parse::<HeaderName>() {
            Ok(name) if NEEDED.contains(&name) => Err("a header that a request can do without".to_owned()),
            Ok(name) => Ok(name),
            Err(_) => Err(WANTED.to_owned()),
        })
    })
}

/// Further trust roots; whether each of them is usable is seen when the TLS client is made.
fn ca(value: &Value<'_>) -> Option<Pem> {
    let pem = pem::read(value)?;
    match pem.certificates() {
        Ok(_) => Some(pem),
        Err(error) => value.say(error.to_string()),
    }
}
