//! A start whose state directory is full: with a valid token in it, without one, and with room again. It takes root,
//! for a file system of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::started;
use crate::support::child::{Child, run, serve};
use crate::support::gate::{APPID, Settings};
use crate::support::https::{Connection, request};
use crate::support::until::until;
use crate::support::wechat::WeChat;

/// `state` in a folder of its own, on a file system with room for little.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mounted() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(disk.state()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"]).arg(disk.state());
        mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()).then_some(disk)
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    fn file(&self) -> PathBuf {
        self.state().join(format!("{APPID}.json"))
    }

    fn fill(&self) {
        std::fs::write(self.state().join("filler"), vec![0; 1 << 20]).unwrap_err();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.state().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a file may still be open.
        _ = Command::new("umount").arg("-l").arg(self.state()).stderr(Stdio::null()).status();
    }
}

async fn stopped(mut child: Child) {
    child.signal("TERM");
    assert_eq!(child.code().await, 0, "{}", child.stderr());
}

#[tokio::test]
async fn a_start_on_a_full_disk_serves_with_the_stored_token_and_without_one_is_exit_code_1() {
    let Some(disk) = SmallDisk::mounted() else {
        assert!(std::env::var_os("CI").is_none(), "no small file system can be mounted here: it takes root");
        println!("not root: not tried");
        return;
    };
    let wechat = WeChat::start().await;
    let settings = Settings::default();
    let fetches = || wechat.handle.stats().fetches.token;
    let call = request("GET", "/cgi-bin/user/get", &[], b"");

    let (child, addr) = started(disk.dir(), &wechat.url, &settings).await;
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().errcode(), 0);
    until("the token is stored", || disk.file().is_file()).await;
    stopped(child).await;
    let stored = std::fs::read(disk.file()).unwrap();

    disk.fill();
    let (child, addr) = started(disk.dir(), &wechat.url, &settings).await;
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().errcode(), 0);
    assert_eq!(fetches(), 1, "it goes on with the stored token");
    child.line("is full").await;
    // The next token cannot be stored, is served all the same, and the one after it is stored where there is room again.
    wechat.handle.steal_token();
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().errcode(), 0);
    child.line("the token cannot be stored").await;
    assert_eq!(std::fs::read(disk.file()).unwrap(), stored, "what was there stays whole");
    disk.make_room();
    wechat.handle.steal_token();
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().errcode(), 0);
    until("it is stored again", || std::fs::read(disk.file()).unwrap() != stored).await;
    stopped(child).await;

    // One that has ended is as good as none.
    let mut ended: Value = serde_json::from_slice(&std::fs::read(disk.file()).unwrap()).unwrap();
    ended["token"]["expires_at_ms"] = ended["token"]["issued_at_ms"].clone();
    std::fs::write(disk.file(), ended.to_string()).unwrap();
    disk.fill();
    for stored in ["one that has ended", "none"] {
        if stored == "none" {
            std::fs::remove_file(disk.file()).unwrap();
            disk.fill();
        }
        let refused = run(&mut serve(disk.dir(), &wechat.url, &settings)).await;
        assert_eq!(refused.code, Some(1), "{stored}: {}", refused.stderr);
        let said = "is full, and it holds no valid token to go on with";
        assert!(refused.stderr.contains(said), "{stored}: {}", refused.stderr);
        assert!(refused.stderr.contains("make room there"), "{stored}: {}", refused.stderr);
        assert!(!refused.stderr.contains("listening on"), "{stored}: {}", refused.stderr);
    }
    assert_eq!(fetches(), 3, "no fetch by a start that failed");
}
