//! What both directions share about header fields: look-ups, and which fields end at wxgate.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that speak about one connection and go no further (RFC 9110 section 7.6.1), and `Expect`, which
/// wxgate answers itself.
static HOP_BY_HOP: [HeaderName; 11] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    header::EXPECT,
];

/// Whether there is such a field. Most messages have few: a look at each name costs less than a hash of one.
pub(super) fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|known| known == name)
}

/// All lines of a field, which is mostly not there.
pub(super) fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h HeaderValue> {
    has(headers, name).then(|| headers.get_all(name)).into_iter().flatten()
}

/// Drops what speaks about one connection, and what else the condition names.
pub(super) fn drop_hop_by_hop_and(headers: &mut HeaderMap, other: impl Fn(&HeaderName) -> bool) {
    let named = connection_names(headers);
    let condition = |name: &HeaderName| HOP_BY_HOP.contains(name) || named.contains(name) || other(name);
    // Most messages have few of these: one pass over the names is cheaper than a look-up for each.
    while let Some(name) = headers.keys().find(|name| condition(name)).cloned() {
        headers.remove(name);
    }
}

/// What the `Connection` lines name, all of them: a second line counts like the first.
fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    // Name no field of their own that is not in HOP_BY_HOP already, and mostly are all of the line.
    let usual = |options: &[u8]| {
        options.eq_ignore_ascii_case(b"close") || options.eq_ignore_ascii_case(b"keep-alive")
    };
    lines(headers, &header::CONNECTION)
        .filter(|line| !usual(line.as_bytes()))
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !usual(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect()
}
