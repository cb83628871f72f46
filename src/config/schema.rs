//! The JSON schema of the file, made from the table of keys: for editors, which show descriptions and complete names.
//!
//! It accepts whatever the reader accepts, and misses what only the reader sees (two accounts with one name, say).

use serde_json::{Map, Value, json};

use super::keys::{Default, Header, Key, Kind, SECTIONS, Section};
use super::value::json_of;

/// What `#:schema` in a file's first line refers to.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for section in SECTIONS {
        let table = table(section);
        match section.header {
            Header::None => properties.extend(keys(section)),
            Header::Once | Header::Optional => drop(properties.insert(section.name.to_owned(), table)),
            // Stands within its outer one.
            Header::Inner => {}
            Header::Many | Header::Any => {
                let tables = json!({ "type": "array", "items": table, "description": section.text.en });
                properties.insert(section.name.to_owned(), tables);
            }
        }
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of wxgate",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        // A file that `accounts` names may have callers alone.
        "anyOf": [{ "required": ["account"] }, { "required": ["accounts"] }, { "required": ["caller"] }],
    })
}

fn table(section: &'static Section) -> Value {
    let required: Vec<_> = section
        .keys
        .iter()
        .filter(|key| matches!(key.default, Default::Required))
        .map(|key| key.name)
        .collect();
    let mut properties = keys(section);
    for (name, inner) in section.inner() {
        properties.insert(name.to_owned(), table(inner));
    }
    let mut schema = json!({
        "type": "object",
        "description": section.text.en,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let unless: Vec<_> = section
        .keys
        .iter()
        .filter_map(|key| match key.default {
            Default::RequiredUnless(other, value) => Some(json!({ "anyOf": [
                { "required": [key.name] },
                { "properties": { other: { "const": value } }, "required": [other] },
            ] })),
            _ => None,
        })
        .collect();
    if !unless.is_empty() {
        schema["allOf"] = unless.into();
    }
    schema
}

fn keys(section: &'static Section) -> Map<String, Value> {
    section.keys.iter().map(|key| (key.name.to_owned(), of_key(key))).collect()
}

fn of_key(key: &'static Key) -> Value {
    let mut schema = of_kind(&key.kind);
    schema.insert("description".to_owned(), key.text.en.into());
    if let Some(default) = key.default_value() {
        schema.insert("default".to_owned(), json_of(default.get_ref()));
    }
    Value::Object(schema)
}

fn of_kind(kind: &Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Choice(names) => json!({ "enum": names }),
        Kind::Number(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Size(low, high) => json!({ "anyOf": [
            { "type": "integer", "minimum": low, "maximum": high },
            { "type": "string", "pattern": r"^\s*[0-9.]+\s*[A-Za-z]*\s*$" },
        ] }),
        Kind::Time(..) => json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*[A-Za-z]+[0-9.A-Za-z\s]*$" }),
        Kind::Text(form) => json!({ "type": "string", "pattern": form.pattern }),
        Kind::SecretPath => json!({ "anyOf": [
            { "type": "string", "pattern": "^/[^*?#%;\\\\]*[^*?#%;\\\\/]$" },
            {
                "type": "object",
                "properties": {
                    "path": { "type": "string", "pattern": "^/[^*?#%;\\\\]*[^*?#%;\\\\/]$" },
                    "appid": { "type": "string", "minLength": 1 },
                    "secret": { "type": "string", "minLength": 1 },
                    "token": { "type": "boolean" },
                },
                "required": ["path"],
                "additionalProperties": false,
            },
        ] }),
        Kind::Certificates => {
            json!({ "type": "object", "minProperties": 1, "additionalProperties": secret() })
        }
        Kind::Path => json!({ "type": "string", "minLength": 1 }),
        // A secret is a text where PEM has a path: the shape is the same.
        Kind::Secret | Kind::Pem => secret(),
        Kind::List(of) => json!({ "type": "array", "items": of_kind(of) }),
        Kind::OneOrMore(of) => {
            let of = of_kind(of);
            json!({ "anyOf": [of, { "type": "array", "items": of }] })
        }
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn secret() -> Value {
    let from = |source: &str| {
        json!({
            "type": "object",
            "properties": { source: { "type": "string", "minLength": 1 } },
            "required": [source],
            "additionalProperties": false,
        })
    };
    json!({ "anyOf": [{ "type": "string", "minLength": 1 }, from("file"), from("env"), from("credential")] })
}
