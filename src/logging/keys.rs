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
        "发生了什么；访问日志仅在 `ecs` 格式下有此键。",
    ),
    key(
        "target",
        "log.logger",
        "Which part of wxgate says it; `wxgate::access` for access lines.",
        "来自 wxgate 的哪一部分；访问日志为 `wxgate::access`。",
    ),
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
    key("method", "http.request.method", "Method of the request.", "请求方法。"),
    key(
        "path",
        "url.path",
        "Path of the request without its query, cut at the first `=`.",
        "请求路径，不含查询参数，并在第一个 `=` 处截断。",
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
        "How often it was sent: 0 answered by wxgate itself, 2 after a refused token.",
        "发送次数：0 表示由 wxgate 直接响应，2 表示凭据被拒绝后重发过。",
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
    key("generation", "wxgate.generation", "Generation of the token.", "凭据的代数。"),
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
        "结果。",
    ),
    key("quota", "wxgate.quota", "Fetches that the upstream allows in a day.", "微信每天允许的获取次数。"),
    key("reason", "event.reason", "Why a token was asked for.", "为何获取凭据。"),
    key("restarts", "wxgate.restarts", "How often a task was started anew.", "任务重启的次数。"),
    key("seconds_left", "wxgate.seconds_left", "Seconds that are left.", "剩余秒数。"),
    key("to", "wxgate.to", "A value after it was changed.", "更改后的值。"),
    key("turned_away", "wxgate.turned_away", "Callers that were turned away so far.", "至今被拒绝的连接数。"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;

    fn all() -> impl Iterator<Item = &'static Key> {
        EVERY.iter().chain(ACCESS).chain(EVENTS)
    }

    #[test]
    fn each_name_stands_in_the_table_once() {
        for names in [all().map(|key| key.name).collect::<Vec<_>>(), all().map(|key| key.ecs).collect()] {
            let once: BTreeSet<_> = names.iter().collect();
            assert_eq!(once.len(), names.len(), "{names:?}");
        }
        for key in all().filter(|key| key.ecs.starts_with("wxgate.")) {
            // An object in one line and a value in another cannot be indexed.
            assert!(!all().any(|other| other.ecs.starts_with(&format!("{}.", key.ecs))), "{}", key.ecs);
        }
    }

    /// The text behind `#[cfg(test)]` is not the program's.
    fn sources(dir: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
                && !path.components().any(|part| part.as_os_str() == "tests")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }

    /// The arguments of the macro call whose `(` ends at `text`'s start.
    fn arguments(text: &str) -> Vec<&str> {
        let (mut depth, mut quoted, mut escaped, mut begin) = (0, false, false, 0);
        let mut arguments = Vec::new();
        for (at, letter) in text.char_indices() {
            match letter {
                _ if std::mem::take(&mut escaped) => {}
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                _ if quoted => {}
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => {
                    arguments.push(&text[begin..at]);
                    break;
                }
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    arguments.push(&text[begin..at]);
                    begin = at + 1;
                }
                _ => {}
            }
        }
        arguments
    }

    /// The field that an argument of an event records.
    fn field(argument: &str) -> Option<&str> {
        let code = argument.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.map(str::trim).find(|line| !line.is_empty())?;
        let name = code.trim_start_matches(['%', '?']);
        let name = name.split_once(" = ").map_or(name, |(name, _)| name);
        let word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        word.then_some(name)
    }

    #[test]
    fn each_key_of_an_event_is_in_the_table_and_each_of_the_table_is_used() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let mut used = BTreeSet::new();
        for (file, text) in &files {
            for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
                for (at, _) in text.match_indices(level) {
                    for name in arguments(&text[at + level.len()..]).into_iter().filter_map(field) {
                        assert!(
                            find(name).is_some(),
                            "{file}: the log key `{name}` is not in logging/keys.rs"
                        );
                        used.insert(name);
                    }
                }
            }
        }
        let unused: Vec<_> =
            ACCESS.iter().chain(EVENTS).map(|key| key.name).filter(|name| !used.contains(name)).collect();
        assert!(unused.is_empty(), "no event has {unused:?}");
    }

    struct Words {
        title: &'static str,
        other: &'static str,
        introduction: &'static str,
        every: &'static str,
        access: &'static str,
        events: &'static str,
        head: &'static str,
        of: fn(&Key) -> &'static str,
    }

    const EN: Words = Words {
        title: "Logs",
        other: "[简体中文](../zh/logging.md)",
        introduction: "Lines go to stderr, one for each event. `log_format` chooses `text`, `json` or `ecs` (the names of the \
             Elastic Common Schema); `auto` is text on a terminal and JSON otherwise. A key without a value is left out. No \
             token, secret, key of a caller or query string is ever logged, at any level.\n\n`WXGATE_LOG` sets the level at \
             the start: `error`, `warn`, `info`, `debug` or `trace`. While wxgate runs, SIGUSR1 raises it by one step for \
             five minutes (once more: another step, and five minutes from then), and SIGUSR2 goes back at once. A warning \
             or error that is repeated more than 60 times within a minute is left out until the minute is over, and a line \
             says so.\n\nThis page is made from the table of keys in the program (`src/logging/keys.rs`).",
        every: "Every line",
        access: "The access line: one for each request, at its end",
        events: "Other lines",
        head: "| `json`, `text` | `ecs` | what it says |\n| --- | --- | --- |\n",
        of: |key| key.en,
    };

    const ZH: Words = Words {
        title: "日志",
        other: "[English](../en/logging.md)",
        introduction: "日志写到 stderr，每个事件一行。`log_format` 可选 `text`、`json` 或 `ecs`（Elastic Common Schema 的字段名）；\
             `auto` 在终端上为文本，否则为 JSON。没有值的键不写出。任何级别的日志都不含凭据、密钥、调用方密钥和查询参数。\n\n\
             启动时的级别由 `WXGATE_LOG` 设置：`error`、`warn`、`info`、`debug` 或 `trace`。运行中 SIGUSR1 将级别提高一档，持续五分钟\
             （再发一次再提高一档，并重新计时五分钟）；SIGUSR2 立即恢复。同一条警告或错误一分钟内超过 60 次时，余下的不再写出，并有一行说明。\
             \n\n本页由程序中的键表（`src/logging/keys.rs`）生成。",
        every: "每一行都有",
        access: "访问日志：每个请求结束时一行",
        events: "其他日志",
        head: "| `json`、`text` | `ecs` | 含义 |\n| --- | --- | --- |\n",
        of: |key| key.zh,
    };

    fn document(words: &Words) -> String {
        let mut text = format!("# {}\n\n{}\n\n{}\n", words.title, words.other, words.introduction);
        for (title, keys) in [(words.every, EVERY), (words.access, ACCESS), (words.events, EVENTS)] {
            write!(text, "\n## {title}\n\n{}", words.head).unwrap();
            for key in keys {
                writeln!(text, "| `{}` | `{}` | {} |", key.name, key.ecs, (words.of)(key)).unwrap();
            }
        }
        text
    }

    #[test]
    fn documents_are_made_from_the_table_of_log_keys() {
        for (name, words) in [("docs/en/logging.md", &EN), ("docs/zh/logging.md", &ZH)] {
            let (path, text) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(name), document(words));
            if std::env::var_os("WXGATE_WRITE_DOCUMENTS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let there = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == text,
                "{name} differs; WXGATE_WRITE_DOCUMENTS=1 cargo test --lib documents_are_made"
            );
        }
    }
}
