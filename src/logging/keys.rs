//! The one table of keys that a log line can have: its name in JSON and text, its name in the Elastic Common Schema,
//! and what it says. The documents are made from it (`docs/en/logging.md`); a test finds each key that an event uses and
//! the table lacks.

/// One key.
pub(super) struct Key {
    /// In `json` and `text`.
    pub(super) name: &'static str,
    /// In `ecs`.
    pub(super) ecs: &'static str,
    pub(super) form: Form,
    #[cfg_attr(not(test), expect(dead_code, reason = "read where documents are made, in a test"))]
    pub(super) en: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "as above"))]
    pub(super) zh: &'static str,
}

/// How a value is written with `ecs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As it is.
    Same,
    /// Milliseconds become whole nanoseconds.
    Nanoseconds,
    /// A number becomes a text: the schema wants a keyword.
    Keyword,
}

const fn key(name: &'static str, ecs: &'static str, en: &'static str, zh: &'static str) -> Key {
    Key { name, ecs, form: Form::Same, en, zh }
}

impl Key {
    const fn written(mut self, form: Form) -> Self {
        self.form = form;
        self
    }
}

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    ACCESS.iter().chain(EVENTS).find(|key| key.name == name)
}

/// What every line has.
#[cfg(test)]
pub(super) const EVERY: &[Key] = &[
    key("timestamp", "@timestamp", "When, in UTC (RFC 3339).", "时间，UTC（RFC 3339）。"),
    key(
        "level",
        "log.level",
        "`ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`.",
        "`ERROR`、`WARN`、`INFO`、`DEBUG` 或 `TRACE`。",
    ),
    key(
        "message",
        "message",
        "What happened, in words; an access line has it with `ecs` alone.",
        "发生了什么；访问日志仅在 `ecs` 格式下有此字段。",
    ),
    key(
        "target",
        "log.logger",
        "Which part of wxgate says it; `wxgate::access` for access lines.",
        "来自 wxgate 的哪一部分；访问日志为 `wxgate::access`。",
    ),
];

/// What every line of `ecs` has besides, under the schema's names alone.
#[cfg(test)]
pub(super) const EVERY_OF_ECS: &[Key] = &[
    key("", "service.name", "`wxgate`.", "`wxgate`。"),
    key("", "service.version", "The version of wxgate.", "wxgate 的版本。"),
    key("", "ecs.version", "The version of the schema.", "ECS 的版本。"),
];

/// Keys of the access line.
pub(super) const ACCESS: &[Key] = &[
    key(
        "caller",
        "client.user.name",
        "Name of the `[[caller]]`, `admin` for a call of the admin listener, else the address.",
        "`[[caller]]` 的名称；管理端口发起的调用为 `admin`；否则为地址。",
    ),
    key("peer", "client.ip", "Address that the connection comes from.", "连接的来源地址。"),
    key("account", "wxgate.account", "Name of the account; `-` without one.", "账号名称；没有时为 `-`。"),
    key("method", "http.request.method", "Method of the request; `-` where its head could not be read.", "请求方法；请求头无法读取时为 `-`。"),
    key(
        "path",
        "url.path",
        "Path of the request without its query, cut at the first `=`.",
        "请求路径，不含查询串，并在第一个 `=` 处截断。",
    ),
    key("status", "http.response.status_code", "HTTP status of the answer; 0: none.", "响应的 HTTP 状态码；0 表示没有响应。"),
    key("errcode", "error.code", "Top-level errcode of the answer, where it has one.", "响应顶层的 errcode（如有）。")
        .written(Form::Keyword),
    key("rid", "wxgate.rid", "WeChat's id of a failed call; its support asks for it.", "微信为失败调用给出的编号，联系微信客服时需要。"),
    key("bytes", "http.response.body.bytes", "Bytes of the answer's body.", "响应体的字节数。"),
    key("ms", "event.duration", "Milliseconds in all (`ecs`: nanoseconds).", "总耗时，毫秒（`ecs` 中为纳秒）。")
        .written(Form::Nanoseconds),
    key(
        "upstream_ms",
        "wxgate.upstream.duration",
        "Of these, milliseconds from sending to the head of the upstream's answer, over all attempts (`ecs`: nanoseconds).",
        "其中从发出到收到微信响应头的毫秒数，累计各次尝试（`ecs` 中为纳秒）。",
    )
    .written(Form::Nanoseconds),
    key(
        "attempts",
        "wxgate.attempts",
        "How often it was sent: 0 answered by wxgate itself, 2 or 3 after a refused token or a broken connection.",
        "发送次数：0 表示由 wxgate 直接响应，2 或 3 表示凭据被拒绝或连接中断后重发过。",
    ),
    key("request_id", "http.request.id", "The caller's `X-Request-Id`, if well-formed.", "调用方的 `X-Request-Id`（格式正确时）。"),
    key("trace_id", "trace.id", "The trace id of the caller's `traceparent`, if well-formed.", "调用方 `traceparent` 中的 trace id（格式正确时）。"),
    key(
        "error",
        "error.message",
        "What went wrong at wxgate: the code of `x-wxgate-error` or `x-wxgate-retry`, the cause.",
        "wxgate 一侧的错误：`x-wxgate-error` 或 `x-wxgate-retry` 的代码及原因。",
    ),
];

/// Keys of other lines; those that an access line has, too, mean the same there.
pub(super) const EVENTS: &[Key] = &[
    key("calls", "wxgate.calls", "How many calls it concerned.", "涉及的调用数。"),
    key("cause", "error.type", "Why.", "原因。"),
    key("delay", "wxgate.delay", "A time that something takes on purpose.", "有意等待的时间。"),
    key(
        "expires_in",
        "wxgate.expires_in",
        "Seconds that a new token lives, as the upstream said.",
        "新凭据的有效秒数，以微信返回的为准。",
    ),
    key(
        "fetches_today",
        "wxgate.fetches_today",
        "Fetches of this account today (Beijing time).",
        "该账号今日（北京时间）的获取次数。",
    ),
    key("from", "wxgate.from", "A value before it was changed.", "更改前的值。"),
    key("generation", "wxgate.generation", "Generation of the token.", "凭据的代次，每换一次加一。"),
    key("grace", "wxgate.grace", "The `shutdown_grace` in force.", "生效的 `shutdown_grace`。"),
    key("host", "wxgate.host", "An API host.", "接口主机。"),
    key("how", "wxgate.how", "By which call a token was asked for.", "用哪个接口获取凭据。"),
    key("keys", "wxgate.keys", "Keys of the configuration.", "配置项。"),
    key("limit", "wxgate.limit", "A limit that was reached.", "已达到的上限。"),
    key("lines", "wxgate.lines", "How many log lines were lost.", "丢失的日志行数。"),
    key("needed", "wxgate.needed", "What would be enough.", "需要的数量。"),
    key(
        "outcome",
        "event.outcome",
        "What became of it: `success` or `failure` where the schema has the word.",
        "结果：`ecs` 中能对应时为 `success` 或 `failure`。",
    ),
    key("quota", "wxgate.quota", "Fetches that the upstream allows in a day.", "微信每天允许的获取次数。"),
    key("reason", "event.reason", "Why a token was asked for.", "为何获取凭据。"),
    key("restarts", "wxgate.restarts", "How often a task was started anew.", "任务重启的次数。"),
    key("seconds_left", "wxgate.seconds_left", "Seconds that are left.", "剩余秒数。"),
    key("to", "wxgate.to", "A value after it was changed.", "更改后的值。"),
    key(
        "turned_away",
        "wxgate.turned_away",
        "Connections that were turned away so far.",
        "至今被拒绝的连接数。",
    ),
];

#[cfg(test)]
mod tests;
