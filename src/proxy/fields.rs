//! What both directions share about header fields: look-ups, and which fields end at wxgate.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Whether a field speaks about one connection and goes no further (RFC 9110 section 7.6.1), or is `Expect`, which
/// wxgate answers itself.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    // A match of texts is compiled into one of lengths, where each of eleven names would be compared.
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
    )
}

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
    let condition = |name: &HeaderName| is_hop_by_hop(name) || named.contains(name) || other(name);
    // Most messages have few of these: one pass over the names is cheaper than a look-up for each.
    while let Some(name) = headers.keys().find(|name| condition(name)).cloned() {
        headers.remove(name);
    }
}

/// What the `Connection` lines name, all of them: a second line counts like the first.
fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    // Name no field of their own that is not hop by hop already, and mostly are all of the line.
    let usual = |options: &[u8]| {
        options.eq_ignore_ascii_case(b"close") || options.eq_ignore_ascii_case(b"keep-alive")
    };
    let mut names = Vec::new();
    for (field, line) in headers {
        if *field == header::CONNECTION && !usual(line.as_bytes()) {
            let options = line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
            let fields = options.filter(|option| !usual(option));
            names.extend(fields.filter_map(|name| HeaderName::from_bytes(name).ok()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_and_keep_alive_name_no_field() {
        for line in ["close", "Close", "close, x-one", "x-one , CLOSE,keep-alive"] {
            let mut headers = HeaderMap::new();
            for (name, value) in [("connection", line), ("close", "1"), ("x-one", "2")] {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
            }
            drop_hop_by_hop_and(&mut headers, |_| false);
            let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            let right = if line.contains(',') { &["close"][..] } else { &["close", "x-one"] };
            assert_eq!(left, right, "{line}");
        }
    }
}
