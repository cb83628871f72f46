//! Signs a message for a robot that demands it (DingTalk: 加签, Feishu: 签名校验). Pure: the time is given.
//!
//! Both take an HMAC-SHA256 in base64 over the time and the secret, and refuse what is older than an hour; they differ
//! in what is the key and what the message, in the unit of the time, and in where both stand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Service;
use crate::secret::Secret;

/// Puts time and signature where the service looks for them: into the query of the target, or the body's fields.
pub(super) fn sign(
    service: Service,
    secret: &Secret,
    now: SystemTime,
    target: &mut String,
    body: &mut Value,
) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    match service {
        Service::Wecom => {}
        Service::Dingtalk => {
            let (timestamp, sign) = dingtalk(secret, since);
            let begin = if target.contains('?') { '&' } else { '?' };
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("timestamp", &timestamp).append_pair("sign", &sign);
            target.push(begin);
            *target += &query.finish();
        }
        Service::Feishu => {
            let (timestamp, sign) = feishu(secret, since);
            (body["timestamp"], body["sign"]) = (timestamp.into(), sign.into());
        }
    }
}

/// Signs milliseconds and secret with the secret.
fn dingtalk(secret: &Secret, since: Duration) -> (String, String) {
    let timestamp = since.as_millis().to_string();
    let text = lines(&timestamp, secret);
    let signature = hmac(&Key::new(HMAC_SHA256, secret.expose().as_bytes()), text.as_bytes());
    (timestamp, BASE64_STANDARD.encode(signature))
}

/// Signs nothing with seconds and secret.
fn feishu(secret: &Secret, since: Duration) -> (String, String) {
    let timestamp = since.as_secs().to_string();
    let signature = hmac(&Key::new(HMAC_SHA256, lines(&timestamp, secret).as_bytes()), b"");
    (timestamp, BASE64_STANDARD.encode(signature))
}

fn lines(timestamp: &str, secret: &Secret) -> Zeroizing<String> {
    Zeroizing::new(format!("{timestamp}\n{}", secret.expose()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What the services' own examples in Python make of the same.
    #[test]
    fn a_signature_is_that_of_the_services_examples() {
        let (secret, now) = (
            Secret::new("SECthis-is-a-secret".to_owned()),
            UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        );
        let signed = |service, target: &str| {
            let (mut target, mut body) = (target.to_owned(), json!({ "a": 1 }));
            sign(service, &secret, now, &mut target, &mut body);
            (target, body)
        };
        let query = "timestamp=1700000000123&sign=Ew8KkpmRLzKwc1Jn9HO6o9e8jGicaXD0KIeBVnCO3K4%3D";
        for (target, begin) in [("/robot/send?access_token=k", '&'), ("/robot/send", '?')] {
            let right = (format!("{target}{begin}{query}"), json!({ "a": 1 }));
            assert_eq!(signed(Service::Dingtalk, target), right);
        }
        let body = json!({ "a": 1, "timestamp": "1700000000", "sign": "fzw1p+i8JQgxkrwfMcy4ioqu50cYoKDI8nOlHnsUy3U=" });
        assert_eq!(signed(Service::Feishu, "/hook/k"), ("/hook/k".to_owned(), body));
        assert_eq!(signed(Service::Wecom, "/?key=k"), ("/?key=k".to_owned(), json!({ "a": 1 })));
    }
}
