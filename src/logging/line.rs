//! What a line looks like: one event as text for people or as JSON for machines. Knows no particular event.
//!
//! The looks are those of tracing-subscriber's two formats; `ARCHITECTURE.md` says why it is not used. Each event
//! is one line, whatever its fields hold.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::keys::{self, Form};
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The name of the field that holds an event's words.
const MESSAGE: &str = "message";

/// Which of the looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// One object, its fields beside those that every line has.
    Json,
    /// The same in the names of the Elastic Common Schema.
    Ecs,
    /// The words first, then `name=value`.
    Text {
        /// With colors of a terminal.
        color: bool,
    },
}

impl Format {
    /// Appends the line of an event.
    pub(super) fn write(self, line: &mut Vec<u8>, time: SystemTime, event: &Event<'_>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        // humantime knows no earlier times.
        let time = humantime::format_rfc3339_micros(time.max(UNIX_EPOCH));
        match self {
            Self::Json => {
                add(line, &["{\"timestamp\":\""]);
                add_shown(line, format_args!("{time}"));
                add(line, &["\",\"level\":\"", level.as_str(), "\""]);
                event.record(&mut Json(line));
                add(line, &[",\"target\":\"", target, "\"}\n"]);
            }
            Self::Ecs => {
                add(line, &["{\"@timestamp\":\""]);
                add_shown(line, format_args!("{time}"));
                add(line, &["\",\"log.level\":\"", ecs_level(level), "\""]);
                // The schema wants one in every line.
                if event.fields().all(|field| field.name() != MESSAGE) {
                    add(line, &[",\"message\":\"request\""]);
                }
                event.record(&mut Ecs(line));
                add(line, &[",\"log.logger\":\"", target, "\"", ECS_CONSTANTS, "}\n"]);
            }
            Self::Text { color } => {
                let style = if color { COLORED } else { PLAIN };
                let (word, of_level) = shown_level(level);
                add(line, &[style.dim]);
                add_shown(line, format_args!("{time}"));
                add(line, &[style.end, " ", if color { of_level } else { "" }, word, style.end]);
                add(line, &[" ", style.dim, target, style.end, style.dim, ":", style.end]);
                event.record(&mut Text { line, style });
                add(line, &["\n"]);
            }
        }
    }
}

/// Appends texts.
fn add(line: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        line.extend_from_slice(text.as_bytes());
    }
}

/// Appends what has to be put into words first, which costs more.
fn add_shown(line: &mut Vec<u8>, shown: fmt::Arguments<'_>) {
    // Memory takes all; what cannot show itself is left out.
    let _ = line.write_fmt(shown);
}

/// The fields of an event, each behind a comma.
struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    fn field(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        // Names are words of this program: nothing in them needs escaping.
        add(self.0, &[",\"", field.name(), "\":"]);
        // As in `add_shown`.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }
}

impl Visit for Json<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.field(field, &format_args!("{value:?}"));
    }
}

/// What every line of `ecs` ends with.
const ECS_CONSTANTS: &str = concat!(
    ",\"service.name\":\"wxgate\",\"service.version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\",\"ecs.version\":\"8.11.0\""
);

fn ecs_level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The same with the names and forms of the schema.
struct Ecs<'a>(&'a mut Vec<u8>);

impl Ecs<'_> {
    /// Writes the name, and tells the form of the value.
    fn name(&mut self, field: &Field) -> Form {
        match keys::find(field.name()) {
            Some(key) => {
                add(self.0, &[",\"", key.ecs, "\":"]);
                key.form
            }
            None if field.name() == MESSAGE => {
                add(self.0, &[",\"message\":"]);
                Form::Same
            }
            None => {
                add(self.0, &[",\"wxgate.", field.name(), "\":"]);
                Form::Same
            }
        }
    }

    fn field(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        let keyword = self.name(field) == Form::Keyword;
        let quote = if keyword { "\"" } else { "" };
        add(self.0, &[quote]);
        // As in `add_shown`.
        let _ = serde_json::to_writer(&mut *self.0, value);
        add(self.0, &[quote]);
    }
}

impl Visit for Ecs<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.name(field) {
            // Milliseconds of a whole century fit.
            Form::Nanoseconds => add_shown(self.0, format_args!("{}", (value * 1e6).round() as u64)),
            // As in `add_shown`.
            Form::Same | Form::Keyword => {
                let _ = serde_json::to_writer(&mut *self.0, &value);
            }
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        // As in `add_shown`.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        // As in `add_shown`.
        let _ = serde_json::to_writer(&mut *self.0, &format_args!("{value:?}"));
    }
}

/// The fields of an event, each behind a space.
struct Text<'a> {
    line: &'a mut Vec<u8>,
    style: Style,
}

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.record_debug(field, &format_args!("{value}")),
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Style { dim, italic, end } = self.style;
        match field.name() {
            MESSAGE => add(self.line, &[" "]),
            name => add(self.line, &[" ", italic, name, end, dim, "=", end]),
        }
        // As in `add_shown`.
        let _ = write!(Printable(self.line), "{value:?}");
    }
}

/// Takes text and escapes what could end the line or steer a terminal.
struct Printable<'a>(&'a mut Vec<u8>);

impl fmt::Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.0.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        for letter in text.chars() {
            match letter.is_control() {
                true => add_shown(self.0, format_args!("{}", letter.escape_default())),
                false => add_shown(self.0, format_args!("{letter}")),
            }
        }
        Ok(())
    }
}

/// What a terminal is told before and behind a part of a line.
#[derive(Clone, Copy)]
struct Style {
    dim: &'static str,
    italic: &'static str,
    end: &'static str,
}

const PLAIN: Style = Style { dim: "", italic: "", end: "" };
const COLORED: Style = Style { dim: "\x1b[2m", italic: "\x1b[3m", end: "\x1b[0m" };

/// Five letters, and their color.
fn shown_level(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::ERROR => ("ERROR", "\x1b[31m"),
        Level::WARN => (" WARN", "\x1b[33m"),
        Level::INFO => (" INFO", "\x1b[32m"),
        Level::DEBUG => ("DEBUG", "\x1b[34m"),
        Level::TRACE => ("TRACE", "\x1b[35m"),
    }
}

#[cfg(test)]
mod tests {
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
        let right = [
            access.to_owned(),
            words.to_owned(),
            short("ERROR", "e"),
            short("DEBUG", "d"),
            short("TRACE", "t"),
        ];
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
        assert!(
            lines[1].contains("\"log.level\":\"warn\",\"message\":\"words with a part and "),
            "{}",
            lines[1]
        );
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
}
