//! Connections that die without a word: wxgate runs in a network namespace of its own, whose address is taken away.
//!
//! Needs root and `ip` (Debian: iproute2), which `tests/run` sees to; without them the tests say so and pass.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use crate::support::child::{Child, serve};
use crate::support::fake::TOKEN;
use crate::support::gate::{Settings, note_credential};
use crate::support::https::{Connection, Response, request};
use crate::support::tls;
use crate::support::until::until;

/// A network namespace with one link to here; removed when dropped.
struct Namespace {
    name: String,
    /// The third byte of all addresses.
    subnet: u32,
}

impl Namespace {
    #[expect(clippy::print_stdout, reason = "who runs the tests is told what was left out")]
    fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let subnet = (pid + u32::try_from(count).unwrap()) % 250;
        let namespace = Self { name: format!("wxgate-{pid}-{count}"), subnet };
        let (outer, inner) = (format!("wxo{pid}{count}"), format!("wxi{pid}{count}"));
        let made = namespace.ip(&format!("netns add {}", namespace.name))
            && namespace
                .ip(&format!("link add {outer} type veth peer name {inner} netns {}", namespace.name))
            && namespace.ip(&format!("addr add 10.210.{subnet}.1/24 dev {outer}"))
            && namespace.ip(&format!("addr add 10.211.{subnet}.1/24 dev {outer}"))
            && namespace.ip(&format!("link set {outer} up"))
            && namespace.inside(&format!("link set {inner} name eth0"))
            && namespace.inside(&format!("addr add 10.210.{subnet}.3/24 dev eth0"))
            && namespace.inside(&format!("addr add 10.211.{subnet}.2/24 dev eth0"))
            && namespace.inside("link set lo up")
            && namespace.inside("link set eth0 up");
        if !made {
            assert!(
                std::env::var_os("CI").is_none(),
                "no network namespace can be made here: it takes root and `ip`"
            );
            println!("skipped: no network namespace can be made here (it takes root and `ip`)");
        }
        made.then_some(namespace)
    }

    fn ip(&self, arguments: &str) -> bool {
        Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
    }

    fn inside(&self, arguments: &str) -> bool {
        self.ip(&format!("-n {} {arguments}", self.name))
    }

    /// What was connected from the old address is so no longer, and neither side hears of it.
    fn move_to_another_address(&self) {
        assert!(self.inside(&format!("addr del 10.210.{}.3/24 dev eth0", self.subnet)));
        assert!(self.inside(&format!("addr add 10.210.{}.4/24 dev eth0", self.subnet)));
    }

    /// The same command, run in the namespace.
    fn enter(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            inside.current_dir(dir);
        }
        inside.env("WXGATE_LOG", "trace");
        inside
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.ip(&format!("netns del {}", self.name));
    }
}

/// An upstream at this address, with a certificate of its own; its CA, its port, and how many calls came.
fn upstream(address: &str) -> (String, u16, Arc<AtomicUsize>) {
    let (identity, ca) = tls::issued_for([address]);
    let (config, calls) = (tls::server(identity), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind((address, 0)).unwrap();
    let (port, counted) = (listener.local_addr().unwrap().port(), Arc::clone(&calls));
    note_credential(TOKEN);
    std::thread::spawn(move || {
        for socket in listener.incoming().map(Result::unwrap) {
            let (config, calls) = (Arc::clone(&config), Arc::clone(&counted));
            std::thread::spawn(move || serve_calls(socket, config, &calls));
        }
    });
    (ca, port, calls)
}

fn serve_calls(socket: TcpStream, config: Arc<ServerConfig>, calls: &AtomicUsize) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
    let (mut head, mut byte) = (Vec::new(), [0]);
    while let Ok(1..) = stream.read(&mut byte) {
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let body = format!("{{\"access_token\":\"{TOKEN}\",\"expires_in\":7200}}");
        if !head.starts_with(b"GET /cgi-bin/token") {
            calls.fetch_add(1, Ordering::SeqCst);
            // So that calls that are made together need a connection each.
            std::thread::sleep(Duration::from_millis(200));
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        head.clear();
    }
}

async fn call(addr: SocketAddr, method: &str) -> (Response, Duration) {
    let begun = Instant::now();
    let mut caller = Connection::plain(addr).await;
    let response = caller.send(&request(method, "/cgi-bin/x", &[], b"")).await.unwrap();
    (response, begun.elapsed())
}

/// wxgate in a namespace, before an upstream outside.
struct Inside {
    child: Child,
    namespace: Namespace,
    /// Of the upstream.
    port: u16,
    /// How many calls reached the upstream.
    calls: Arc<AtomicUsize>,
    _dir: TempDir,
}

impl Inside {
    /// `None` where no namespace can be made.
    fn start() -> Option<Self> {
        let namespace = Namespace::new()?;
        let subnet = namespace.subnet;
        let (ca, port, calls) = upstream(&format!("10.210.{subnet}.1"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("private-ca.pem"), ca).unwrap();
        let settings = Settings {
            top: format!("workers = 1\nopen_to_everyone = true\nlisten = [\"10.211.{subnet}.2:0\"]"),
            upstream: format!("warm_connections = 0\nca = {:?}", dir.path().join("private-ca.pem")),
            distrusts_the_sandbox: true,
            ..Settings::default()
        };
        let url = format!("https://10.210.{subnet}.1:{port}");
        let child = Child::start(&mut namespace.enter(&serve(dir.path(), &url, &settings)));
        Some(Self { namespace, child, port, calls, _dir: dir })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_silently_cost_a_get_five_seconds_and_no_other_call_anything() {
    let Some(inside) = Inside::start() else { return };
    let Inside { namespace, child, calls, .. } = &inside;
    let addr = child.addr().await;
    let together: Vec<_> = (0..4).map(|_| tokio::spawn(call(addr, "GET"))).collect();
    for call in together {
        assert_eq!(call.await.unwrap().0.status, 200);
    }
    namespace.move_to_another_address();
    let (response, took) = call(addr, "GET").await;
    assert_eq!(response.status, 200, "{response:?}");
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(10), "{took:?}");
    // The other three went with the first, so not even a POST meets one of them.
    for method in ["POST", "GET", "POST"] {
        let (response, took) = call(addr, method).await;
        assert_eq!(response.status, 200, "{method}: {response:?}");
        assert!(took < Duration::from_secs(3), "{method}: {took:?}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_dies_while_it_is_idle_is_found_before_it_is_used() {
    let Some(inside) = Inside::start() else { return };
    let Inside { namespace, child, port, .. } = &inside;
    let addr = child.addr().await;
    assert_eq!(call(addr, "POST").await.0.status, 200);
    let open = || {
        let listed =
            Command::new("ss").args(["-N", &namespace.name, "-Htn", "state", "established"]).output();
        String::from_utf8(listed.unwrap().stdout).unwrap().contains(&format!(":{port}"))
    };
    assert!(open());
    namespace.move_to_another_address();
    // Probes go unanswered for eleven seconds.
    until("the dead connection is dropped", || !open()).await;
    let (response, took) = call(addr, "POST").await;
    assert_eq!(response.status, 200, "{response:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}
