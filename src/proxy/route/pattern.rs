//! Patterns of paths as `allow` and `untouched` have them: a whole path, or with a `*` at its end any beginning.
//!
//! Compared byte for byte with what the admit step let pass.

use std::fmt;

use crate::http1::target::clean_path;

/// A path, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    path: String,
    any_rest: bool,
}

impl PathPattern {
    /// Reads `/cgi-bin/menu/get` or `/cgi-bin/user/*`; `None` for what no request could ever fit.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, any_rest) = match text.strip_suffix('*') {
            Some(path) => (path, true),
            None => (text, false),
        };
        let clean = clean_path(path).ok()?;
        (clean == path && !path.contains('*')).then(|| Self { path: path.to_owned(), any_rest })
    }

    /// Whether a path, without the account's prefix, fits.
    pub fn covers(&self, path: &str) -> bool {
        if self.any_rest { path.starts_with(&self.path) } else { path == self.path }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, if self.any_rest { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_path_or_a_beginning() {
        for (text, covered, not_covered) in [
            (
                "/cgi-bin/menu/get",
                &["/cgi-bin/menu/get"][..],
                &["/cgi-bin/menu/get/", "/cgi-bin/menu/getx"][..],
            ),
            (
                "/cgi-bin/user/*",
                &["/cgi-bin/user/", "/cgi-bin/user/a/b"],
                &["/cgi-bin/user", "/cgi-bin/users"],
            ),
            ("/*", &["/", "/a"], &[]),
        ] {
            let pattern = PathPattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), text);
            assert!(covered.iter().all(|path| pattern.covers(path)), "{text}");
            assert!(!not_covered.iter().any(|path| pattern.covers(path)), "{text}");
        }
        for text in
            ["", "*", "a", "/a*b", "/a**", "//a", "/a//*", "/a?b", "/%61", "/a;b", "/../a", "/ä", "/a b"]
        {
            assert_eq!(PathPattern::parse(text), None, "{text}");
        }
    }
}
