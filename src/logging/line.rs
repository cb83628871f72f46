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
                event.record(&mut Members::<false>(line));
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
                event.record(&mut Members::<true>(line));
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

/// The fields of an event as members of an object, each behind a comma; with the names and forms of the Elastic Common
/// Schema, or as they are.
struct Members<'a, const ECS: bool>(&'a mut Vec<u8>);

impl<const ECS: bool> Members<'_, ECS> {
    /// Writes the name, and tells the form of the value.
    fn name(&mut self, field: &Field) -> Form {
        // Names are words of this program: nothing in them needs escaping.
        let name = field.name();
        match if ECS { keys::find(name) } else { None } {
            Some(key) => {
                add(self.0, &[",\"", key.ecs, "\":"]);
                return key.form;
            }
            None if ECS && name != MESSAGE => add(self.0, &[",\"wxgate.", name, "\":"]),
            None => add(self.0, &[",\"", name, "\":"]),
        }
        Form::Same
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        // As in `add_shown`.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    fn number(&mut self, field: &Field, value: &impl Serialize) {
        let quote = if self.name(field) == Form::Keyword { "\"" } else { "" };
        add(self.0, &[quote]);
        self.value(value);
        add(self.0, &[quote]);
    }
}

impl<const ECS: bool> Visit for Members<'_, ECS> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        match self.name(field) {
            // Milliseconds of a whole century fit.
            Form::Nanoseconds => add_shown(self.0, format_args!("{}", (value * 1e6).round() as u64)),
            Form::Same | Form::Keyword => self.value(&value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.value(value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.value(&format_args!("{value:?}"));
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
mod tests;
