//! `examples/easywechat/WxgateAccessToken.php`, unmodified, in workers that share a caller and an address.
//!
//! It needs `php` with its curl extension; without it this test fails and says what to install. EasyWeChat comes from
//! Packagist alone, so the two interfaces that the class stands behind are written down here.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::{Gate, Settings, note_credential};

const KEY: &str = "k3y-of-the-php-w0rkers";

/// Does what each line says: `query` or `refresh`.
const WORKER: &str = r"
namespace EasyWeChat\Kernel\Contracts {
    interface AccessToken { public function getToken(): string; public function toQuery(): array; }
    interface RefreshableAccessToken extends AccessToken { public function refresh(): string; }
}
namespace {
    require getenv('EXAMPLE');
    $token = new WxgateAccessToken(getenv('WXGATE'), getenv('WXGATE_KEY'));
    while (($line = fgets(STDIN)) !== false) {
        echo trim($line) === 'refresh' ? $token->refresh() : http_build_query($token->toQuery()), PHP_EOL;
    }
}
";

struct Worker {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    _child: tokio::process::Child,
}

impl Worker {
    fn start(gate: &Gate) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/easywechat/WxgateAccessToken.php");
        let mut php = Command::new("php");
        php.args(["-d", "error_reporting=-1", "-d", "display_errors=stdout", "-r", WORKER]);
        php.env("EXAMPLE", example).env("WXGATE", format!("http://{}", gate.addr)).env("WXGATE_KEY", KEY);
        php.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let install = "php-cli and php-curl (Debian: apt-get install php-cli php-curl)";
        let mut child = php.spawn().unwrap_or_else(|e| panic!("{e}: install {install}"));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { stdin: child.stdin.take().unwrap(), lines, _child: child }
    }

    async fn does(&mut self, what: &str) -> String {
        self.stdin.write_all(format!("{what}\n").as_bytes()).await.unwrap();
        self.lines.next_line().await.unwrap().unwrap_or_else(|| "php has ended".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_one_machine_that_find_one_token_dead_cause_one_fetch() {
    note_credential(KEY);
    let fake = Fake::renewing(|_| Reply::json("{}")).await;
    let tables = format!("[[caller]]\nname = \"php\"\nkey = \"{KEY}\"\nreal_token = true\n");
    let gate = Gate::with(&fake.url(), Settings { tables, ..Settings::default() }).await;
    let mut workers: Vec<_> = (0..3).map(|_| Worker::start(&gate)).collect();
    for worker in &mut workers {
        assert_eq!(worker.does("query").await, format!("access_token={}", token(0)));
    }
    // One after the other: what the first one got is not taken from it by the others.
    for worker in &mut workers {
        assert_eq!(worker.does("refresh").await, token(1));
    }
    assert_eq!(fake.fetches(), 2);
    assert_eq!(workers[2].does("refresh").await, token(2));
    assert_eq!(workers[0].does("query").await, format!("access_token={}", token(1)));
    assert_eq!(workers[0].does("refresh").await, token(2));
    assert_eq!(fake.fetches(), 3);
}
