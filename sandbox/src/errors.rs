//! WeChat's errors: a number, and the text that goes with it.
//!
//! The texts are those of WeChat's list of return codes and of recorded answers; a program should match the
//! number alone. This file does not decide when an error is due.

use std::net::{IpAddr, Ipv6Addr};

use crate::clock::Moment;

/// An answer that is an error; WeChat sends it with HTTP 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    text: String,
}

/// The error with its usual text.
pub(crate) fn refuse(code: i64) -> Refusal {
    Refusal { code, text: text(code).to_owned() }
}

/// 40164: the address that is not on the whitelist is in the text, in both notations.
pub(crate) fn refuse_ip(peer: IpAddr) -> Refusal {
    let v6 = match peer {
        IpAddr::V4(v4) => format!("::ffff:{v4}"),
        IpAddr::V6(v6) => Ipv6Addr::to_string(&v6),
    };
    Refusal { code: 40164, text: format!("invalid ip {peer} ipv6 {v6}, not in whitelist") }
}

/// 40001 as calls with a user's token get it: without the advice to use another call for the account's own.
pub(crate) fn refuse_user_token() -> Refusal {
    Refusal { code: 40001, text: "invalid credential, access_token is invalid or not latest".to_owned() }
}

impl Refusal {
    /// As below `/sns`, where a comma stands before the request id.
    pub(crate) fn with_comma(mut self) -> Self {
        self.text.push(',');
        self
    }

    /// The body: the text ends in a request id, which begins with the time in hexadecimal digits.
    pub(crate) fn body(&self, now: Moment) -> String {
        let rid = format!("{:08x}-{:08x}-{:08x}", now.as_secs(), fastrand::u32(..), fastrand::u32(..));
        let errmsg = format!("{} rid: {rid}", self.text);
        serde_json::json!({ "errcode": self.code, "errmsg": errmsg }).to_string()
    }
}

pub(crate) fn text(code: i64) -> &'static str {
    match code {
        -1 => "system error",
        40001 => {
            "invalid credential, access_token is invalid or not latest, could get access_token by \
             getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r"
        }
        40002 => "invalid grant_type",
        40003 => "invalid openid",
        40004 => "invalid media type",
        40007 => "invalid media_id",
        40008 => "invalid message type",
        40009 => "invalid image size",
        40010 => "invalid voice size",
        40011 => "invalid video size",
        40012 => "invalid thumb size",
        40013 => "invalid appid",
        40014 => "invalid access_token",
        40016 => "invalid button size",
        40018 => "invalid button name size",
        40029 => "invalid code",
        40033 => "invalid charset. please check your request, if include \\uxxxx will create fail!",
        40037 => "invalid template_id",
        40066 => "invalid url",
        40097 => "invalid args",
        40125 => "invalid appsecret",
        40163 => "code been used",
        40164 => "invalid ip, not in whitelist",
        40231 => "API_Missing_Wechatmp_Timestamp",
        40232 => "API_Missing_Wechatmp_Signature",
        40233 => "API_Missing_Wechatmp_Appid",
        40234 => "API_Invalid_Signature",
        40235 => "API_Invalid_Encrypt",
        40236 => "API_Invalid_Wechatmp_Appid",
        40237 => "API_Invalid_Wechatmp_Appidmatch",
        40240 => "API_Expired_Wechatmp_Timestamp",
        41001 => "access_token missing",
        41002 => "appid missing",
        41004 => "appsecret missing",
        41005 => "media data missing",
        41006 => "media_id missing",
        41008 => "missing code",
        41009 => "missing openid",
        42001 => "access_token expired",
        43001 => "require GET method",
        43002 => "require POST method",
        43004 => "require subscribe",
        44001 => "empty media data",
        44002 => "empty post data",
        44004 => "empty content",
        45001 => "media size out of limit",
        45002 => "content size out of limit",
        45009 => "reach max api daily quota limit",
        45011 => "api minute-quota reach limit must slower retry next minute",
        45015 => "response out of time limit or subscription is canceled",
        46003 => "menu no exist",
        47001 => "data format error",
        48001 => "api unauthorized",
        48004 => "api forbidden for irregularities",
        48006 => "forbid to clear quota because of reaching the limit",
        50001 => "user unauthorized",
        50002 => "user limited",
        76003 => "invalid cgi_path",
        _ => "sandbox error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_text_of_a_refused_address_names_it_twice() {
        let refusal = refuse_ip("101.226.140.169".parse().unwrap());
        assert_eq!(refusal.text, "invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist");
    }

    #[test]
    fn the_request_id_has_three_groups_and_begins_with_the_time() {
        let body = refuse(41001).body(Duration::from_secs(0x6aac_0064));
        let prefix = r#"{"errcode":41001,"errmsg":"access_token missing rid: 6aac0064-"#;
        assert!(body.starts_with(prefix), "{body}");
        assert_eq!(body.len(), prefix.len() + "355b48ab-4c5b487e\"}".len());
    }
}
