//! Prefixes, beginnings of paths, and rules of callers.
//!
//! The keys read alike and mean different things: an entry of `paths` is the beginning of a path, one of `allow` and
//! `untouched` a whole path unless it ends in `*`, and a `prefix` ends before a `/`. A spelling that is right in one of
//! them and would fit no call in another is refused with the right one. Forms that no call can have are slips too.

use http::Method;

use super::super::Allow;
use crate::http1::target::clean_path;
use crate::proxy::route::PathPattern;

const API_PATH_WANTED: &str = r#"the beginning of a path like "/cgi-bin/": first a `/`, then visible ASCII as callers send it, without `//`, `.` and `..` segments, `?`, `#`, `\`, `%` and `;`"#;

/// What the path of an entry of `secret_paths` looks like.
pub(in super::super) const WHOLE_WANTED: &str =
    r#"a whole path like "/donut/code2verifyinfo", without `*`, and without a `/` at its end"#;

/// What an entry of `untouched` looks like.
pub(in super::super) const PATTERN_WANTED: &str =
    r#"a path like "/wxa/gettemplatelist", or with a `*` at its end, "/wxa/third/*", for any rest"#;

/// What an entry of `allow` looks like.
pub(in super::super) const ALLOW_WANTED: &str = r#""METHOD PATTERN" like "GET /cgi-bin/user/*": `*` for any method, a `*` at the end of the path for any rest"#;

/// `""`, or the first part of a path.
pub(in super::super) fn prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || whole(text).is_some() {
        return Ok(text.to_owned());
    }
    let bare = text.trim_end_matches(['*', '/']);
    let bare = if bare.is_empty() || bare.starts_with('/') { bare.to_owned() } else { format!("/{bare}") };
    Err(match bare != text && prefix(&bare).is_ok() {
        true => format!("\"{bare}\": what comes behind a prefix is not part of it"),
        false => r#""" or a prefix like "/shop": one `/` before each part, none at the end, no `.` or `..`, no `?`, `#`, `%`, `;`, `*`"#
            .to_owned(),
    })
}

/// The beginning of the API paths that may be called.
pub(in super::super) fn api_path(text: &str) -> Result<String, String> {
    if is_clean(text) && !text.contains('*') {
        return Ok(text.to_owned());
    }
    let bare = text.trim_end_matches('*');
    Err(match bare != text && api_path(bare).is_ok() {
        true => {
            format!("\"{bare}\": an entry of `paths` is the beginning of a path, and has no `*` for the rest")
        }
        false if text.contains('*') => format!("{API_PATH_WANTED}; `*` has no meaning here"),
        false => API_PATH_WANTED.to_owned(),
    })
}

/// A whole path, or with a `*` at its end the beginning of one.
pub(in super::super) fn pattern(text: &str) -> Result<PathPattern, String> {
    let pattern = PathPattern::parse(text).ok_or_else(|| PATTERN_WANTED.to_owned())?;
    ends_in_slash(text).map_or(Ok(pattern), Err)
}

/// `METHOD PATTERN`.
pub(in super::super) fn allow(text: &str) -> Result<Allow, String> {
    let wanted = || ALLOW_WANTED.to_owned();
    let (method, pattern) = match text.split_once(' ') {
        Some(parts) => parts,
        None if text == "*" => return Err(r#""* /*" for any method and any path"#.to_owned()),
        None if allow(&format!("* {text}")).is_ok() => {
            return Err(format!(
                "\"* {text}\" for any method, or a method like GET in the place of the first `*`"
            ));
        }
        None => return Err(wanted()),
    };
    let method = match method {
        "*" => None,
        // In upper case, as requests have it when they are compared.
        name if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            Some(Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|_| wanted())?)
        }
        _ => return Err(wanted()),
    };
    if pattern == "*" {
        return Err(format!("\"{} /*\" for any path", method.as_ref().map_or("*", Method::as_str)));
    }
    let path = PathPattern::parse(pattern).ok_or_else(wanted)?;
    match ends_in_slash(text) {
        None => Ok(Allow { method, path }),
        Some(words) => Err(words),
    }
}

/// No call of the API ends in `/`: whoever writes one means what comes behind it, as in `paths`.
fn ends_in_slash(text: &str) -> Option<String> {
    text.ends_with('/')
        .then(|| format!("\"{text}*\": without the `*` it is that path alone, which no call has"))
}

/// A whole path, as an entry of `secret_paths` has it.
pub(in super::super) fn whole(text: &str) -> Option<&str> {
    (is_clean(text) && !text.ends_with('/') && !text.contains('*')).then_some(text)
}

/// Whether a call that one of `paths` admits could fit the pattern.
pub(in super::super) fn could_fit(pattern: &PathPattern, paths: &[String]) -> bool {
    let pattern = pattern.to_string();
    paths.iter().any(|begin| match pattern.strip_suffix('*') {
        Some(path) => path.starts_with(begin.as_str()) || begin.starts_with(path),
        None => pattern.starts_with(begin.as_str()),
    })
}

/// Whether a path is as the proxy compares it.
fn is_clean(path: &str) -> bool {
    clean_path(path).is_ok_and(|clean| clean == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for good in ["", "/shop", "/shop/a-b", "/~x"] {
            assert_eq!(prefix(good).as_deref(), Ok(good));
        }
        for bad in [
            "/", "shop", "/shop/", "//shop", "/a//b", "/a/../b", "/.", "/a?b", "/a#b", "/%61", "/a b", "/ä",
            "/a;b", "/a|b", "/shop/*", "/*", "/a*b",
        ] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        for (path, right) in [
            ("/", true),
            ("/cgi-bin/", true),
            ("/cgi-bin/user", true),
            ("/a/.b/..c", true),
            ("/a=b,c@d!$&'()+:[]", true),
            ("/a*b", false),
            ("/cgi-bin/*", false),
            ("/a%20b", false),
            ("/a;b", false),
            ("", false),
            ("cgi-bin/", false),
            ("//", false),
            ("/a//b", false),
            ("/./a", false),
            ("/a/../b", false),
            ("/a/..", false),
            ("/a\\b", false),
            ("/a?b", false),
            ("/a#b", false),
            ("/a b", false),
            ("/ä", false),
            ("/a|b", false),
            ("/%74oken", false),
            ("/%2e%2e/", false),
            ("/a%2Fb", false),
            ("/a%5cb", false),
            ("/a%00", false),
            ("/a%", false),
            ("/a%2", false),
            ("/a%zz", false),
            ("/a%+1", false),
        ] {
            assert_eq!(api_path(path).is_ok(), right, "{path}");
        }
    }

    #[test]
    fn a_pattern_fits_where_it_meets_the_beginning_of_a_path() {
        let paths = ["/cgi-bin/".to_owned(), "/wxa/business/".to_owned()];
        for (text, fits) in [
            ("/cgi-bin/menu/get", true),
            ("/cgi-bin/*", true),
            ("/wxa/*", true),
            ("/wxa/get", false),
            ("/*", true),
            ("/shop/cgi-bin/*", false),
        ] {
            assert_eq!(could_fit(&pattern(text).unwrap(), &paths), fits, "{text}");
        }
    }

    #[test]
    fn entries_of_allow() {
        for (text, right) in [
            ("GET /cgi-bin/user/*", Some((Some(Method::GET), "/cgi-bin/user/*"))),
            ("* /cgi-bin/menu/get", Some((None, "/cgi-bin/menu/get"))),
            ("POST /*", Some((Some(Method::POST), "/*"))),
            ("post /cgi-bin/*", Some((Some(Method::POST), "/cgi-bin/*"))),
            ("GET", None),
            ("GET  /cgi-bin/x", None),
            ("GET cgi-bin/x", None),
            ("GET /cgi-bin/*/get", None),
            ("GET /a?b", None),
            ("GET /a//b", None),
            ("GET /%61", None),
            ("GET /a;b", None),
            ("G-T /a", None),
            ("", None),
        ] {
            let right = right.map(|(method, path)| Allow { method, path: PathPattern::parse(path).unwrap() });
            assert_eq!(allow(text).ok(), right, "{text}");
        }
    }

    /// One spelling, three keys: what would fit no call is told the right spelling.
    #[test]
    fn spellings_of_another_key_are_told_the_right_one() {
        for (text, words) in [
            (
                "/cgi-bin/*",
                "\"/cgi-bin/\": an entry of `paths` is the beginning of a path, and has no `*` for the rest",
            ),
            ("/*", "\"/\": an entry of `paths` is the beginning of a path, and has no `*` for the rest"),
        ] {
            assert_eq!(api_path(text).unwrap_err(), words);
        }
        assert!(api_path("/cgi-bin/*/get").unwrap_err().ends_with("`*` has no meaning here"));
        for (text, right) in
            [("/shop/*", "/shop"), ("/shop/", "/shop"), ("shop", "/shop"), ("/*", ""), ("/", "")]
        {
            let words = format!("\"{right}\": what comes behind a prefix is not part of it");
            assert_eq!(prefix(text).unwrap_err(), words);
        }
        for (text, words) in [
            (
                "GET /cgi-bin/user/",
                "\"GET /cgi-bin/user/*\": without the `*` it is that path alone, which no call has",
            ),
            ("GET /", "\"GET /*\": without the `*` it is that path alone, which no call has"),
            (
                "/cgi-bin/*",
                "\"* /cgi-bin/*\" for any method, or a method like GET in the place of the first `*`",
            ),
            ("*", "\"* /*\" for any method and any path"),
            ("post *", "\"POST /*\" for any path"),
        ] {
            assert_eq!(allow(text).unwrap_err(), words);
        }
        let words = "\"/wxa/third/*\": without the `*` it is that path alone, which no call has";
        assert_eq!(pattern("/wxa/third/").unwrap_err(), words);
    }
}
