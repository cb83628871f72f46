//! `wxgate demo`: sandbox and proxy in one process, ready for curl, nothing to configure.
//!
//! The sandbox plays WeChat over TLS, the proxy is the real one; only the trust in the sandbox's test
//! certificate and the throw-away state directory are the demo's own. Nothing leaves this machine.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wxgate_sandbox::{CA, DEFAULT_APPID, DEFAULT_SECRET, Options, Sandbox};

use crate::app::App;
use crate::config::{Config, LogFormat};
use crate::logging::{self, LISTENING};
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
    let sentences = if chinese(|name| std::env::var(name).ok()) { CHINESE } else { ENGLISH };
    let introduction = introduction(sentences, proxy.address, sandbox.addr(), admin);
    out.write_all(introduction.as_bytes()).and_then(|()| out.flush()).map_err(|e| words(&e))?;
    tracing::info!(target: LISTENING, "listening on {} (sandbox)", sandbox.url());
    tracing::info!(target: LISTENING, "listening on {proxy} (callers)");
    tracing::info!(target: LISTENING, "listening on {admin} (admin)");
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

/// Whether the user reads Chinese, by the variables of the locale that `value` knows.
fn chinese(value: impl Fn(&str) -> Option<String>) -> bool {
    let mut set =
        ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(value).filter(|value| !value.is_empty());
    set.next().is_some_and(|locale| locale.starts_with("zh"))
}

/// The sentences of the introduction: the first, one for each command, the page's, the last.
const ENGLISH: [&str; 7] = [
    "wxgate demo: a sandbox that plays WeChat, and the proxy in front of it. Try in another terminal:",
    "1. A call without token and secret; wxgate puts the token in:",
    "2. Another system fetches a token, which ends ours (-k: the sandbox has a test certificate):",
    "3. The next call is refused with 40001 by WeChat, and still answered: see \"attempts\" in the log below:",
    "4. A signature for wx.config, as a page needs it; wxgate keeps the ticket:",
    "The page for people, with a console for calls:",
    "Ctrl-C ends it. Next step: the README's configuration for your own account.",
];
const CHINESE: [&str; 7] = [
    "wxgate demo：一个模拟微信的沙箱，和挡在它前面的代理。请在另一个终端里试：",
    "1. 不带凭据也不带 AppSecret 的调用，凭据由 wxgate 填上：",
    "2. “另一个系统”取了新凭据，我们的就此作废（-k：沙箱用的是测试证书）：",
    "3. 下一次调用被微信以 40001 拒绝，却照样得到正确响应；看下面日志里的 \"attempts\"：",
    "4. 页面需要的 wx.config 签名，ticket 由 wxgate 保管：",
    "管理页面，可以在上面发调用：",
    "按 Ctrl-C 结束。下一步：照 README.zh-CN.md 配置自己的账号。",
];

/// What a newcomer reads: four commands that work as printed.
fn introduction(
    [first, token, theft, retry, signature, page, last]: [&str; 7],
    proxy: SocketAddr,
    sandbox: SocketAddr,
    admin: &str,
) -> String {
    format!(
        "\n{first}\n\n\
         {token}\n\n    curl 'http://{proxy}/cgi-bin/user/get'\n\n\
         {theft}\n\n    curl -k -X POST 'https://{sandbox}/sandbox/steal-token'\n\n\
         {retry}\n\n    curl 'http://{proxy}/cgi-bin/user/info?openid=oSandboxFollower000000000001'\n\n\
         {signature}\n\n    curl 'http://{proxy}/wxgate/jssdk?url=https%3A%2F%2Fexample.com%2Fpage'\n\n\
         {page} {admin}/\n\n\
         {last}\n\n"
    )
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
        for sentences in [ENGLISH, CHINESE] {
            let (proxy, sandbox) = (PROXY.parse().unwrap(), SANDBOX.parse().unwrap());
            let text = introduction(sentences, proxy, sandbox, "http://127.0.0.1:9090");
            let commands: Vec<_> =
                text.lines().filter(|line| line.trim_start().starts_with("curl ")).collect();
            assert_eq!(commands.len(), 4);
            assert!(commands[1].contains("steal-token") && commands[3].contains("/wxgate/jssdk?url="));
        }
    }

    #[test]
    fn the_first_variable_of_the_locale_that_is_set_decides_the_language() {
        for (set, expected) in [
            (&[("LANG", "zh_CN.UTF-8")][..], true),
            (&[("LC_ALL", ""), ("LC_MESSAGES", "zh_TW"), ("LANG", "en_US.UTF-8")], true),
            (&[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")], false),
            (&[("LANG", "en_GB.UTF-8")], false),
            (&[], false),
        ] {
            let value = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(chinese(value), expected, "{set:?}");
        }
    }
}
