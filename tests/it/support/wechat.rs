//! A sandbox in this process, whose tokens are noted for the search through the logs.

use std::net::SocketAddr;

use clap::Parser;
use tokio::task::JoinHandle;
use wxgate_sandbox::{Handle, Options, Sandbox};

use super::gate::note_credential;

/// A running sandbox; stops when dropped.
pub(crate) struct WeChat {
    pub(crate) addr: SocketAddr,
    pub(crate) url: String,
    pub(crate) handle: Handle,
    task: JoinHandle<()>,
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

impl WeChat {
    /// A sandbox on TLS with the usual account.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same with further command-line options.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        let usual: &[&str] = match arguments.contains(&"--listen") {
            true => &["sandbox"],
            false => &["sandbox", "--listen", "127.0.0.1:0"],
        };
        let options = Arguments::parse_from(usual.iter().chain(arguments)).options;
        let sandbox = Sandbox::bind(options).await.unwrap();
        let (addr, url, handle) = (sandbox.addr(), sandbox.url(), sandbox.handle());
        let task = tokio::spawn(sandbox.run(std::future::pending()));
        Self { addr, url, handle, task }
    }
}

impl Drop for WeChat {
    fn drop(&mut self) {
        self.task.abort();
        for token in self.handle.tokens_issued() {
            note_credential(&token);
        }
    }
}
