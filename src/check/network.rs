//! Asks the upstream: DNS, a connection, the clock, and each account's credentials.
//!
//! It goes the way that `wxgate serve` goes: the same connector, egress address, trust roots and time limits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};

use super::{Report, signing};
use crate::config::{Account, App, Config, Product, TokenApi};
use crate::credential::{FetchAnswer, FetchMode, IssuerClient, advice, issuer};
use crate::proxy::inspect::{LIMIT, errcode::errcode};
use crate::upstream::tls::Trust;
use crate::upstream::{ApiHost, BaseUrl, Certificate, RequestBody, SendError, Upstream};

/// A call that costs nothing and needs a token: without one, WeChat answers 41001.
const HARMLESS: &str = "/cgi-bin/getcallbackip";
const TOKEN_MISSING: i64 = 41001;

/// A clock that is further off counts fetches on the wrong day of Beijing's and ends tokens at wrong times.
const MOST_OFF: Duration = Duration::from_secs(60);

/// A certificate that ends sooner has been forgotten: they are renewed earlier.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// Everything that only the upstream can tell.
pub(super) async fn look(config: &Config, trust: &Trust, report: &mut Report<'_>) {
    let settings = config.upstream.settings(1);
    // Each API host is asked once, however many accounts it has.
    let mut asked: Vec<(BaseUrl, bool)> = Vec::new();
    for account in &config.accounts {
        let (first, fallbacks) = config.upstream.endpoints(account, trust);
        let host = ApiHost::new(first, fallbacks, settings.clone());
        let mut reached = false;
        for endpoint in host.endpoints() {
            let known = asked.iter().find(|(base, _)| *base == endpoint.base);
            reached |= match known {
                Some((_, reached)) => *reached,
                None => {
                    let one = ApiHost::new(endpoint.clone(), Vec::new(), settings.clone());
                    let reached = names(&one, report).await && connection(&one, report).await;
                    asked.push((endpoint.base.clone(), reached));
                    reached
                }
            };
        }
        if !reached {
            let name = &account.name;
            report.warning(format_args!("account `{name}`: not checked, for the upstream cannot be reached"));
            continue;
        }
        let Some(app) = &account.app else { continue };
        let client = IssuerClient::new(&host, &app.appid, app.secret.clone());
        let issuer = match account.kind {
            // Its normal mode ends no one's token, whatever the account uses.
            Product::Weixin => issuer::stable::issuer(client),
            Product::Wecom => issuer::gettoken::issuer(client),
        };
        let answer = issuer.fetch(FetchMode::Normal).await;
        credentials(account, app, &answer, report);
        if let FetchAnswer::Issued { value, .. } = &answer {
            signing::call(account, app, value, &host, report).await;
        }
    }
}

/// Whether the upstream's name, or that of the proxy before it, leads somewhere, and to an address that `egress_ip` can
/// reach.
async fn names(api: &ApiHost, report: &mut Report<'_>) -> bool {
    let (host, port) = api.endpoint().peer();
    let key = if api.endpoint().proxy.is_some() { "upstream.proxy" } else { "upstream.url" };
    let limit = api.settings().connect_timeout;
    let found = match host.parse::<IpAddr>() {
        Ok(address) => BTreeSet::from([address]),
        Err(_) => {
            let asked = tokio::net::lookup_host((host, port));
            match tokio::time::timeout(limit, asked).await {
                Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
                Ok(Err(e)) => {
                    report.wrong(format_args!(
                        "DNS: `{host}` is not found: {e}; is {key} right, and does /etc/resolv.conf name \
                         a server that answers?"
                    ));
                    return false;
                }
                Err(_) => {
                    let limit = humantime::format_duration(limit);
                    report.wrong(format_args!(
                        "DNS: no answer for `{host}` within connect_timeout ({limit}); does /etc/resolv.conf name \
                         a server that answers?"
                    ));
                    return false;
                }
            }
        }
    };
    if let Some(egress) = api.endpoint().egress
        && !found.iter().any(|address| address.is_ipv4() == egress.is_ipv4())
    {
        let family = if egress.is_ipv4() { "IPv4" } else { "IPv6" };
        report.wrong(format_args!(
            "DNS: `{host}` has no {family} address, and egress_ip {egress} reaches no other; set an egress_ip of \
             the other family"
        ));
        return false;
    }
    if host.parse::<IpAddr>().is_err() {
        let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        report.ok(format_args!("DNS: `{host}` is {}", found.join(" ")));
    }
    true
}

/// Connects, makes one call without a token, and looks at what comes back.
async fn connection(host: &Arc<ApiHost>, report: &mut Report<'_>) -> bool {
    let base = &host.endpoint().base;
    let upstream = Upstream::new(Arc::clone(host));
    let begun = Instant::now();
    if let Err(error) = upstream.reach().await {
        let cure = if error.is_of_proxy() {
            "see `upstream.proxy`"
        } else if error.is_tls() {
            "if this machine's way out goes through something that opens TLS, name its CA in `upstream.ca`; if its \
             clock is wrong, good certificates look expired; certificates are always verified"
        } else if host.endpoint().proxy.is_some() {
            "does the proxy allow connections to it?"
        } else {
            "does a firewall stop connections out to it, or those from `egress_ip`? Is `upstream.url` right?"
        };
        report.wrong(format_args!("no connection to the upstream: {error}; {cure}"));
        return false;
    }
    let took = begun.elapsed().as_millis();
    let way = host.endpoint().proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}"));
    let way = way.unwrap_or_default();
    match base.is_tls() {
        true => report.ok(format_args!("connected to {base}{way} in {took} ms, its certificate is trusted")),
        false => report.ok(format_args!("connected to {base}{way} in {took} ms, in plain HTTP")),
    }
    if let Some(shown) = host.certificate() {
        certificate(base, &shown, SystemTime::now(), report);
    }
    let before = SystemTime::now();
    match harmless_call(&upstream).await {
        Ok((answer, body)) => {
            clock(answer.headers(), before, SystemTime::now(), report);
            who_is_it(base, &answer, &body, report);
            true
        }
        Err(what) => {
            report
                .wrong(format_args!("{base} does not answer: {what}; does `upstream.url` lead to the API?"));
            false
        }
    }
}

/// For whom the certificate is, and when it ends.
fn certificate(base: &BaseUrl, shown: &Certificate, now: SystemTime, report: &mut Report<'_>) {
    let names = shown.names.join(" ");
    let ends = humantime::format_rfc3339_seconds(shown.ends);
    let left = shown.ends.duration_since(now).unwrap_or_default();
    let days = left.as_secs() / 86_400;
    match left < SOON {
        false => report.ok(format_args!("TLS: the certificate of {base} is for {names}, valid until {ends}")),
        true => report.warning(format_args!(
            "TLS: the certificate of {base} is for {names} and ends in {days} days, at {ends}; when nobody renews it, no \
             call gets through. Whoever runs that host has to"
        )),
    }
}

async fn harmless_call(upstream: &Upstream) -> Result<(Response<()>, Bytes), String> {
    let request = || {
        let mut request = Request::new(RequestBody::whole([]));
        *request.method_mut() = Method::GET;
        *request.uri_mut() = http::Uri::from_static(HARMLESS);
        request.headers_mut().insert(header::HOST, upstream.host_header().clone());
        request
    };
    let response = upstream.send(&Method::GET, |_| Some(request())).await.map_err(|error| match error {
        SendError::Connect(error) => error.to_string(),
        SendError::TimedOut => "nothing came within response_timeout".to_owned(),
        SendError::Broken(error) | SendError::CallerBody(error) => crate::upstream::chain(&error),
        SendError::Coded => "the answer has a transfer coding that cannot be taken off".to_owned(),
        SendError::BodyGone => "there was nothing to send".to_owned(),
    })?;
    let (parts, body) = response.into_parts();
    // What is too long or breaks off is no answer of WeChat's; the head still tells the time.
    let body = Limited::new(body, LIMIT).collect().await.map(|body| body.to_bytes());
    Ok((Response::from_parts(parts, ()), body.unwrap_or_default()))
}

/// Compares the local clock with the time in the answer, which has seconds and was written in between.
fn clock(headers: &HeaderMap, before: SystemTime, after: SystemTime, report: &mut Report<'_>) {
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return report.warning(format_args!("clock: the upstream's answer has no time to compare with"));
    };
    let (off, way) = match (theirs.duration_since(after), before.duration_since(theirs)) {
        (Ok(behind), _) => (behind, "behind"),
        (_, Ok(ahead)) => (ahead, "ahead of"),
        _ => (Duration::ZERO, "with"),
    };
    if off <= MOST_OFF {
        return report.ok(format_args!("clock: agrees with the upstream's (within {} s)", off.as_secs() + 1));
    }
    report.warning(format_args!(
        "clock: this machine is {} {way} the upstream; set it (NTP): it decides when a stored token ends and when the \
         day of WeChat's quotas does",
        humantime::format_duration(Duration::from_secs(off.as_secs()))
    ));
}

/// Whether the answer is the one that WeChat gives to a call without a token.
fn who_is_it(base: &BaseUrl, answer: &Response<()>, body: &[u8], report: &mut Report<'_>) {
    let status = answer.status().as_u16();
    match errcode(body) {
        Some(TOKEN_MISSING) if status == 200 => {
            report.ok(format_args!("{base} answers as the WeChat API does"));
        }
        errcode => {
            let errcode = errcode.map_or_else(|| "no errcode".to_owned(), |code| format!("errcode {code}"));
            report.warning(format_args!(
                "{base} answers a call without a token with status {status} and {errcode}, where WeChat answers 200 \
                 and errcode {TOKEN_MISSING}; does `upstream.url` lead to the WeChat API?"
            ));
        }
    }
}

/// What the normal mode of `stable_token`, or WeCom's `gettoken`, said about one account.
fn credentials(account: &Account, app: &App, answer: &FetchAnswer, report: &mut Report<'_>) {
    let (name, appid) = (&account.name, &app.appid);
    match answer {
        FetchAnswer::Issued { .. } => {
            let kind = match (account.kind, app.token_api) {
                (Product::Wecom, _) => {
                    return report.ok(format_args!(
                        "account `{name}`: WeCom accepts the secret of an application of {appid} (asked with gettoken, \
                         which ends no token). Whether this machine's address is on the list of trusted IPs, only a call tells"
                    ));
                }
                (_, TokenApi::StableToken) => "asked in stable_token's normal mode, which ends no token",
                (_, TokenApi::Token) => "asked with stable_token, whose tokens do not touch those of `token`",
            };
            report.ok(format_args!(
                "account `{name}`: WeChat accepts the secret of {appid} and this machine's address ({kind})"
            ));
        }
        FetchAnswer::Refused { errcode, errmsg } => report.wrong(format_args!(
            "account `{name}`: WeChat refuses to issue a token: {errcode} {errmsg}. {}",
            advice(account.kind, *errcode, errmsg, appid)
        )),
        FetchAnswer::Passing { what } | FetchAnswer::Unsent { what } => {
            report
                .wrong(format_args!("account `{name}`: asking for a token failed: {what}; try again later"));
        }
    }
}

#[cfg(test)]
mod tests;
