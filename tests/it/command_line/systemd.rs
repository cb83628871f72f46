//! What a service manager hears of the process: start, reload, signs of life, stop.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::child::{Child, serve};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::Settings;

/// What a service manager hears by way of `NOTIFY_SOCKET`.
struct ServiceManager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl ServiceManager {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify.socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { path, socket }
    }

    /// The next message.
    fn told(&self) -> String {
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).expect("a message within 20 s");
        String::from_utf8(buffer[..length].to_vec()).unwrap().trim().to_owned()
    }

    /// The next message that is no sign of life.
    fn told_besides(&self) -> String {
        loop {
            let told = self.told();
            if told != "WATCHDOG=1" {
                return told;
            }
        }
    }
}

#[tokio::test]
async fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let systemd = ServiceManager::new(dir.path());
    let mut serve = serve(dir.path(), &fake.url(), &Settings::default());
    // A watchdog of another process is none of its business.
    serve.env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let mut child = Child::start(serve.env("NOTIFY_SOCKET", &systemd.path));
    assert_eq!(systemd.told(), "READY=1");
    // Not before it listens.
    assert!(child.stderr().contains("(callers)") || child.line("(callers)").await.contains("listening"));
    child.signal("TERM");
    assert_eq!(systemd.told(), "STOPPING=1");
    assert_eq!(child.code().await, 0);
}

#[tokio::test]
async fn systemd_hears_of_a_reload_and_that_wxgate_is_alive() {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let dir = tempfile::tempdir().unwrap();
    let systemd = ServiceManager::new(dir.path());
    let mut serve = serve(dir.path(), &fake.url(), &Settings::default());
    serve.env("WATCHDOG_USEC", "100000").env("NOTIFY_SOCKET", &systemd.path);
    let mut child = Child::start(&mut serve);
    assert_eq!(systemd.told(), "READY=1");
    for _ in 0..5 {
        assert_eq!(systemd.told(), "WATCHDOG=1");
    }
    child.signal("HUP");
    // Type=notify-reload wants to know when the reload began.
    let told = systemd.told_besides();
    let since = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{told}"));
    assert!(since.parse::<u64>().is_ok(), "{told}");
    assert_eq!(systemd.told_besides(), "READY=1");
    assert_eq!(systemd.told(), "WATCHDOG=1");
    child.signal("TERM");
    assert_eq!(systemd.told_besides(), "STOPPING=1");
    assert_eq!(child.code().await, 0);
}
