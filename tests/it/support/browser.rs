//! A real headless Chromium, driven through chromedriver (Debian's `chromium` and `chromium-driver`; tests/run gets
//! them). It has a profile of its own and talks to loopback alone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::https::{Connection, request};
use super::until::until_async;

/// One browser with one page; ends when dropped.
pub(crate) struct Browser {
    driver: Child,
    addr: SocketAddr,
    session: String,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver (Debian's chromium-driver): tests/run gets it");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("started successfully on port")).unwrap();
        let port: u16 = line.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let profile = TempDir::new().unwrap();
        let mut browser =
            Self { driver, addr: ([127, 0, 0, 1], port).into(), session: String::new(), _profile: profile };
        let arguments = [
            "--headless=new".to_owned(),
            // As root, in a container: nothing but this test's own pages is loaded.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let told = browser.ask("POST", "/session", &wanted).await;
        browser.session = told["sessionId"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
        browser
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let message = request(method, path, &["Content-Type: application/json"], body.as_bytes());
        let answer = Connection::plain(self.addr).await.send(&message).await.unwrap();
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{method} {path}: {told}");
        told["value"].clone()
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), &body).await
    }

    /// Goes to a page, and waits until it is there.
    pub(crate) async fn open(&self, url: &str) {
        self.command("/url", json!({ "url": url })).await;
    }

    /// What a piece of script gives, run in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        until_async(expression, async || {
            let is = self.run(&format!("return Boolean({expression})")).await == true;
            if !is {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            is
        })
        .await;
    }

    /// Clicks on the first element that a selector finds, with a real mouse's events.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into a field in the place of what it holds.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command(&format!("/element/{element}/clear"), json!({})).await;
        self.command(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("/element", json!({ "using": "css selector", "value": selector })).await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// A command of the developer tools' protocol.
    pub(crate) async fn tools(&self, command: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// What the browser complained of since it was asked last.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let told = self.command("/se/log", json!({ "type": "browser" })).await;
        let told = told.as_array().unwrap().iter();
        told.map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Keeps a picture of the whole page in the folder that WXGATE_TEST_PICTURES names.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("WXGATE_TEST_PICTURES") else { return };
        let told = self.tools("Page.captureScreenshot", json!({ "captureBeyondViewport": true })).await;
        let png = BASE64_STANDARD.decode(told["data"].as_str().unwrap()).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(format!("{name}.png")), png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium ends with its session; a test that failed may not have a runtime to ask for that in.
        if let Ok(mut stream) = std::net::TcpStream::connect(self.addr) {
            let end = format!(
                "DELETE /session/{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                self.session
            );
            let _ = std::io::Write::write_all(&mut stream, end.as_bytes());
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
