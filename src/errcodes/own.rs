//! wxgate's own codes: the values of `x-wxgate-error` and `x-wxgate-retry`, with what to do about each.

use super::{Entry, row};

/// What a value of `x-wxgate-error` means: why wxgate answered by itself.
pub fn own(code: &str) -> Option<&'static Entry> {
    OWN.iter().find(|(known, _)| *known == code).map(|(_, entry)| entry)
}

/// What a value of `x-wxgate-retry` means: why the caller sees a token error although wxgate repeats calls.
pub fn retry(mark: &str) -> Option<&'static Entry> {
    RETRY.iter().find(|(known, _)| *known == mark).map(|(_, entry)| entry)
}

/// What there is to say of a call that was sent more than once, and then went well.
pub static SENT_AGAIN: Entry = row(
    0,
    "The token was refused, or the connection broke; wxgate sent the call again, and the caller noticed nothing.",
    "Nothing has to be done.",
    "凭据被拒绝或连接中断后，wxgate 重发成功，调用方没有感知。",
    "无需处理。",
);

/// What there is to say of a call whose caller went away.
pub static LEFT: Entry = row(
    0,
    "The caller went away before it had its answer.",
    "Where that happens often, look at the time limit of the caller.",
    "调用方没有等到响应就断开了。",
    "如果经常出现，请检查调用方的超时设置。",
);

/// What there is to say of an answer that did not come to its end.
pub static BROKEN_OFF: Entry = row(
    0,
    "The answer broke off, or its caller went away before its end.",
    "Where that happens often, look at the network to WeChat, and at the time limit of the caller.",
    "响应没有传完就中断了，或者调用方中途断开。",
    "如果经常出现，请检查到微信的网络和调用方的超时设置。",
);

/// What there is to say of an HTTP error of WeChat's without an errcode.
pub static HTTP_ERROR: Entry = row(
    0,
    "The WeChat API answered with an HTTP error.",
    "Try again; where it lasts, see what WeChat has announced.",
    "微信接口返回了 HTTP 错误。",
    "请重试；如果持续出现，请留意微信的公告。",
);

/// What there is to say of an errcode that is in no table.
pub static UNKNOWN: Entry = row(
    0,
    "WeChat refused the call with an errcode that wxgate has no words for.",
    "See WeChat's document of the interface; who asks WeChat should give the rid.",
    "微信拒绝了这次调用，wxgate 没有收录这个错误码。",
    "请查阅微信文档中该接口的错误码；向微信咨询时请附上 rid。",
);

/// The values of `x-wxgate-error`.
pub(super) const OWN: &[(&str, Entry)] = &[
    (
        "bad-request",
        row(
            0,
            "wxgate refused the request as malformed: path, target or Host.",
            "The errmsg names the cause and the cure.",
            "请求格式有误（路径、目标或 Host），被 wxgate 拒绝。",
            "errmsg 写明了原因和处理办法。",
        ),
    ),
    (
        "not-found",
        row(
            0,
            "No account has this Host or prefix, or the account does not serve this path: it is not among its `paths`, or needs `tickets`.",
            "The errmsg names the cause: check the base URL of the app, or `paths` and `tickets` in the account's [[account]] table.",
            "没有账号对应这个 Host 或前缀，或者该账号不提供这个路径：不在 `paths` 中，或者需要 `tickets`。",
            "errmsg 写明了原因：请检查应用的基础 URL，或者 [[account]] 的 `paths` 和 `tickets`。",
        ),
    ),
    (
        "method",
        row(
            0,
            "CONNECT and TRACE are not served.",
            "Use the base URL of wxgate, or http_proxy with an http:// URL.",
            "不支持 CONNECT 和 TRACE。",
            "请使用 wxgate 的基础 URL，或者在 http_proxy 下使用 http:// 地址。",
        ),
    ),
    (
        "denied",
        row(
            0,
            "The caller is not known, or may not make this call.",
            "Check the caller's key and address (`key`, `from`), and its `accounts` and `allow`.",
            "调用方未知，或者没有这项调用的权限。",
            "请检查 [[caller]] 的 `key`、`from`、`accounts` 和 `allow`。",
        ),
    ),
    (
        "too-large",
        row(
            0,
            "The request's body is too large, or too large to be sent without a length.",
            "Raise `limits.max_body`, or send a Content-Length.",
            "请求体过大，或者在没有长度的情况下过大。",
            "请调大 `limits.max_body`，或者发送 Content-Length。",
        ),
    ),
    (
        "head-too-large",
        row(
            0,
            "The request's head is too large.",
            "Raise `limits.max_header_bytes`, or send fewer and shorter fields.",
            "请求头过大。",
            "请调大 `limits.max_header_bytes`，或者减少请求头。",
        ),
    ),
    (
        "caller-timeout",
        row(
            0,
            "The caller was too slow with its request.",
            "Look at the caller and the line to it; `limits.header_timeout` is the limit.",
            "调用方发送请求过慢。",
            "请检查调用方及其网络，时限为 `limits.header_timeout`。",
        ),
    ),
    (
        "upstream-unreachable",
        row(
            0,
            "The WeChat API could not be reached, or the connection broke.",
            "`wxgate check` says whether DNS, TCP or TLS is at fault. Whether a POST was executed is not known.",
            "无法连接微信接口，或者连接中断。",
            "请运行 `wxgate check` 查看是 DNS、TCP 还是 TLS 的问题。POST 请求是否已执行无法确定。",
        ),
    ),
    (
        "upstream-timeout",
        row(
            0,
            "The WeChat API did not answer in time.",
            "Try again, or raise `upstream.response_timeout`.",
            "微信接口没有及时响应。",
            "请重试，或者调大 `upstream.response_timeout`。",
        ),
    ),
    (
        "no-token",
        row(
            0,
            "There was no access_token, for a passing reason.",
            "wxgate goes on trying; the account's last error says what fails.",
            "暂时没有接口调用凭据。",
            "wxgate 会继续重试，账号的最近错误写明了原因。",
        ),
    ),
    (
        "token-refused",
        row(
            0,
            "WeChat refuses to issue a token.",
            "The account's last error says what to do; `wxgate check` tries it.",
            "微信拒绝颁发接口调用凭据。",
            "账号的最近错误写明了处理办法，也可以运行 `wxgate check`。",
        ),
    ),
    (
        "signing",
        row(
            0,
            "WeChat's answer to an encrypted call is not signed and encrypted as the account's keys have it, so it was not passed on.",
            "The errmsg names the cause; `wxgate check` says when platform certificates end. The call may have been executed.",
            "微信对加密调用的响应未通过验签或无法解密，因此没有转发。",
            "errmsg 写明了原因；`wxgate check` 会显示平台证书的有效期。该调用可能已经执行。",
        ),
    ),
    (
        "busy",
        row(
            0,
            "wxgate holds as many connections, calls or bodies as it may.",
            "Raise `limits.max_connections`, `upstream.max_connections` or `limits.replay_total`, or find who calls so much.",
            "连接数、调用数或请求体缓存达到上限。",
            "请调大 `limits.max_connections`、`upstream.max_connections` 或 `limits.replay_total`，或者查明调用来源。",
        ),
    ),
    (
        "limited",
        row(
            0,
            "The caller makes more calls than its `rate` or `concurrent` allows.",
            "Slow the caller down, or raise the limit in its [[caller]] table.",
            "调用方超过了 `rate` 或 `concurrent` 的限制。",
            "请降低调用频率，或者调大 [[caller]] 中的限制。",
        ),
    ),
];

/// The values of `x-wxgate-retry`.
pub(super) const RETRY: &[(&str, Entry)] = &[
    (
        "body-too-large",
        row(
            0,
            "The token was refused, and the body was too large to be kept for a second sending.",
            "Send the call again; raise `limits.replay_per_request` if it happens often.",
            "凭据被拒绝，而请求体过大，没有保留下来重发。",
            "请再次发起调用；如果经常出现，请调大 `limits.replay_per_request`。",
        ),
    ),
    (
        "refresh-failed",
        row(
            0,
            "The token was refused, and no new one came in time.",
            "The account's last error says what fails.",
            "凭据被拒绝，而新凭据没有及时取得。",
            "账号的最近错误写明了原因。",
        ),
    ),
    (
        "refresh-limited",
        row(
            0,
            "The token was refused, and no further fetch was allowed: the limit protects WeChat's quota.",
            "Another system fetches tokens for {appid}, or this call is refused whatever the token is.",
            "凭据被拒绝，而为保护微信的额度，暂时不再获取新凭据。",
            "可能有别的系统在为 {appid} 获取凭据，或者该接口无论使用什么凭据都会被拒绝。",
        ),
    ),
    (
        "same-token",
        row(
            0,
            "The token was refused, and WeCom handed out the same one again.",
            "Has the application the right for this interface? Else wait: WeCom has no forced refresh.",
            "凭据被拒绝，而企业微信返回的仍是同一个凭据。",
            "请确认应用有该接口的权限；否则只能等待，企业微信不支持强制刷新。",
        ),
    ),
];
