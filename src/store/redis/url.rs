//! Reads the URL of a store: `redis://`, `rediss://` (TLS), `redis-sentinel://` and `rediss-sentinel://`.
//!
//! No error shows any of it: it may hold a password. Names are not looked up.

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// What a URL must look like.
pub(super) const WANTED: &str = "a URL like \"redis://127.0.0.1:6379/0\", \"rediss://user:password@host:6380/0\" or \
                          \"redis-sentinel://host1:26379,host2:26379/NAME/0\"";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    /// Over TLS.
    pub tls: bool,
    /// At least one: the server, or all sentinels.
    pub hosts: Vec<(String, u16)>,
    /// The name of the master that the hosts are sentinels of.
    pub master: Option<String>,
    /// The database's number.
    pub database: i64,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
}

impl StoreUrl {
    /// Reads it.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(WANTED)?;
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-sentinel" => (false, true),
            "rediss-sentinel" => (true, true),
            _ => return Err(WANTED),
        };
        if rest.contains(['?', '#']) {
            return Err(
                "a URL of the store without `?` and `#`: a password that has them writes them as %3F and %23",
            );
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
            Some((user, password)) => (Some(decoded(user)?), Some(Secret::new(decoded(password)?))),
            None => (None, None),
        };
        let port = if sentinel { SENTINEL_PORT } else { REDIS_PORT };
        let hosts = hosts.split(',').map(|one| host(one, port)).collect::<Option<Vec<_>>>().ok_or(WANTED)?;
        if hosts.len() > 1 && !sentinel {
            return Err("one host in the URL of the store, or redis-sentinel:// before several sentinels");
        }
        let (master, database) = match (sentinel, path.split_once('/')) {
            (false, None) => (None, path),
            (true, None) => (Some(path), ""),
            (true, Some((master, database))) => (Some(master), database),
            (false, Some(_)) => return Err(WANTED),
        };
        if master.is_some_and(str::is_empty) {
            return Err("the master's name in the URL of the store: \"redis-sentinel://host:26379/NAME\"");
        }
        let database = if database.is_empty() { "0" } else { database };
        Ok(Self {
            tls,
            hosts,
            master: master.map(decoded).transpose()?,
            database: database.parse::<u16>().map_err(|_| WANTED)?.into(),
            user: user.filter(|user| !user.is_empty()),
            password: password.filter(|password| !password.is_empty()),
        })
    }
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| WANTED)?;
    Ok(decoded.into_owned())
}

fn host(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(literal) => {
            let (host, after) = literal?;
            (host, after.strip_prefix(':').map_or(Some(port), |port| port.parse().ok())?)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    let right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    (!host.is_empty() && port != 0 && host.chars().all(right)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, &'static str> {
        StoreUrl::parse(text).map(|url| {
            let password = url.password.as_ref().map_or("", |password| password.expose());
            format!(
                "{} {:?} {} {} {} {}",
                url.tls,
                url.hosts,
                url.master.unwrap_or_default(),
                url.database,
                url.user.unwrap_or_default(),
                password
            )
        })
    }

    #[test]
    fn urls_are_read() {
        for (text, expected) in [
            ("redis://127.0.0.1:6379/0", r#"false [("127.0.0.1", 6379)]  0  "#),
            ("redis://cache", r#"false [("cache", 6379)]  0  "#),
            ("rediss://u%40:p%2Fw@cache:7000/15", r#"true [("cache", 7000)]  15 u@ p/w"#),
            ("redis://:pw@[::1]:7000", r#"false [("::1", 7000)]  0  pw"#),
            ("redis-sentinel://a,b:7/main", r#"false [("a", 26379), ("b", 7)] main 0  "#),
            ("rediss-sentinel://:x@a/main/3", r#"true [("a", 26379)] main 3  x"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "127.0.0.1:6379",
            "http://a",
            "redis://",
            "redis://a:0",
            "redis://a:b",
            "redis://a/x",
            "redis://a/-1",
            "redis://a,b/0",
            "redis://a/0/1",
            "redis://a/0?protocol=resp3",
            "redis-sentinel://a",
            "redis://a b",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
