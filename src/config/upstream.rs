//! Reads `[upstream]`: where the API is and how to get there.
//!
//! Names are not looked up and nothing is connected to; that is what `wxgate check` does.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{self, HeaderName};
use rustls::RootCertStore;

use super::parse::{address, proxy_url};
use super::table::Table;
use super::value::Value;
use super::{Account, pem, secret};
use crate::tls::Pem;
use crate::upstream::tls::Trust;
use crate::upstream::{BaseUrl, Endpoint, OutboundProxy, Settings};

/// The WeChat API host and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Of the accounts that name no other; `http` for loopback alone.
    pub url: BaseUrl,
    /// The local address that every outbound connection leaves from; `None`: the system chooses.
    pub egress_ip: Option<IpAddr>,
    /// Further trust roots.
    pub ca: Option<Pem>,
    /// Time for DNS, TCP, the proxy and TLS together.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the response.
    pub response_timeout: Duration,
    /// Connections to one API host at one moment.
    pub max_connections: usize,
    /// Further hosts of the API at `url`.
    pub fallbacks: Vec<BaseUrl>,
    /// What every connection goes through.
    pub proxy: Option<OutboundProxy>,
    /// Fields of callers that are not passed on.
    pub strip: Vec<HeaderName>,
    /// Idle connections kept ready.
    pub warm_connections: usize,
}

impl Upstream {
    /// The hosts of an account, the first one first. `fallbacks` stand in for `url`, and for no other host.
    pub fn bases<'a>(&'a self, account: &'a Account) -> impl Iterator<Item = &'a BaseUrl> {
        let fallbacks = if account.upstream == self.url { &*self.fallbacks } else { &[] };
        std::iter::once(&account.upstream).chain(fallbacks)
    }

    /// The endpoint of an account, and those to fall back to.
    pub fn endpoints(&self, account: &Account, trust: &Trust) -> (Endpoint, Vec<Endpoint>) {
        let endpoint = |base: &BaseUrl| Endpoint {
            base: base.clone(),
            egress: self.egress_ip,
            proxy: self.proxy.clone(),
            trust: trust.clone(),
        };
        (endpoint(&account.upstream), self.bases(account).skip(1).map(endpoint).collect())
    }

    /// What holds for every endpoint; `workers` share what is kept ready.
    pub fn settings(&self, workers: usize) -> Settings {
        Settings {
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
            max_connections: self.max_connections,
            warm_connections: self.warm_connections.div_ceil(workers),
        }
    }
}

pub(super) fn read(mut table: Table<'_>) -> Upstream {
    let first = table.key("url", url);
    let upstream = Upstream {
        fallbacks: table.key("fallbacks", |v| fallbacks(v, &first)),
        proxy: table.optional("proxy", proxy),
        url: first,
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

/// Each host once.
fn fallbacks(value: &Value<'_>, first: &BaseUrl) -> Option<Vec<BaseUrl>> {
    let hosts = value.list(r#"an array of URLs like ["https://api2.weixin.qq.com"]"#, url)?;
    let all: Vec<&BaseUrl> = std::iter::once(first).chain(&hosts).collect();
    let twice = all.iter().enumerate().find(|(index, host)| all[..*index].contains(host));
    match twice {
        Some((_, host)) => {
            value.wrong_as(format!("{host} twice"), "other hosts than `url`, each of them once")
        }
        None => Some(hosts),
    }
}

/// The proxy; no message holds anything of its URL.
fn proxy(value: &Value<'_>) -> Option<OutboundProxy> {
    let parsed = match value.toml().as_str() {
        // Without a user it is no secret, and its file may be read by others.
        Some(text) if !text.contains('@') => proxy_url::outbound_proxy(text),
        _ => proxy_url::outbound_proxy(secret::read(value, secret::PROXY_URL)?.expose()),
    };
    match parsed {
        Ok(proxy) => Some(proxy),
        Err(words) => value.secret().say(words),
    }
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

/// Further trust roots, each of them usable.
fn ca(value: &Value<'_>) -> Option<Pem> {
    let pem = pem::read(value)?;
    match pem.add_to(&mut RootCertStore::empty()) {
        Ok(_) => Some(pem),
        Err(error) => value.say(error.to_string()),
    }
}
