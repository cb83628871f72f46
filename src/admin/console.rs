//! One call through the proxy for an operator: `POST /accounts/NAME/call`.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, json_answer, no_account, refusal};
use super::parameters::language;
use super::sources::Sources;
use crate::errcodes::{self, Facts};
use crate::listener::CallerBody;
use crate::proxy::{ConsoleAnswer, ConsoleCall};
use crate::stats::milliseconds;

/// The largest body of a request: a console call.
const MAX_BODY: usize = 2 << 20;
/// The largest answer of a console call that is shown.
const MAX_ANSWER: usize = 4 << 20;
/// How long a console call may take in all.
const CALL_WAIT: Duration = Duration::from_secs(120);

/// Makes console calls: on this thread, by the configuration in force.
pub type Console = Rc<dyn Fn(String, ConsoleCall) -> Pin<Box<dyn Future<Output = Option<ConsoleAnswer>>>>>;

/// Makes the call that the body describes, and tells its answer.
pub(super) async fn answer(
    sources: &Sources,
    console: &Console,
    parts: &Parts,
    name: &str,
    body: CallerBody,
) -> Answer {
    if sources.in_force.load().account(name).is_none() {
        return no_account(sources.phase());
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            let words = "the body is over 2 MiB, or broke off";
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, "too-large", words);
        }
    };
    let call = match console_call(&body) {
        Ok(call) => call,
        Err(words) => return refusal(StatusCode::BAD_REQUEST, "bad-request", &words),
    };
    let began = Instant::now();
    let told = async {
        let answer = console(name.to_owned(), call).await?;
        let (head, body) = answer.response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        Some((head, body, answer.errcode, answer.code, answer.attempts))
    };
    match tokio::time::timeout(CALL_WAIT, told).await {
        Ok(Some((head, Ok(body), errcode, code, attempts))) => {
            let in_force = sources.in_force.load();
            let account = in_force.account(name);
            let product = account.map(|account| account.product).unwrap_or_default();
            let appid = account.and_then(|account| account.appid.as_deref());
            let body = body.to_bytes();
            let errmsg = serde_json::from_slice::<Value>(&body).ok();
            let errmsg = errmsg.as_ref().and_then(|body| body.get("errmsg")).and_then(Value::as_str);
            let known = code
                .and_then(|code| errcodes::own(code).or_else(|| errcodes::retry(code)))
                .or_else(|| errcodes::errcode(product, errcode?));
            let explain = known.map(|entry| entry.explain(language(parts), Facts { appid, errmsg }));
            let mut told = json!({
                "status": head.status.as_u16(),
                "headers": fields(&head.headers),
                "errcode": errcode,
                "attempts": attempts,
                "ms": milliseconds(began.elapsed()),
                "explain": explain,
            });
            match std::str::from_utf8(&body) {
                Ok(text) => told["body"] = text.into(),
                Err(_) => told["body_base64"] = BASE64_STANDARD.encode(&body).into(),
            }
            json_answer(StatusCode::OK, &told)
        }
        Ok(Some(_)) => {
            let words = "the answer is over 4 MiB, or broke off; use curl through the proxy";
            refusal(StatusCode::BAD_GATEWAY, "too-large", words)
        }
        Ok(None) => no_account(sources.phase()),
        Err(_) => refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", "the call took longer than 120 s"),
    }
}

/// The body of `POST /accounts/NAME/call`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: Option<String>,
    path: String,
    query: Option<String>,
    headers: Option<std::collections::BTreeMap<String, String>>,
    /// A text as it is sent, or the JSON itself.
    body: Option<Value>,
}

fn console_call(body: &[u8]) -> Result<ConsoleCall, String> {
    // serde's messages name a place and a type, and may hold a value of the operator's own request.
    let asked: Asked = serde_json::from_slice(body).map_err(|error| {
        format!("the body is not {{\"method\", \"path\", \"query\", \"headers\", \"body\"}} in JSON: {error}")
    })?;
    let method = asked.method.unwrap_or_else(|| "GET".to_owned()).to_ascii_uppercase();
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| "`method` is no HTTP method".to_owned())?;
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers.unwrap_or_default() {
        let field = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (name, value) = field.ok_or_else(|| "a header has a malformed name or value".to_owned())?;
        headers.append(name, value);
    }
    let body = match asked.body {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) => text.into(),
        Some(structure @ (Value::Object(_) | Value::Array(_))) => {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            structure.to_string().into()
        }
        Some(_) => return Err("`body` is neither a text nor an object".to_owned()),
    };
    Ok(ConsoleCall { method, path: asked.path, query: asked.query.unwrap_or_default(), headers, body })
}

/// Fields as an object, text to text; several of a name are joined as HTTP does.
fn fields(headers: &HeaderMap) -> Value {
    let mut fields = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        fields.insert(name.as_str().to_owned(), values.collect::<Vec<_>>().join(", ").into());
    }
    fields.into()
}
