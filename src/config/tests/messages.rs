//! The exact words of the messages, in tables: what stands in the file, what is said.

use super::*;

/// Each line stands above a good account, in the table that is named.
fn check(table: &str, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        let (text, number) = match table {
            "" => (format!("{line}\n{ACCOUNT}"), 1),
            "account" => (format!("{ACCOUNT}{line}\n"), 4),
            table => (format!("[{table}]\n{line}\n{ACCOUNT}"), 2),
        };
        let expected: Vec<String> = match *expected {
            "" => Vec::new(),
            words => vec![format!("wxgate.toml:{number}: {words}")],
        };
        assert_eq!(complaints(&text), expected, "{line}");
    }
}

#[test]
fn keys_at_the_top() {
    check(
        "",
        &[
            ("listen = '127.0.0.1:0'", ""),
            ("listen = ['127.0.0.1:0', '127.0.0.1:0', '[::1]:0', '[::ffff:127.0.0.1]:1']", ""),
            ("listen = []", "listen: found an empty array, want at least one address: nobody could call"),
            ("listen = 8080", r#"listen: found 8080, want an array of addresses like ["127.0.0.1:8080"]"#),
            (
                "listen = ['localhost:80']",
                r#"listen[0]: found "localhost:80", want "127.0.0.1:80": an address and a port"#,
            ),
            ("listen = ['[::1]:1', '[::1]:1']", "listen: found [::1]:1 twice, want each address once"),
            (
                "listen = ['127.0.0.1:1', '0.0.0.0:80']",
                "listen: found \"0.0.0.0:80\", want a loopback address such as \"127.0.0.1:8080\": whoever reaches \
                 this one could use the WeChat account. Say in [[caller]] who may call (or, for [tls], ask for \
                 certificates with `client_ca`); set open_to_everyone = true only if something else (a firewall, a \
                 private network) decides who reaches it",
            ),
            ("open_to_everyone = true\nlisten = '0.0.0.0:80'", ""),
            ("state_dir = 7", "state_dir: found 7, want a path in quotes"),
            ("log_format = 'xml'", r#"log_format: found "xml", want "auto" or "text" or "json" or "ecs""#),
            ("access_log = 'yes'", r#"access_log: found "yes", want true or false, without quotes"#),
            ("workers = 1025", "workers: found 1025, want a whole number from 0 to 1024"),
            ("shutdown_grace = '0s'", ""),
            ("shutdown_grace = 30", r#"shutdown_grace: found 30, want a time like "3s" or "500ms""#),
            ("lisen = 'x'", "lisen: unknown key, did you mean `listen`?"),
            ("max_body = '1MiB'", "max_body: unknown key here, it belongs under [limits]"),
            ("appid = 'wx1'", "appid: unknown key here, it belongs under [[account]]"),
            ("store = 3", "store: found a number, want a table: `[store]`"),
            ("caller = []", ""),
            ("alert = 1", "alert: found a number, want [[alert]] with double brackets"),
        ],
    );
}

#[test]
fn listeners_that_conflict() {
    let words = |line: usize, key: &str, found: &str, other: &str, taken: &str| {
        format!(
            "wxgate.toml:{line}: {key}: found \"{found}\", want another port or address: `{other}` has {taken}, and the \
             two conflict"
        )
    };
    let tls = "[tls]\nlisten = '127.0.0.1:8'\ncert = 'certs/server.pem'\nkey = 'certs/server.key'";
    for (text, right) in [
        (
            "listen = '127.0.0.1:9'\n[admin]\nhosts = []\nlisten = '127.0.0.1:9'".to_owned(),
            vec![words(4, "admin.listen", "127.0.0.1:9", "listen", "127.0.0.1:9")],
        ),
        (
            format!("listen = '[::ffff:127.0.0.1]:8'\n{tls}\n[admin]\nlisten = '127.0.0.1:8'"),
            vec![
                words(3, "tls.listen", "127.0.0.1:8", "listen", "[::ffff:127.0.0.1]:8"),
                words(7, "admin.listen", "127.0.0.1:8", "listen", "[::ffff:127.0.0.1]:8"),
            ],
        ),
        (
            "open_to_everyone = true\nlisten = ['0.0.0.0:9', '127.0.0.1:9', '[::]:9']".to_owned(),
            vec![words(2, "listen", "127.0.0.1:9", "listen", "0.0.0.0:9")],
        ),
        ("listen = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'".to_owned(), Vec::new()),
        ("listen = '127.0.0.1:9'\n[admin]\nlisten = 'unix:s'".to_owned(), Vec::new()),
    ] {
        assert_eq!(complaints(&format!("{text}\n{ACCOUNT}")), right, "{text}");
    }
}

#[test]
fn keys_of_the_admin_listener() {
    let open = |address: &str| {
        format!(
            "admin.listen: found \"{address}\", want a `key` beside it, or a loopback address such as \
             \"127.0.0.1:9090\", or a unix socket: whoever reaches this one could refresh tokens and make calls"
        )
    };
    let form = r#"want ADDRESS:PORT such as "127.0.0.1:9090", or "unix:/run/wxgate/admin.sock""#;
    check(
        "admin",
        &[
            ("listen = '127.0.0.1:9090'", ""),
            ("listen = '[::1]:0'", ""),
            ("listen = 'unix:/run/wxgate/admin.sock'", ""),
            ("listen = 'unix:admin.sock'", ""),
            ("listen = '127.0.0.1:9090'\nhosts = ['Wxgate.monitoring.svc.', '[::1]']", ""),
            ("listen = '0.0.0.0:9090'\nkey = 'k'", ""),
            ("listen = '0.0.0.0:9090'", &open("0.0.0.0:9090")),
            ("listen = '10.0.0.1:9090'", &open("10.0.0.1:9090")),
            ("listen = 'localhost:9090'", &format!("admin.listen: found \"localhost:9090\", {form}")),
            ("listen = 9090", &format!("admin.listen: found 9090, {form}")),
            (
                "listen = 'unix:'",
                "admin.listen: found \"unix:\", want the path of a socket's file, at most 100 bytes long",
            ),
            (
                "hosts = ['a:80']\nlisten = '127.0.0.1:1'",
                "admin.hosts[0]: found \"a:80\", want \"a\": a name or an address alone, without port",
            ),
        ],
    );
}

#[test]
fn keys_of_a_caller() {
    let want = "\"METHOD PATTERN\" like \"GET /cgi-bin/user/*\": `*` for any method, a `*` at the end of the path \
                for any rest";
    for (lines, expected) in [
        ("name = 'a'\nfrom = ['10.1.0.0/16', '10.2.3.4', 'fd00::/8']", String::new()),
        ("name = 'a'\nkey = 'k'\nreal_token = true\naccounts = ['main']\nallow = ['* /cgi-bin/*']", String::new()),
        (
            "from = ['10.0.0.0/8']",
            "5: caller[0].name: missing, and required: name = \"legacy-cms\"".to_owned(),
        ),
        (
            "name = 'a'",
            "5: caller[0]: `from` or `key` is required: without both, everyone would be this caller".to_owned(),
        ),
        (
            "name = 'a'\nfrom = []",
            "7: caller[0].from: found an empty array, want at least one network: nobody could be this caller (without \
             this key it is not limited)"
                .to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\nfrom = []",
            "8: caller[0].from: found an empty array, want at least one network: nobody could be this caller (without \
             this key it is not limited)"
                .to_owned(),
        ),
        (
            "name = 'admin'\nkey = 'k'",
            "6: caller[0].name: found \"admin\", want another name: `admin` are the calls of the admin listener, in the \
             log and the metrics"
                .to_owned(),
        ),
        (
            "name = '-'\nkey = 'k'",
            "6: caller[0].name: found \"-\", want another name: in the metrics `-` stands for callers that nobody knows"
                .to_owned(),
        ),
        (
            "name = 'A b'\nkey = 'k'",
            "6: caller[0].name: found \"A b\", want a name like \"main\": lower-case letters, digits and `-`, at \
             most 64"
                .to_owned(),
        ),
        (
            "name = 'a'\nfrom = ['10.0.0.0/33']",
            "7: caller[0].from[0]: found \"10.0.0.0/33\", want a network like \"10.1.0.0/16\" or \"fd00::/8\", or \
             an address like \"10.1.2.3\""
                .to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\naccounts = ['other']",
            "8: caller[0].accounts[0]: found \"other\", want the `name` of an [[account]]".to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\naccounts = ['*']",
            "8: caller[0].accounts[0]: found \"*\", want the key left out: without `accounts` it may use all".to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\naccounts = []",
            "8: caller[0].accounts: found an empty array, want at least one account: this caller could use none \
             (without this key it is not limited)"
                .to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\nallow = []",
            "8: caller[0].allow: found an empty array, want at least one entry: this caller could call nothing \
             (without this key it is not limited)"
                .to_owned(),
        ),
        (
            "name = 'a'\nkey = ''",
            "7: caller[0].key: the key is empty; want a long random text that only this caller knows".to_owned(),
        ),
        (
            "name = 'a'\nkey = ' k'",
            "7: caller[0].key: the key begins with a blank or an empty line; want the key alone".to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\nallow = ['G-T /x']",
            format!("8: caller[0].allow[0]: found \"G-T /x\", want {want}"),
        ),
        ("name = 'a'\nkey = ['k', 'l']\nrate = '50/s'\nconcurrent = 20", String::new()),
        ("name = 'a'\nkey = ['k', 'l', 'm']", "7: caller[0].key: want one key, or two while it is changed".to_owned()),
        (
            "name = 'a'\nkey = 'k'\nrate = '50'",
            "8: caller[0].rate: found \"50\", want a rate like \"50/s\" or \"600/min\", from 1 to 1000000".to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\nfrmo = []",
            "8: caller[0].frmo: unknown key, did you mean `from`?".to_owned(),
        ),
        (
            "name = 'a'\nkey = 'k'\n[[caller]]\nname = 'a'\nkey = 'l'",
            "9: caller[1].name: found \"a\", want a name that no other [[caller]] has".to_owned(),
        ),
    ] {
        let text = format!("{ACCOUNT}\n[[caller]]\n{lines}\n");
        let expected: Vec<String> =
            if expected.is_empty() { Vec::new() } else { vec![format!("wxgate.toml:{expected}")] };
        assert_eq!(complaints(&text), expected, "{lines}");
    }
}

#[test]
fn an_account_that_cannot_be_read_is_an_account_all_the_same() {
    let caller = "[[caller]]\nname = 'a'\nkey = 'k'\naccounts = ['shop']\n";
    for (account, wrong) in [
        ("name = 'shop'\nappid = 'a b'\nsecret = 's'", 1),
        ("name = 'shop'\nsecret = 's'", 1),
        ("name = 'Shop'\nappid = 'wx1'\nsecret = 's'", 1),
        ("name = 'main'\nappid = 'a b'\nsecret = 's'", 2),
    ] {
        assert_eq!(complaints(&format!("[[account]]\n{account}\n{caller}")).len(), wrong, "{account}");
    }
}

#[test]
fn with_callers_a_listener_may_be_open() {
    let open = "listen = ['0.0.0.0:80']\n";
    assert_eq!(complaints(&format!("{open}{ACCOUNT}[[caller]]\nname = 'a'\nkey = 'k'\n")), [""; 0]);
    assert_eq!(complaints(&format!("{open}caller = []\n{ACCOUNT}")).len(), 1);
}

#[test]
fn upstream_limits_and_store() {
    check(
        "upstream",
        &[
            (
                "connect_timeout = '3 parsec'",
                r#"upstream.connect_timeout: found "3 parsec", want a time like "3s" or "500ms""#,
            ),
            (
                "connect_timeout = '0s'",
                "upstream.connect_timeout: found \"0s\", want a time from 1ms to 1day",
            ),
            (
                "conect_timeout = '3s'",
                "upstream.conect_timeout: unknown key, did you mean `connect_timeout`?",
            ),
            (
                "listen = 'x'",
                "upstream.listen: unknown key here, it belongs at the top of the file, before the first [table]",
            ),
            (
                "nonsense = 'x'",
                "upstream.nonsense: unknown key, known here are `url`, `egress_ip`, `ca`, `connect_timeout`, \
                 `response_timeout`, `max_connections`, `warm_connections`, `fallbacks`, `proxy`, `strip`",
            ),
            (
                "url = 'http://api.weixin.qq.com'",
                "upstream.url: found \"http://api.weixin.qq.com\", want https://: plain http:// is accepted for \
                 loopback alone, for it would show the token to everyone on the way",
            ),
            (
                "url = 'https://user:hunter2@api.weixin.qq.com'",
                r#"upstream.url: found a text, want a URL like "https://api.weixin.qq.com", without path, query or user"#,
            ),
            (
                "egress_ip = 'eth0'",
                r#"upstream.egress_ip: found "eth0", want an IP address of this machine like "203.0.113.7", without port"#,
            ),
            (
                "ca = '/nowhere/ca.pem'",
                "upstream.ca: found \"/nowhere/ca.pem\", want a PEM file that can be read: /nowhere/ca.pem: \
                 No such file or directory (os error 2)",
            ),
            ("ca = '/'", "upstream.ca: found \"/\", want a PEM file; this is a directory"),
            ("fallbacks = []", ""),
            (
                "strip = ['traceparent', 'a b']",
                r#"upstream.strip[1]: found "a b", want the name of a header in quotes, like "traceparent""#,
            ),
            (
                "strip = ['Host']",
                r#"upstream.strip[0]: found "Host", want a header that a request can do without"#,
            ),
            (
                "fallbacks = ['x']",
                r#"upstream.fallbacks[0]: found "x", want a URL like "https://api.weixin.qq.com", without path, query or user"#,
            ),
            ("fallbacks = ['https://api2.weixin.qq.com', 'https://sh.api.weixin.qq.com']", ""),
            (
                "fallbacks = ['https://API.weixin.qq.com']",
                "upstream.fallbacks: found https://api.weixin.qq.com:443 twice, want other hosts than `url`, each of \
                 them once",
            ),
            ("proxy = 'http://proxy.example.com:3128'", ""),
            ("proxy = 'socks5h://alice:hunter2@proxy.example.com:1080'", ""),
            (
                "proxy = 'http://alice:hunter2@proxy.example.com'",
                "upstream.proxy: it has no port; want http://[user:pass@]host:port or \
                 socks5h://[user:pass@]host:port",
            ),
            (
                "proxy = ''",
                "upstream.proxy: it has no scheme; want http://[user:pass@]host:port or \
                 socks5h://[user:pass@]host:port",
            ),
            (
                "proxy = 7",
                "upstream.proxy: found a number, want { file = \"PATH\" }, { env = \"NAME\" }, \
                 { credential = \"NAME\" } or a text in quotes",
            ),
            ("url = 'http://127.0.0.1:9443'\nproxy = 'http://localhost:3128'", ""),
            (
                "proxy = 'http://alice:hunter2@proxy.example.com:3128'\nurl = 'http://127.0.0.1:9443'",
                "upstream.proxy: http://127.0.0.1:9443 is not encrypted, and the way to the proxy \
                 http://proxy.example.com:3128 would show the token; want https://, or a proxy on this machine",
            ),
        ],
    );
    check(
        "limits",
        &[
            ("max_connections = 0", "limits.max_connections: found 0, want a whole number from 1 to 1000000"),
            (
                "max_header_bytes = '2MiB'",
                "limits.max_header_bytes: found \"2MiB\", want a size like \"16MiB\", from 1KiB to 1MiB",
            ),
            (
                "max_header_bytes = 1023",
                "limits.max_header_bytes: found 1023, want a size like \"16MiB\", from 1KiB to 1MiB",
            ),
            ("max_body = true", "limits.max_body: found true, want a size like \"16MiB\", from 1 to 1PiB"),
            ("max_body = '1MiB'\nreplay_total = '1MiB'", ""),
            (
                "replay_total = '1MiB'",
                "limits.replay_total: replay_per_request (16MiB) must not be larger than replay_total (1MiB): \
                 not one such body could be kept",
            ),
        ],
    );
    check(
        "store",
        &[
            ("kind = 'file'\nurl = 'redis://127.0.0.1:6379/0'", ""),
            ("replicas = 2", ""),
            ("replicas = 0", "store.replicas: found 0, want a whole number from 1 to 1000"),
            ("replicas = '2'", "store.replicas: found \"2\", want a whole number from 1 to 1000"),
            ("kind = 'redis'", ""),
            ("kind = 'etcd'", "store.kind: found \"etcd\", want \"file\" or \"redis\""),
            (
                "url = 'http://:pw@cache'",
                "store.url: found a text, want a URL like \"redis://127.0.0.1:6379/0\", \"rediss://user:password@host:6380/0\" \
                 or \"redis-sentinel://host1:26379,host2:26379/NAME/0\"",
            ),
            (
                "url = 'redis://a,b'",
                "store.url: found a text, want one host in the URL of the store, or redis-sentinel:// before several sentinels",
            ),
            (
                "key_prefix = 'a{b'",
                "store.key_prefix: found \"a{b\", want a text like \"wxgate:\", at most 64 bytes, without braces and spaces",
            ),
            ("timeout = 0", "store.timeout: found 0, want a time like \"3s\" or \"500ms\""),
            ("user = ''", "store.user: found \"\", want a text in quotes, one line, not empty"),
        ],
    );
}

#[test]
fn keys_of_an_account() {
    check(
        "account",
        &[
            (
                "name = 'Main'",
                "account[0].name: found \"Main\", want a name like \"main\": lower-case letters, digits and `-`, at most 64",
            ),
            (
                "token_api = 'old'",
                r#"account[0].token_api: found "old", want "token" or "stable_token" or "none""#,
            ),
            (
                "hosts = ['a.example', 'a.example:80']",
                "account[0].hosts[1]: found \"a.example:80\", want \"a.example\": a name or an address alone, without port",
            ),
            (
                "hosts = ['a.example', 'A.example.']",
                "account[0].hosts[1]: found \"a.example\", want a host that this account does not have already",
            ),
            (
                "prefix = '/shop/'",
                "account[0].prefix: found \"/shop/\", want \"/shop\": what comes behind a prefix is not part of it",
            ),
            (
                "paths = []",
                "account[0].paths: found an empty array, want at least one path: nothing could be called",
            ),
            (
                "paths = ['/cgi-bin/*']",
                "account[0].paths[0]: found \"/cgi-bin/*\", want \"/cgi-bin/\": an entry of `paths` is the beginning of a \
                 path, and has no `*` for the rest",
            ),
            (
                "paths = ['cgi-bin/']",
                "account[0].paths[0]: found \"cgi-bin/\", want the beginning of a path like \"/cgi-bin/\": first a `/`, \
                 \
                 then visible ASCII as callers send it, without `//`, `.` and `..` segments, `?`, `#`, `\\`, `%` and `;`",
            ),
            ("refresh_on = []", ""),
            (
                "refresh_on = [40001, 0]",
                "account[0].refresh_on[1]: found 0, want an errcode that means a dead token: 0 means success",
            ),
            ("refresh_on = ['40001']", "account[0].refresh_on[0]: found \"40001\", want a whole number"),
            ("tickets = false\nsecret_paths = []", ""),
            ("tickets = true", ""),
            ("tickets = 'yes'", "account[0].tickets: found \"yes\", want true or false, without quotes"),
            (
                "secret_paths = ['/sns/']",
                "account[0].secret_paths[0]: found \"/sns/\", want \"/sns/jscode2session\", \"/sns/oauth2/access_token\", \"/cgi-bin/clear_quota/v2\", \"/donut/code2verifyinfo\", or for another call how it names the two: { path = \"/wxa/x\", appid = \"appid\", secret = \"secret\" }",
            ),
            (
                "secret_paths = ['/cgi-bin/x']",
                "account[0].secret_paths[0]: found \"/cgi-bin/x\", want \"/sns/jscode2session\", \"/sns/oauth2/access_token\", \"/cgi-bin/clear_quota/v2\", \"/donut/code2verifyinfo\", or for another call how it names the two: { path = \"/cgi-bin/x\", appid = \"appid\", secret = \"secret\" }",
            ),
            (
                "secret_paths = '/sns/jscode2session'",
                "account[0].secret_paths: found \"/sns/jscode2session\", want an array of paths like [\"/sns/jscode2session\"]",
            ),
            (
                "secret_paths = ['/cgi-bin/clear_quota/v2', { path = '/cgi-bin/x', secret = 'component_secret', token = true }]",
                "",
            ),
            (
                "secret_paths = [{ appid = 'appid' }]",
                "account[0].secret_paths[0]: `path` is missing: want a table like { path = \"/wxa/x\", appid = \"appid\", secret = \"secret\" }",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/*' }]",
                "account[0].secret_paths[0].path: found \"/cgi-bin/*\", want a whole path like \"/donut/code2verifyinfo\", without `*`, and without a `/` at its end",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/x', secret = '0123456789abcdef0123456789abcdef' }]",
                "account[0].secret_paths[0].secret: found a text, want what the call names it (letters, digits, `_`, `-` and `.`), not its value",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/x', tokn = true }]",
                "account[0].secret_paths[0]: unknown key in this table: want path, appid, secret, token",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/x', token = 1 }]",
                "account[0].secret_paths[0].token: found 1, want true or false, without quotes",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/x', appid = 'secret' }]",
                "account[0].secret_paths[0]: appid and secret have the same name here; want two",
            ),
            (
                "secret_paths = [{ path = '/cgi-bin/token' }]",
                "account[0].secret_paths[0]: wxgate answers /cgi-bin/token by itself and never sends it on; remove it",
            ),
            (
                "secret_paths = ['/cgi-bin/clear_quota/v2', { path = '/cgi-bin/clear_quota/v2' }]",
                "account[0].secret_paths[1]: /cgi-bin/clear_quota/v2 a second time; remove one of them",
            ),
            ("app_id = 'x'", "account[0].app_id: unknown key, did you mean `appid`?"),
        ],
    );
}

#[test]
fn accounts_that_cannot_be_told_apart() {
    let two = |first: &str, second: &str| {
        complaints(&format!(
            "[[account]]\nappid='wx1'\nsecret='s'\n{first}\n[[account]]\nappid='wx2'\nsecret='s'\n{second}\n"
        ))
    };
    assert_eq!(two("name='a'", "name='b'\nprefix='/b'"), [""; 0]);
    assert_eq!(
        two("prefix='/a'", "prefix='/b'"),
        [
            "wxgate.toml:5: account[1].name: found \"main\", want a name of its own: account[0] has the same, and without \
          `name` it is \"main\""
        ]
    );
    assert_eq!(two("name='Main'\nprefix='/a'", "prefix='/b'").len(), 1);
    assert_eq!(
        two("name='a'", "name='b'"),
        [
            "wxgate.toml:5: account[1]: `hosts` or `prefix` is required: account[0] has neither too, and a request could \
          belong to both"
        ]
    );
    assert_eq!(
        two("name='a'\nprefix='/x'", "name='b'\nprefix='/x'"),
        ["wxgate.toml:10: account[1].prefix: found \"/x\", want a prefix that account[0] does not have"]
    );
    assert_eq!(
        two("name='a'\nhosts=['X.example']", "name='b'\nhosts=['x.example']"),
        [
            "wxgate.toml:10: account[1].hosts[0]: found \"x.example\", want a host that account[0] does not have already"
        ]
    );
    assert_eq!(
        two("name='a'", "name='b'\nprefix='/b'\n[[account]]\nname='c'\nappid='wx2'\nsecret='s'\nprefix='/c'"),
        [
            "wxgate.toml:12: account[2].appid: the appid of account[1] once more; two accounts with one appid would end \
          each other's token"
        ]
    );
}

#[test]
fn missing_and_misplaced_tables() {
    for (text, expected) in [
        ("", "wxgate.toml:1: account: at least one [[account]] with `appid` and `secret` is required"),
        (
            "[account]\nappid='wx1'",
            "wxgate.toml:1: account: found a table, want [[account]] with double brackets, at least one",
        ),
        ("\naccount = ['x']", "wxgate.toml:2: account[0]: found a text, want a table: `[[account]]`"),
    ] {
        assert_eq!(complaints(text), [expected], "{text}");
    }
    assert_eq!(
        complaints("\n[[account]]\n"),
        [
            "wxgate.toml:2: account[0].appid: missing, and required: appid = \"wx0123456789abcdef\"",
            "wxgate.toml:2: account[0].secret: missing, and required: secret = { env = \"WECHAT_SECRET\" }",
        ]
    );
}

#[test]
fn secrets_that_cannot_be_had() {
    let secret = |toml: &str| complaints(&format!("[[account]]\nappid='wx1'\nsecret = {toml}\n"));
    const WANT: &str =
        r#"want { file = "PATH" }, { env = "NAME" }, { credential = "NAME" } or a text in quotes"#;
    for (toml, expected) in [
        ("7", format!("account[0].secret: found a number, {WANT}")),
        ("{ fil = 'x' }", format!("account[0].secret: found a table, {WANT}")),
        ("{ file = 'x', env = 'X' }", format!("account[0].secret: found a table, {WANT}")),
        ("''", "account[0].secret: the secret is empty; want the AppSecret that the WeChat console shows".to_owned()),
        (
            "{ env = 'NOT_SET' }",
            "account[0].secret.env: the environment variable NOT_SET is not set or empty; set it, or use { file = \"PATH\" }"
                .to_owned(),
        ),
        (
            "{ file = '/nowhere/secret' }",
            "account[0].secret.file: cannot read the file named here: No such file or directory (os error 2)".to_owned(),
        ),
    ] {
        assert_eq!(secret(toml), [format!("wxgate.toml:3: {expected}")], "{toml}");
    }
}

#[test]
fn text_that_is_not_toml() {
    for (text, expected) in [
        ("a = 1\n  listen = [", "wxgate.toml:2:13: not valid TOML: unclosed array, expected `]`"),
        (
            "access_log = true\naccess_log = true",
            "wxgate.toml:2:1: duplicate key, want each key (and each [table]) once",
        ),
        ("[limits]\n[limits]", "wxgate.toml:2:2: duplicate key, want each key (and each [table]) once"),
        (
            "log_format = json",
            "wxgate.toml:1:14: not valid TOML: string values must be quoted, want \"…\" around the value",
        ),
    ] {
        assert_eq!(complaints(text), [expected], "{text}");
    }
}

#[test]
fn a_file_that_is_no_toml_at_all_ends_soon() {
    assert_eq!(complaints(&"GET / HTTP/1.1\n".repeat(60_000)).len(), 20);
    assert_eq!(complaints(&"[".repeat(1 << 20)).len(), 1);
    assert_eq!(complaints(&format!("listen = {}", "[".repeat(1 << 20))).len(), 1);
    assert_eq!(complaints(&format!("{}=1", "a.".repeat(1 << 19))).len(), 1);
}

#[test]
fn all_errors_come_at_once_sorted_by_line_with_a_hint() {
    let text = "workers = -1\n[upstream]\nurl = 'x'\n[[account]]\nappid = 'a b'\nsecrt = 'x'\n[limits]\nmax_bod = 1\n";
    let expected = "\
wxgate.toml:1: workers: found -1, want a whole number from 0 to 1024
wxgate.toml:3: upstream.url: found \"x\", want a URL like \"https://api.weixin.qq.com\", without path, query or user
wxgate.toml:4: account[0].secret: missing, and required: secret = { env = \"WECHAT_SECRET\" }
wxgate.toml:5: account[0].appid: found \"a b\", want an appid like \"wx0123456789abcdef\": letters, digits, `-`, `_`, at most 64
wxgate.toml:6: account[0].secrt: unknown key, did you mean `secret`?
wxgate.toml:8: limits.max_bod: unknown key, did you mean `max_body`?";
    let errors = load_text(text).unwrap_err();
    assert_eq!(errors.to_string(), expected);
    let hint = "hint: `wxgate check --config wxgate.toml` shows what is right and what is wrong";
    assert_eq!(errors.hint().as_deref(), Some(hint));
}

#[test]
fn a_url_of_a_store_that_is_not_used_is_warned_of() {
    let store = "[[account]]\nappid = 'wx1'\nsecret = 's'\n[store]\nurl = 'redis://127.0.0.1:6379/0'\n";
    assert_eq!(
        load_text(store).unwrap().warnings,
        [
            "wxgate.toml:5: store.url: of no use without `kind = \"redis\"`: tokens are kept in `state_dir` and shared with nobody"
        ]
    );
    assert_eq!(load_text(&format!("{store}kind = 'file'\n")).unwrap().warnings, [""; 0]);
}

#[test]
fn callers_that_keep_their_own_token_need_no_appid_and_no_secret() {
    let text = "[[account]]\ntoken_api = 'none'\n";
    let account = load_text(text).unwrap().config.accounts.remove(0);
    assert_eq!((account.app, account.upstream.to_string().as_str()), (None, "https://api.weixin.qq.com:443"));
    let words = "of no use with token_api = \"none\": callers keep their own token, and wxgate asks for none; remove it";
    assert_eq!(
        complaints(&format!("{text}appid = 'wx1'\nsecret = 's'\n")),
        [
            format!("wxgate.toml:3: account[0].appid: {words}"),
            format!("wxgate.toml:4: account[0].secret: {words}")
        ]
    );
    assert_eq!(
        load_text(&format!("{text}refresh_on = [42001]\n")).unwrap().warnings,
        [
            "wxgate.toml:3: account[0].refresh_on: without effect with token_api = \"none\": nothing is sent a second time"
        ]
    );
    // Two of them are told apart by their names and routes alone.
    let two = format!("{text}name = 'a'\n{text}name = 'b'\nprefix = '/b'\n");
    assert_eq!(complaints(&two), [""; 0]);
}

#[test]
fn accounts_of_wecom() {
    let app = |name: &str, secret: &str, more: &str| {
        format!(
            "[[account]]\nkind = 'wecom'\nname = '{name}'\nprefix = '/{name}'\nappid = 'ww1'\nsecret = '{secret}'\n{more}"
        )
    };
    let loaded = load_text(&app("a", "s1", "")).unwrap();
    let account = &loaded.config.accounts[0];
    assert_eq!(account.upstream.to_string(), "https://qyapi.weixin.qq.com:443");
    assert_eq!(account.refresh_on, [40014, 42001]);
    assert_eq!((account.policy().unwrap().name, account.token_api()), ("gettoken", "token"));
    let shown = |key: &str| {
        loaded.settings.iter().find(|s| s.key == format!("account[0].{key}")).unwrap().value.clone()
    };
    assert_eq!(shown("upstream"), "https://qyapi.weixin.qq.com");
    assert_eq!(shown("refresh_on"), serde_json::json!([40014, 42001]));
    // What the file says holds, and the `url` of [upstream] is that of another product.
    let other = format!(
        "[upstream]\nurl = 'http://127.0.0.1:1'\n{}{}",
        app("a", "s1", "refresh_on = [40001]\n"),
        app("b", "s2", "upstream = 'http://127.0.0.1:2'\ntoken_api = 'none'\n")
            .replace("appid = 'ww1'\nsecret = 's2'\n", "")
    );
    let accounts = load_text(&other).unwrap().config.accounts;
    assert_eq!(accounts[0].refresh_on, [40001]);
    assert_eq!(accounts[0].upstream.to_string(), "https://qyapi.weixin.qq.com:443");
    assert_eq!(accounts[1].upstream.to_string(), "http://127.0.0.1:2");
    // The applications of a company share its corpid.
    assert_eq!(complaints(&format!("{}{}", app("a", "s1", ""), app("b", "s2", ""))), [""; 0]);
    let twice = complaints(&format!("{}{}", app("a", "s1", ""), app("b", "s1", "")));
    assert!(
        twice.len() == 1 && twice[0].contains("account[1].appid: the appid of account[0] once more"),
        "{twice:?}"
    );
    assert_eq!(
        complaints(&app("a", "s1", "token_api = 'stable_token'\n")),
        ["wxgate.toml:7: account[0].token_api: found \"stable_token\", want \"token\" or \"none\""]
    );
    assert_eq!(
        complaints("[[account]]\nkind = 'wework'\nappid = 'ww1'\nsecret = 's'\n"),
        ["wxgate.toml:2: account[0].kind: found \"wework\", want \"weixin\" or \"wecom\""]
    );
}

#[test]
fn robots() {
    let url = "url = 'https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=a-b'";
    let robot = |lines: &str| complaints(&format!("{ACCOUNT}[[alert]]\n{lines}\n"));
    let loaded = load_text(&format!("{ACCOUNT}[[alert]]\nkind = 'wecom'\n{url}\n")).unwrap();
    assert_eq!(loaded.config.alerts[0].on, crate::alert::Cause::ALL);
    for (lines, right) in [
        (format!("kind = 'wecom'\n{url}\non = ['refused', 'store']"), ""),
        ("kind = 'dingtalk'\nurl = 'https://oapi.dingtalk.com/robot/send?access_token=a'".to_owned(), ""),
        ("kind = 'feishu'\nurl = 'https://open.feishu.cn/open-apis/bot/v2/hook/a'".to_owned(), ""),
        ("kind = 'feishu'\nurl = 'https://open.larksuite.com/open-apis/bot/v2/hook/a'".to_owned(), ""),
        (format!("kind = 'slack'\n{url}"), "found \"slack\", want \"wecom\" or \"dingtalk\" or \"feishu\""),
        ("kind = 'wecom'".to_owned(), "missing, and required: url"),
        (url.to_owned(), "missing, and required: kind"),
        (format!("kind = 'wecom'\n{url}\non = []"), "at least one cause"),
        (
            "kind = 'dingtalk'\nurl = 'https://oapi.dingtalk.com/robot/send?access_token=a'\nsecret = 'SECa'"
                .to_owned(),
            "",
        ),
        ("kind = 'feishu'\nurl = 'https://open.feishu.cn/hook/a'\nsecret = 'a'".to_owned(), ""),
        (
            "kind = 'feishu'\nurl = 'https://open.feishu.cn/hook/a'\nsecret = ''".to_owned(),
            "alert[0].secret: the secret is empty; want the text that the service shows beside 加签 or 签名校验",
        ),
        (
            format!("kind = 'wecom'\n{url}\nsecret = 'SECa'"),
            "alert[0].secret: WeCom's robots know no signature",
        ),
        (format!("kind = 'wecom'\n{url}\non = ['all']"), "found \"all\", want \"refused\" or"),
    ] {
        let said = robot(&lines);
        match right {
            "" => assert_eq!(said, [""; 0], "{lines}"),
            right => assert!(said.len() == 1 && said[0].contains(right), "{lines}: {said:?}"),
        }
    }
    for url in [
        "http://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=KEY",
        "https://qyapi.weixin.qq.com:8443/send?key=KEY",
        "https://qyapi.weixin.qq.com.example.com/send?key=KEY",
        "https://qyapi.weixin.qq.com@example.com/send?key=KEY",
        "https://user:KEY@qyapi.weixin.qq.com/send",
        "https://qyapi.weixin.qq.com",
        "https://qyapi.weixin.qq.com/",
        "https://qyapi.weixin.qq.com\\\\@example.com/KEY",
        "https://oapi.dingtalk.com/robot/send?access_token=KEY",
        "https://127.0.0.1/KEY",
        "KEY",
    ] {
        let said = robot(&format!("kind = 'wecom'\nurl = \"{url}\""));
        assert!(said.len() == 1 && said[0].contains("want the webhook"), "{url}: {said:?}");
        assert!(
            said[0].contains("https://qyapi.weixin.qq.com/…") && !said[0].contains("KEY"),
            "{url}: {said:?}"
        );
    }
}

#[test]
fn keys_of_the_api_security_mode() {
    let with = |name: &str, value: &str| {
        let others = SIGNING.lines().filter(|line| !line.starts_with(&format!("{name} = ")));
        let others: Vec<_> = others.collect();
        format!("{ACCOUNT}{}\n{name} = {value}\n", others.join("\n"))
    };
    let keys = load_text(&format!("{ACCOUNT}{SIGNING}")).unwrap().config.accounts[0].signing.clone().unwrap();
    assert_eq!((keys.url.as_str(), keys.certificates.len()), ("https://api.weixin.qq.com", 1));
    assert!(keys.paths.len() > 20 && !keys.paths.iter().any(|path| path.covers("/wxa/getwxacodeunlimit")));
    let certificate = "certs/signing/platform.pem";
    for (name, value, words) in [
        ("encryption", "'AES256_GCM'", ""),
        ("encryption", "'SM4_GCM'", "want \"AES256_GCM\": wxgate does not speak SM4_GCM"),
        ("signature", "'sm2WithSM3'", "want \"RSAwithSHA256\": wxgate does not speak SM2withSM3"),
        ("key_number", "'a|b'", "want the number that the console shows"),
        ("key", "'MDEyMzQ1Njc4OWFiY2RlZg=='", "has 16 bytes, as SM4_GCM has them"),
        ("key", "'MDEyMzQ1Njc4OWFiY2RlZmc='", "has 17 bytes; AES256_GCM takes 32"),
        ("key", "'not-base64'", "the symmetric key is not base64"),
        ("key", "''", "the symmetric key is empty"),
        ("private_key", "'certs/server.key'", "this is no RSA private key"),
        ("private_key", "'certs/signing/platform.key'", ""),
        ("private_key", "'certs/signing/app.pub'", "holds no private key"),
        ("private_key", "'nowhere.pem'", "cannot read the file named here"),
        ("private_key", "'-----BEGIN RSA PRIVATE KEY-----'", "found a text, want the path of a PEM file"),
        ("certificates", "'certs/signing/platform.pem'", "want a table with at least one certificate"),
        ("certificates", "{}", "found an empty table, want a table with at least one"),
        (
            "certificates",
            &format!("{{ 'a b' = '{certificate}' }}"),
            "a key that is no number of a certificate",
        ),
        ("certificates", &format!("{{ 7 = '{certificate}', 8 = {{ file = '{certificate}' }} }}"), ""),
        (
            "certificates",
            "{ 7 = 'certs/server.pem' }",
            "certificates.7: this is no certificate with an RSA key",
        ),
        (
            "certificates",
            "{ 7 = 'certs/signing/app.key' }",
            "certificates.7: `certs/signing/app.key` holds no certificate",
        ),
        (
            "certificates",
            "{ 7 = 'nowhere.pem' }",
            "certificates.7: found \"nowhere.pem\", want a PEM file that can be read",
        ),
        ("paths", "[]", "found an empty array, want at least one path"),
        ("paths", "['wxa']", "paths[0]: found \"wxa\", want a path like"),
        ("url", "'api.weixin.qq.com'", "signing.url: found \"api.weixin.qq.com\", want"),
        ("keynumber", "'1'", "signing.keynumber: unknown key, did you mean `key_number`?"),
    ] {
        let said = complaints(&with(name, value));
        match words {
            "" => assert_eq!(said, [""; 0], "{name} = {value}"),
            words => assert!(said.len() == 1 && said[0].contains(words), "{name} = {value}: {said:?}"),
        }
    }
    // The other algorithm's words are for those who name it.
    let said = complaints(&with("encryption", "'AES'"));
    assert!(said.len() == 1 && said[0].ends_with("found \"AES\", want \"AES256_GCM\""), "{said:?}");
    let missing = complaints(&format!("{ACCOUNT}[account.signing]\n"));
    let required = ["key_number", "key", "private_key", "certificates"];
    assert_eq!(missing.len(), 4, "{missing:?}");
    for (said, name) in missing.iter().zip(required) {
        assert!(said.contains(&format!("signing.{name}: missing, and required: {name} = ")), "{said}");
    }
    for (account, words) in [
        ("[[account]]\ntoken_api = 'none'\n", "signing: of no use with token_api = \"none\""),
        (
            "[[account]]\nkind = 'wecom'\nappid = 'ww1'\nsecret = 's'\n",
            "signing: of no use with kind = \"wecom\"",
        ),
    ] {
        let said = complaints(&format!("{account}{SIGNING}"));
        assert!(said.len() == 1 && said[0].contains(words), "{said:?}");
    }
    assert_eq!(
        complaints(&format!("{ACCOUNT}signing = 1\n")),
        ["wxgate.toml:4: account[0].signing: found a number, want a table: `[account.signing]`"]
    );
    let shown = print(
        &load_text(&format!(
            "{ACCOUNT}{SIGNING}[[account]]\nname='b'\nappid='wx2'\nsecret='x'\nprefix='/b'\n"
        ))
        .unwrap()
        .settings,
    );
    let at = |text: &str| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}"));
    assert!(
        at("[[account]]") < at("[account.signing]")
            && at("[account.signing]") < shown.rfind("[[account]]").unwrap()
    );
    assert!(at("key = \"***\"") > 0 && at("# private_key_number: not sent") > 0, "{shown}");
    assert!(at("certificates = { 79ba700ea147819f640941bceb38b1d1 = \"certs/signing/platform.pem\" }") > 0);
    assert!(at("\"/wxa/getuserriskrank\"") > 0);
}
