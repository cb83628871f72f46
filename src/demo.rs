//! `wxgate demo`: sandbox and proxy in one process, ready for curl, nothing to configure.
//!
//! The sandbox plays WeChat over TLS, the proxy is the real one; only the trust in the sandbox's test
//! certificate and the throw-away state directory are the demo's own. Nothing leaves this machine.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wxgate_sandbox::{CA, DEFAULT_APPID, DEFAULT_SECRET, Options, Sandbox};

use crate::app::App;
use crate::config::{Config, LogFormat};
use crate::logging;
use crate::process;
use crate::signals::Signals;

/// Where the demo listens when nobody else does.
const SANDBOX: &str = "127.0.0.1:9443";
const PROXY: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9090";

/// A connection that the system gives any free port.
const ANY: &str = "127.0.0.1:0";

/// Runs until SIGINT or SIGTERM; 0 a clean stop, 1 when it could not start. The commands to try go to `out`, the
/// log goes to stderr as always.
pub async fn command(out: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    match run(out).await {
        Ok(()) => 0,
        Err(text) => {
            // With stderr gone nobody is left to tell.
            let _ = writeln!(errors, "wxgate demo: {text}");
            1
        }
    }
}

async fn run(out: &mut dyn Write) -> Result<(), String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let core_dumps = process::core_dumps_off();
    let signals = Signals::new().map_err(|e| words(&e))?;
    let sandbox = sandbox().await?;
    let dir = folder(&[
        Some(std::env::temp_dir()),
        std::env::var_os("STATE_DIRECTORY").map(PathBuf::from),
        std::env::current_dir().ok(),
    ])?;
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, CA).map_err(|e| words(&e))?;
    let app = app(&sandbox.url(), &ca, dir.path()).await?;
    let _log = logging::start(LogFormat::Auto);
    core_dumps.say();
    let listening = app.listening();
    let proxy = listening.first().ok_or("no listener")?;
    let admin = app.admin().ok_or("no admin listener")?;
    let introduction = introduction(proxy.address, sandbox.addr(), admin);
    out.write_all(introduction.as_bytes()).and_then(|()| out.flush()).map_err(|e| words(&e))?;
    tracing::info!("listening on {} (sandbox)", sandbox.url());
    tracing::info!("listening on {proxy} (callers)");
    tracing::info!("listening on {admin} (admin)");
    let wechat = tokio::spawn(sandbox.run(std::future::pending()));
    let outcome = app.run(signals.orders(None)).await;
    wechat.abort();
    outcome.map_err(|e| words(&e))
}

/// A folder of the demo's own in the first place that takes one: an image of wxgate alone has no /tmp.
fn folder(places: &[Option<PathBuf>]) -> Result<TempDir, String> {
    let places = || places.iter().flatten();
    places().find_map(|place| TempDir::with_prefix_in("wxgate-demo-", place).ok()).ok_or_else(|| {
        let tried: Vec<_> = places().map(|place| place.display().to_string()).collect();
        format!("cannot make a folder in {}; set TMPDIR to one that this user may write to", tried.join(", "))
    })
}

/// The usual port, or any free one.
async fn sandbox() -> Result<Sandbox, String> {
    let at = |address: &str| -> Result<Options, String> {
        let listen: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
        Ok(Options { listen, ..Options::default() })
    };
    match Sandbox::bind(at(SANDBOX)?).await {
        Ok(sandbox) => Ok(sandbox),
        Err(_) => Sandbox::bind(at(ANY)?).await.map_err(|e| e.to_string()),
    }
}

/// The proxy on the usual ports, or on free ones in the place of those that are taken.
async fn app(upstream: &str, ca: &Path, dir: &Path) -> Result<App, String> {
    for (listen, admin) in [(PROXY, ADMIN), (PROXY, ANY), (ANY, ADMIN)] {
        if let Ok(app) = proxy(listen, admin, upstream, ca, dir).await {
            return Ok(app);
        }
    }
    proxy(ANY, ANY, upstream, ca, dir).await
}

async fn proxy(listen: &str, admin: &str, upstream: &str, ca: &Path, dir: &Path) -> Result<App, String> {
    let state = dir.join("state");
    let text = format!(
        "listen = [{listen:?}]\nstate_dir = {state:?}\n[admin]\nlisten = {admin:?}\n[upstream]\nurl = {upstream:?}\nca = {ca:?}\n\
         [[account]]\nname = \"demo\"\nappid = {DEFAULT_APPID:?}\nsecret = {DEFAULT_SECRET:?}\ntickets = true\n"
    );
    let loaded =
        Config::from_toml(&text, &dir.join("demo.toml"), &|_| None).map_err(|errors| errors.to_string())?;
    App::start(loaded.config).await.map_err(|e| e.to_string())
}

/// What a newcomer reads: four commands that work as printed.
fn introduction(proxy: SocketAddr, sandbox: SocketAddr, admin: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n\
         wxgate demo: a sandbox that plays WeChat, and the proxy in front of it. Try in another terminal:\n\
         \n\
         1. A call without token and secret; wxgate puts the token in:\n\
         \n\
         \x20   curl 'http://{proxy}/cgi-bin/user/get'\n\
         \n\
         2. Another system fetches a token, which ends ours (-k: the sandbox has a test certificate):\n\
         \n\
         \x20   curl -k -X POST 'https://{sandbox}/sandbox/steal-token'\n\
         \n\
         3. The next call is refused with 40001 by WeChat, and still answered: see \"attempts\" in the log below:\n\
         \n\
         \x20   curl 'http://{proxy}/cgi-bin/user/info?openid=oSandboxFollower000000000001'\n\
         \n\
         4. A signature for wx.config, as a page needs it; wxgate keeps the ticket:\n\
         \n\
         \x20   curl 'http://{proxy}/wxgate/jssdk?url=https%3A%2F%2Fexample.com%2Fpage'\n\
         \n\
         The page for people, with a console for calls: {admin}/\n\
         \n\
         Ctrl-C ends it. Next step: the README's configuration for your own account.\n\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_folder_for_temporary_files_it_takes_another() {
        let there = tempfile::tempdir().unwrap();
        let missing = Some(there.path().join("missing"));
        let made = folder(&[missing.clone(), None, Some(there.path().to_owned())]).unwrap();
        assert_eq!(made.path().parent(), Some(there.path()));
        let refused = folder(&[missing, None]).unwrap_err();
        assert!(refused.contains("/missing; set TMPDIR"), "{refused}");
    }

    #[test]
    fn the_introduction_has_four_commands() {
        let text = introduction(PROXY.parse().unwrap(), SANDBOX.parse().unwrap(), "http://127.0.0.1:9090");
        let commands: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("curl ")).collect();
        assert_eq!(commands.len(), 4);
        assert!(commands[1].contains("steal-token") && commands[3].contains("/wxgate/jssdk?url="));
    }
}
