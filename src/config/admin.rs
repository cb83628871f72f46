//! Reads `[admin]`, the admin listener.

use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderValue;

use super::parse::address;
use super::secret;
use super::table::Table;
use super::value::Value;
use crate::secret::Secret;

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it is.
    pub listen: AdminListen,
    /// What whoever asks must show; always there where others than this machine can reach the listener.
    pub key: Option<Secret>,
    /// Further names that it may be called by, in their normal form.
    pub hosts: Vec<String>,
}

impl Admin {
    /// The field that shows the key to the listener: `Bearer KEY`; `None` without a key.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let key = self.key.as_ref()?;
        let mut field = HeaderValue::try_from(format!("Bearer {}", key.expose())).ok()?;
        field.set_sensitive(true);
        Some(field)
    }
}

/// Where an admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// An address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// The file of a unix socket.
    Unix(PathBuf),
}

impl AdminListen {
    /// The address, unless it is a file.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

const LISTEN_WANTED: &str = r#"ADDRESS:PORT such as "127.0.0.1:9090", or "unix:/run/wxgate/admin.sock""#;

/// The longest path of a unix socket that every system takes, in bytes.
const LONGEST_PATH: usize = 100;

/// The table, if the file has it and it is right.
pub(super) fn read(top: &Table<'_>) -> Option<Admin> {
    let mut table = top.table("admin")?;
    let listen = table.required("listen", listen);
    let key_given = table.given("key");
    let key = table.optional("key", |value| secret::read(value, secret::ADMIN_KEY));
    let hosts = table.key("hosts", |value| {
        value.list(r#"an array of host names like ["wxgate.monitoring.svc"]"#, |v| {
            v.parsed(r#"a host name in quotes, like "wxgate.monitoring.svc""#, address::host)
        })
    });
    if let (Some(AdminListen::Tcp(listen)), false) = (&listen, key_given)
        && !address::is_loopback(listen.ip())
    {
        let words = "a `key` beside it, or a loopback address such as \"127.0.0.1:9090\", or a unix socket: whoever \
                     reaches this one could refresh tokens and make calls";
        table.report.problem(
            table.line_of("listen"),
            &table.path_of("listen"),
            Some(format!("\"{listen}\"")),
            words,
        );
    }
    table.finish();
    Some(Admin { listen: listen?, key, hosts })
}

fn listen(value: &Value<'_>) -> Option<AdminListen> {
    let text = value.text(LISTEN_WANTED)?;
    let Some(path) = text.trim().strip_prefix("unix:") else {
        return value.parsed(LISTEN_WANTED, |text| {
            address::listen(text).map(AdminListen::Tcp).map_err(|_| LISTEN_WANTED.to_owned())
        });
    };
    let path = value.report.base().join(path);
    if path.file_name().is_none() || path.as_os_str().len() > LONGEST_PATH {
        return value.wrong(format!("the path of a socket's file, at most {LONGEST_PATH} bytes long"));
    }
    Some(AdminListen::Unix(path))
}
