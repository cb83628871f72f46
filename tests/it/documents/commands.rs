//! The shell blocks of the documents are run in their order, before sandboxes of WeChat and WeCom.
//!
//! A block whose first line begins with `# needs` or `# 需要` names what it cannot be run without, and is only parsed. The blocks
//! of the other language are the same but for their comments.

use std::process::{Command, Stdio};

use super::blocks::blocks;
use super::{document, pairs, root};
use crate::support::child::{Child, wxgate};
use crate::support::gate::{APPID, CORPID, SECRET, note_credential};
use crate::support::wechat::WeChat;

/// Blocks that something else runs: what is in them, and what runs them.
const ELSEWHERE: [(&str, &str); 3] = [
    ("cargo run --release -- demo", "tests/it/demo.rs"),
    ("./tests/run", "tests/run, which runs this test"),
    ("benches/end-to-end", "benches/end-to-end by hand: the builds and it take half an hour"),
];

/// `serve` and `sandbox` run already; all else is the real program, and the real curl.
const SHELL: &str = r#"
set -euo pipefail
wxgate() { case ${1-serve} in serve | sandbox | demo) ;; *) "$WXGATE" "$@" ;; esac; }
curl() { command curl --silent --show-error --noproxy '*' --max-time 60 "$@" | tee -a answers; printf '\n'; }
"#;

/// A configuration with what the documents use; `callers` and `admin` are addresses.
fn configuration(weixin: &WeChat, wecom: &WeChat, callers: &str, admin: &str) -> String {
    format!(
        r#"
listen = [{callers:?}]
state_dir = "state"
workers = 1

[admin]
listen = {admin:?}

[upstream]
url = {url:?}
ca = {ca:?}

[[account]]
name = "main"
appid = {APPID:?}
secret = {{ file = "appsecret" }}
paths = ["/cgi-bin/", "/sns/", "/wxa/", "/datacube/"]
secret_paths = ["/sns/jscode2session"]
tickets = true

[[account]]
name = "office"
kind = "wecom"
appid = {CORPID:?}
secret = {{ file = "appsecret" }}
upstream = {wecom:?}
prefix = "/office"
tickets = true

[[caller]]
name = "central"
key = {{ file = "central.key" }}
real_token = true

[[caller]]
name = "local"
from = ["127.0.0.1"]
"#,
        url = weixin.url,
        ca = root().join("certs/ca.pem"),
        wecom = wecom.url,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_the_documents_work_in_their_order() {
    let (weixin, wecom) = (WeChat::start().await, WeChat::with(&["--wecom"]).await);
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("appsecret", SECRET), ("central.key", "CENTRAL-KEY")] {
        note_credential(text);
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let file = dir.path().join("wxgate.toml");
    std::fs::write(&file, configuration(&weixin, &wecom, "127.0.0.1:0", "127.0.0.1:0")).unwrap();
    let child = Child::start(&mut wxgate(dir.path(), &["serve"]));
    let callers = child.addr().await.to_string();
    let admin = child.admin_addr().await.to_string();
    // Where what is started now finds what runs.
    std::fs::write(&file, configuration(&weixin, &wecom, &callers, &admin)).unwrap();

    let mut run = 0;
    for [name, _] in pairs() {
        let mut script = SHELL.to_owned();
        let mut shows_refusals = false;
        for block in blocks(&document(&name), "sh") {
            let elsewhere = ELSEWHERE.iter().any(|(command, _)| block.contains(command));
            if !block.starts_with("# needs ") && !block.starts_with("# 需要 ") && !elsewhere {
                run += 1;
                shows_refusals |= block.contains("wxgate: ");
                script.push_str(&format!("{block}\n"));
            }
        }
        for (theirs, ours) in [
            ("127.0.0.1:8080", &callers),
            // The central server's, which other machines ask.
            ("10.1.0.5:8080", &callers),
            ("127.0.0.1:9090", &admin),
            ("127.0.0.1:9443", &weixin.addr.to_string()),
            ("127.0.0.1:9444", &wecom.addr.to_string()),
        ] {
            script = script.replace(theirs, ours);
        }
        let answers = dir.path().join("answers");
        std::fs::write(&answers, "").unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(dir.path()).stdin(Stdio::null());
        bash.env("WXGATE", env!("CARGO_BIN_EXE_wxgate")).env("HOME", dir.path());
        let ended = tokio::task::spawn_blocking(move || bash.output().unwrap()).await.unwrap();
        let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(ended.status.success(), "{name}:\n{script}\n{}", said.concat());
        let answers = std::fs::read_to_string(&answers).unwrap();
        assert!(
            shows_refusals || !answers.contains("\"errmsg\":\"wxgate:"),
            "{name}: wxgate refuses a call:\n{answers}"
        );
    }
    assert!(run > 2, "{run}");
}
