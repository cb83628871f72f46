//! The most likely cure for a key that is in no table of keys.

use super::error::shown_key;
use super::keys::{SECTIONS, Section, TOP};

/// How the key is shown, and what to do about it.
pub(super) fn advise(section: &'static Section, path: &str, name: &str) -> (String, String) {
    let here: Vec<&str> = section.names().collect();
    let Some(name) = shown_key(name) else {
        let words = format!("holds something that is not one of its keys: {}", listed(&here));
        return (path.to_owned(), words);
    };
    let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let asked = name.to_ascii_lowercase().replace('-', "_");
    let close = here
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, &asked), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min();
    let elsewhere = || SECTIONS.iter().find(|section| section.names().any(|known| known == asked));
    let advice = match close {
        Some((_, nearest)) => format!("unknown key, did you mean `{nearest}`?"),
        None => match elsewhere() {
            Some(section) if section.name == TOP => {
                "unknown key here, it belongs at the top of the file, before the first [table]".to_owned()
            }
            Some(section) => format!("unknown key here, it belongs under {}", section.shown()),
            None => format!("unknown key, known here are {}", listed(&here)),
        },
    };
    (full, advice)
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
