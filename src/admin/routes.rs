//! The routes of the admin listener: one table from method and path to what is asked for.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Whether the process serves.
    Live,
    /// Whether accounts can serve.
    Ready,
    /// Prometheus' text.
    Metrics,
    /// The state as JSON.
    Status,
    /// The last failed or repeated calls.
    Calls,
    /// The configuration in force.
    Config,
    /// The page.
    Page,
    /// A refresh of an account's token.
    Refresh,
    /// A call of an account.
    Call,
    /// Reading the configuration again.
    Reload,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// GET also answers HEAD.
    pub method: Method,
    /// The path; `{account}` stands for one segment.
    pub path: &'static str,
    /// What it asks for.
    pub route: Route,
}

/// Every route there is.
pub static ROUTES: [Row; 11] = [
    row(Method::GET, "/livez", Route::Live),
    row(Method::GET, "/healthz", Route::Live),
    row(Method::GET, "/readyz", Route::Ready),
    row(Method::GET, "/metrics", Route::Metrics),
    row(Method::GET, "/status", Route::Status),
    row(Method::GET, "/calls", Route::Calls),
    row(Method::GET, "/config", Route::Config),
    row(Method::GET, "/", Route::Page),
    row(Method::POST, "/accounts/{account}/refresh", Route::Refresh),
    row(Method::POST, "/accounts/{account}/call", Route::Call),
    row(Method::POST, "/reload", Route::Reload),
];

const fn row(method: Method, path: &'static str, route: Route) -> Row {
    Row { method, path, route }
}

/// What became of the look for a route.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// This one, of this account (`""` where the route has none).
    Route(Route, &'p str),
    /// The path exists under this other method.
    Method(&'static Method),
    /// There is no such path.
    Nothing,
}

/// Finds the route of a request.
pub fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let mut other = None;
    for row in &ROUTES {
        let Some(account) = matches(row.path, path) else { continue };
        if row.method == *method || (row.method == Method::GET && *method == Method::HEAD) {
            return Found::Route(row.route, account);
        }
        other = Some(&row.method);
    }
    other.map_or(Found::Nothing, Found::Method)
}

/// The account in a path that fits the pattern; `""` where the pattern has none.
fn matches<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once("{account}") else {
        return (pattern == path).then_some("");
    };
    let account = path.strip_prefix(before)?.strip_suffix(after)?;
    (!account.is_empty() && !account.contains('/')).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_found_by_its_method_and_path_alone() {
        for (method, path, right) in [
            ("GET", "/livez", Found::Route(Route::Live, "")),
            ("HEAD", "/healthz", Found::Route(Route::Live, "")),
            ("GET", "/", Found::Route(Route::Page, "")),
            ("POST", "/accounts/main/refresh", Found::Route(Route::Refresh, "main")),
            ("POST", "/accounts/a-1/call", Found::Route(Route::Call, "a-1")),
            ("GET", "/accounts/main/refresh", Found::Method(&Method::POST)),
            ("HEAD", "/reload", Found::Method(&Method::POST)),
            ("POST", "/status", Found::Method(&Method::GET)),
            ("POST", "/accounts//refresh", Found::Nothing),
            ("POST", "/accounts/a/b/refresh", Found::Nothing),
            ("POST", "/accounts/main", Found::Nothing),
            ("GET", "/status/", Found::Nothing),
            ("GET", "//", Found::Nothing),
            ("GET", "/favicon.ico", Found::Nothing),
        ] {
            assert_eq!(find(&method.parse().unwrap(), path), right, "{method} {path}");
        }
    }
}
