//! What a request to the admin listener asks for beside its path: query, language, form of the answer. Pure.

use http::header;
use http::request::Parts;

use crate::errcodes::Lang;

/// The value of a query parameter; `""` for one without a value.
pub(super) fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query()?;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// `?lang=` if it says one, else `Accept-Language`, by its weights.
pub(super) fn language(parts: &Parts) -> Lang {
    let of_tag = |tag: &str| {
        let tag = tag.trim().to_ascii_lowercase();
        match tag.split('-').next() {
            Some("zh") => Some(Lang::Zh),
            Some("en") => Some(Lang::En),
            _ => None,
        }
    };
    if let Some(lang) = parameter(parts, "lang").and_then(|lang| of_tag(&lang)) {
        return lang;
    }
    let accepted =
        parts.headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let mut best = (0.0, Lang::En);
    for item in accepted.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';');
        let lang = parts.next().and_then(of_tag);
        let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f64>().ok());
        let weight = weight.unwrap_or(1.0);
        if let Some(lang) = lang
            && weight > best.0
        {
            best = (weight, lang);
        }
    }
    best.1
}

/// Whether a browser asks that takes a page: one without script goes back to where it was.
pub(super) fn wants_page(parts: &Parts) -> bool {
    let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/html")))
}
