//! Calls that ask for a token: wxgate answers them by itself, without a call to WeChat.
//!
//! Forwarded, such a call would end the current token, and old apps go on making it. Whatever appid and
//! secret it carries is neither checked, kept nor logged, but for an appid of another account: that app is
//! talking to the wrong address, and silence would hide it.

use http::{HeaderMap, Method, header};

use super::inject::query;
use super::route::LocalAnswer;
use crate::json::{self, Object};

/// What WeChat itself would say against a token call (errcode and errmsg): another method, another account's
/// appid. `None`: it is answered with a token, or what stands for one. `body` is the call's own, whole.
pub fn objection(
    call: LocalAnswer,
    method: &Method,
    headers: &HeaderMap,
    query: Option<&str>,
    body: &[u8],
    appid: &str,
) -> Option<(i64, &'static str)> {
    let method_fits = match call {
        LocalAnswer::Token | LocalAnswer::GetToken => matches!(*method, Method::GET | Method::POST),
        LocalAnswer::StableToken => *method == Method::POST,
    };
    if !method_fits {
        return Some((43002, "require POST method"));
    }
    let (name, other_appid) = match call {
        LocalAnswer::Token | LocalAnswer::StableToken => ("appid", "invalid appid"),
        LocalAnswer::GetToken => ("corpid", "invalid corpid"),
    };
    let another = names_another(appid, name, headers, query.unwrap_or_default(), body);
    another.then_some((40013, other_appid))
}

/// Whether the call asks for a new token: `"force_refresh": true` in the JSON of `stable_token`.
pub fn forces_refresh(call: LocalAnswer, body: &[u8]) -> bool {
    let forced = || Object::find(body)?.get("force_refresh");
    call == LocalAnswer::StableToken && matches!(forced(), Some(b"true" | b"1" | b"\"true\""))
}

/// The token that the call says it found dead: `"access_token"` in its JSON.
pub fn names_dead(body: &[u8]) -> Option<String> {
    let token = json::text(Object::find(body)?.get("access_token")?)?;
    (!token.is_empty()).then(|| token.into_owned())
}

/// Whether the call names another appid than this: in its query, its form or its JSON. An empty one counts as none.
fn names_another(appid: &str, name: &str, headers: &HeaderMap, query: &str, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is_form = kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
    let form = if is_form { std::str::from_utf8(body).unwrap_or_default() } else { "" };
    if query::values(query, name).chain(query::values(form, name)).any(|value| value != appid) {
        return true;
    }
    // Without a tree: a body of nested lists would make one a hundred times its size.
    match Object::find(body).as_ref().and_then(|object| object.get(name)) {
        None | Some(b"null") => false,
        Some(value) => json::text(value).is_none_or(|text| !text.is_empty() && text != appid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(issue: LocalAnswer, method: &str, query: &str, kind: &str, body: &str) -> String {
        let request = http::Request::builder().method(method).uri("/").header("content-type", kind);
        let parts = request.body(()).unwrap().into_parts().0;
        let objection = objection(issue, &parts.method, &parts.headers, Some(query), body.as_bytes(), "wx1");
        objection.map_or("token".to_owned(), |(errcode, _)| errcode.to_string())
    }

    #[test]
    fn token_calls_get_the_placeholder_unless_they_name_another_appid() {
        let form = "application/x-www-form-urlencoded";
        let json = "application/json";
        for (issue, method, query, kind, body, right) in [
            (LocalAnswer::Token, "GET", "grant_type=client_credential&appid=wx1&secret=s", "", "", "token"),
            (LocalAnswer::Token, "GET", "", "", "", "token"),
            (LocalAnswer::Token, "GET", "appid=", "", "", "token"),
            (LocalAnswer::Token, "GET", "appid=wx2", "", "", "40013"),
            (LocalAnswer::Token, "GET", "%61ppid=wx2", "", "", "40013"),
            (LocalAnswer::Token, "POST", "", form, "appid=wx1&secret=s", "token"),
            (LocalAnswer::Token, "POST", "", form, "appid=wx2&secret=s", "40013"),
            (LocalAnswer::Token, "HEAD", "", "", "", "43002"),
            (LocalAnswer::Token, "DELETE", "", "", "", "43002"),
            (LocalAnswer::StableToken, "POST", "", json, r#"{"appid":"wx1"}"#, "token"),
            (LocalAnswer::StableToken, "POST", "", json, r#"{"appid":"wx2"}"#, "40013"),
            (LocalAnswer::StableToken, "POST", "", json, r#"{"appid":""}"#, "token"),
            (LocalAnswer::StableToken, "POST", "", json, r#"{"appid":null}"#, "token"),
            (LocalAnswer::StableToken, "POST", "", json, r#"{"appid":7}"#, "40013"),
            (LocalAnswer::StableToken, "POST", "appid=wx1", json, r#"{"appid":"wx2"}"#, "40013"),
            (LocalAnswer::Token, "GET", "appid=wx1&appid=wx2", "", "", "40013"),
            (LocalAnswer::Token, "GET", "appid=wx1&appid=", "", "", "token"),
            // curl -d sends JSON under the form's name.
            (LocalAnswer::StableToken, "POST", "", form, r#"{"appid":"wx2"}"#, "40013"),
            (LocalAnswer::StableToken, "POST", "", json, "not json", "token"),
            (LocalAnswer::StableToken, "POST", "", "", "", "token"),
            (LocalAnswer::StableToken, "GET", "", "", "", "43002"),
            (LocalAnswer::GetToken, "GET", "corpid=wx1&corpsecret=s", "", "", "token"),
            (LocalAnswer::GetToken, "GET", "", "", "", "token"),
            (LocalAnswer::GetToken, "GET", "corpid=ww2&corpsecret=s", "", "", "40013"),
            (LocalAnswer::GetToken, "GET", "appid=ww2", "", "", "token"),
            (LocalAnswer::GetToken, "POST", "", json, r#"{"corpid":"ww2"}"#, "40013"),
            (LocalAnswer::GetToken, "PUT", "", "", "", "43002"),
        ] {
            assert_eq!(ask(issue, method, query, kind, body), right, "{issue:?} {method} {query} {body}");
        }
    }

    #[test]
    fn only_stable_token_asks_for_a_new_one_and_in_its_json_alone() {
        for (call, body, right) in [
            (LocalAnswer::StableToken, r#"{"appid":"wx1","force_refresh":true}"#, true),
            (LocalAnswer::StableToken, r#"{"force_refresh":1}"#, true),
            (LocalAnswer::StableToken, r#"{"force_refresh":"true"}"#, true),
            (LocalAnswer::StableToken, r#"{"force_refresh":false}"#, false),
            (LocalAnswer::StableToken, r#"{"force_refresh":"false"}"#, false),
            (LocalAnswer::StableToken, r#"{"inside":{"force_refresh":true}}"#, false),
            (LocalAnswer::StableToken, "force_refresh=true", false),
            (LocalAnswer::StableToken, "", false),
            (LocalAnswer::Token, r#"{"force_refresh":true}"#, false),
            (LocalAnswer::GetToken, r#"{"force_refresh":true}"#, false),
        ] {
            assert_eq!(forces_refresh(call, body.as_bytes()), right, "{call:?} {body}");
        }
    }

    #[test]
    fn the_dead_token_is_the_one_in_the_json() {
        for (body, right) in [
            (r#"{"force_refresh":true,"access_token":"a\/b"}"#, Some("a/b")),
            (r#"{"access_token":""}"#, None),
            (r#"{"access_token":7}"#, None),
            (r#"{"token":"a"}"#, None),
            ("access_token=a", None),
        ] {
            assert_eq!(names_dead(body.as_bytes()).as_deref(), right, "{body}");
        }
    }
}
