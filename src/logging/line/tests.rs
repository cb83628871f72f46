//! Events and the lines that they become.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber, debug, error, info, trace, warn};

use super::*;

/// Keeps the lines of all events.
struct Kept(Format, Arc<Mutex<Vec<u8>>>);

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn event(&self, event: &Event<'_>) {
        let time = UNIX_EPOCH + Duration::from_micros(1_792_540_799_000_042);
        self.0.write(&mut self.1.lock().unwrap(), time, event);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn lines(format: Format, events: impl FnOnce()) -> Vec<String> {
    let kept = Arc::default();
    tracing::subscriber::with_default(Kept(format, Arc::clone(&kept)), events);
    let text = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(str::to_owned).collect()
}

const TEXT: Format = Format::Text { color: false };
const COLORS: Format = Format::Text { color: true };

/// One event of each kind, as wxgate writes them.
fn events() {
    let (path, caller) = ("/cgi-bin/\"get\"", "php \u{1b}[31m\n票");
    info!(
        target: "wxgate::access",
        caller,
        path = %path,
        status = 200_u16,
        errcode = Some(-1_i64),
        ms = 0.5,
        whole = 2.0,
        held = false,
        error = None::<&str>,
        odd = ?Some('\n'),
    );
    warn!(target: "wxgate", limit = 5, "words with {} and \n \u{9b} \"quotes\"", "a part");
    for level in 0..3 {
        match level {
            0 => error!(target: "wxgate::cli", "e"),
            1 => debug!(target: "wxgate::cli", "d"),
            _ => trace!(target: "wxgate::cli", "t"),
        }
    }
}

#[test]
fn json_is_one_object_with_time_level_fields_and_target() {
    let access = r#"{"timestamp":"2026-10-20T23:59:59.000042Z","level":"INFO","caller":"php \u001b[31m\n票","path":"/cgi-bin/\"get\"","status":200,"errcode":-1,"ms":0.5,"whole":2.0,"held":false,"odd":"Some('\\n')","target":"wxgate::access"}"#;
    let words = "{\"timestamp\":\"2026-10-20T23:59:59.000042Z\",\"level\":\"WARN\",\"message\":\"words with a part \
         and \\n \u{9b} \\\"quotes\\\"\",\"limit\":5,\"target\":\"wxgate\"}";
    let short = |level: &str, words: &str| {
        format!(
            r#"{{"timestamp":"2026-10-20T23:59:59.000042Z","level":"{level}","message":"{words}","target":"wxgate::cli"}}"#
        )
    };
    let right =
        [access.to_owned(), words.to_owned(), short("ERROR", "e"), short("DEBUG", "d"), short("TRACE", "t")];
    let lines = lines(Format::Json, events);
    assert_eq!(lines, right);
    for line in lines {
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn ecs_has_the_names_of_the_schema() {
    let common = format!(
        "\"service.name\":\"wxgate\",\"service.version\":\"{}\",\"ecs.version\":\"8.11.0\"",
        env!("CARGO_PKG_VERSION")
    );
    let lines = lines(Format::Ecs, events);
    let access = r#"{"@timestamp":"2026-10-20T23:59:59.000042Z","log.level":"info","message":"request","client.user.name":"php \u001b[31m\n票","url.path":"/cgi-bin/\"get\"","http.response.status_code":200,"error.code":"-1","event.duration":500000,"wxgate.whole":2.0,"wxgate.held":false,"wxgate.odd":"Some('\\n')","log.logger":"wxgate::access","#;
    assert_eq!(lines[0], format!("{access}{common}}}"));
    assert!(lines[1].contains("\"log.level\":\"warn\",\"message\":\"words with a part and "), "{}", lines[1]);
    for line in lines {
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn text_is_time_level_target_words_and_fields() {
    let right = [
        r#"2026-10-20T23:59:59.000042Z  INFO wxgate::access: caller="php \u{1b}[31m\n票" path=/cgi-bin/"get" status=200 errcode=-1 ms=0.5 whole=2.0 held=false odd=Some('\n')"#,
        r#"2026-10-20T23:59:59.000042Z  WARN wxgate: words with a part and \n \u{9b} "quotes" limit=5"#,
        "2026-10-20T23:59:59.000042Z ERROR wxgate::cli: e",
        "2026-10-20T23:59:59.000042Z DEBUG wxgate::cli: d",
        "2026-10-20T23:59:59.000042Z TRACE wxgate::cli: t",
    ];
    assert_eq!(lines(TEXT, events), right);
}

#[test]
fn colors_change_nothing_but_the_colors() {
    let colored = lines(COLORS, events);
    assert_eq!(
        colored[2],
        "\u{1b}[2m2026-10-20T23:59:59.000042Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m \
         \u{1b}[2mwxgate::cli\u{1b}[0m\u{1b}[2m:\u{1b}[0m e"
    );
    assert!(colored[1].ends_with(" \u{1b}[3mlimit\u{1b}[0m\u{1b}[2m=\u{1b}[0m5"), "{}", colored[1]);
    let bare = |line: &String| {
        ["0", "2", "3", "31", "32", "33", "34", "35"]
            .iter()
            .fold(line.clone(), |line, code| line.replace(&format!("\u{1b}[{code}m"), ""))
    };
    assert_eq!(colored.iter().map(bare).collect::<Vec<_>>(), lines(TEXT, events));
}
