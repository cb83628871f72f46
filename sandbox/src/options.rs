//! What can be set, on the command line and by a test in the same process.
//!
//! The certificate is read in `tls.rs`; here stands only where it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The appid when none is given.
pub const DEFAULT_APPID: &str = "wx0000000000000001";
/// The corpid when it plays WeCom and none is given.
pub const DEFAULT_CORPID: &str = "ww0000000000000001";
/// The AppSecret that goes with [`DEFAULT_APPID`]. It opens nothing but a sandbox.
pub const DEFAULT_SECRET: &str = "sandbox0secret0sandbox0secret001";

const CONTROL: &str = "\
Calls that steer it (no token needed; ?appid=APPID restricts the first two to one account):
  POST /sandbox/steal-token    another system fetched a token: the current ones stop working at once (40001;
                               WeCom: ended early, 40014)
  POST /sandbox/expire-token   the current tokens are over from now on (42001)
  POST /sandbox/fail           {\"count\": 3, \"path\": \"/cgi-bin/user/get\", \"how\": {\"errcode\": 45009}}
                               the next `count` (default 1) calls of `path` (default: all, token calls too) fail;
                               `how` is one of {\"errcode\": N}, {\"status\": N}, {\"hang_ms\": N}, {\"reset\": true},
                               {\"early_errcode\": N} (after 64 KiB of the body, and the connection is closed)
  POST /sandbox/lag            {\"share\": 0.3, \"ms\": 1000}
                               that part of the calls meets a node that refuses a token (40001) until it is so old;
                               without `ms` always; a share of 0 ends it
  POST /sandbox/sealed         {\"count\": 1, \"how\": \"tampered\"}
                               with --api-security: the next `count` (default 1) encrypted answers are \"unsigned\",
                               \"tampered\", signed with a \"foreign_key\" or under a \"foreign_number\", \"stale\",
                               \"changing\" (of certificates) or {\"errcode\": N}
  GET  /sandbox/sealed         with --api-security: the keys of an app, which are public, as JSON
  GET  /sandbox/stats          fetches, calls, calls per token, errors, peer addresses, connections
  GET  /sandbox/last           the last 100 requests with their headers, tokens and secrets masked

Point a client at it with `--cacert certs/ca.pem`; the built-in certificate is for localhost, 127.0.0.1 and
sandbox.wxgate.test. Its private key is public: never use it in production.";

/// How the sandbox behaves.
#[derive(Clone, clap::Args)]
#[command(after_long_help = CONTROL, after_help = CONTROL)]
pub struct Options {
    /// Address to listen on; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9443")]
    pub listen: SocketAddr,

    /// An appid that it knows; repeat it, each time with a --secret, for several accounts
    /// [default: wx0000000000000001]
    #[arg(long = "appid", value_name = "APPID")]
    pub appids: Vec<String>,

    /// The AppSecret of the --appid in the same place [default: sandbox0secret0sandbox0secret001]
    #[arg(long = "secret", value_name = "SECRET")]
    pub secrets: Vec<String>,

    /// How long a token lives
    #[arg(long, value_name = "TIME", default_value = "7200s", value_parser = humantime::parse_duration)]
    pub token_ttl: Duration,

    /// How long the previous token still works after a new one was issued
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = humantime::parse_duration)]
    pub overlap: Duration,

    /// An address on the whitelist; others get 40164 (WeCom: 60020). Can be repeated
    #[arg(long = "allow-ip", value_name = "IP", default_values = ["127.0.0.1", "::1"])]
    pub allow_ips: Vec<IpAddr>,

    /// How often each interface may be called a day before it answers 45009; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    pub api_quota: u64,

    /// PEM chain to serve instead of the built-in one
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "plain")]
    pub cert: Option<PathBuf>,

    /// Private key of --cert, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Speak plain HTTP instead of HTTPS
    #[arg(long)]
    pub plain: bool,

    /// Play WeCom: an --appid is a corpid, ww0000000000000001 when none is given; repeat it with another --secret for
    /// another application
    #[arg(long)]
    pub wecom: bool,

    /// Ask for the API security mode (服务端 API 签名与加密): plain calls of the interfaces that support it are refused,
    /// encrypted and signed ones answered so, with the keys of `GET /sandbox/sealed`
    #[arg(long, conflicts_with = "wecom")]
    pub api_security: bool,
}

impl Default for Options {
    /// What the command line sets when it says nothing.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9443)),
            appids: Vec::new(),
            secrets: Vec::new(),
            token_ttl: Duration::from_secs(7200),
            overlap: Duration::from_secs(300),
            allow_ips: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            api_quota: 100_000,
            cert: None,
            key: None,
            plain: false,
            wecom: false,
            api_security: false,
        }
    }
}

impl fmt::Debug for Options {
    /// Without the secrets: somebody may have typed a real one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("appids", &self.appids)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Appids with their secrets.
    ///
    /// # Errors
    /// In words, when they do not pair up.
    pub(crate) fn accounts(&self) -> Result<Vec<(String, String)>, String> {
        let (appids, secrets) = (self.appids.len(), self.secrets.len());
        if appids == 0 && secrets <= 1 {
            let secret = self.secrets.first().map_or(DEFAULT_SECRET, String::as_str);
            let appid = if self.wecom { DEFAULT_CORPID } else { DEFAULT_APPID };
            return Ok(vec![(appid.to_owned(), secret.to_owned())]);
        }
        if appids == 1 && secrets == 0 {
            return Ok(vec![(self.appids[0].clone(), DEFAULT_SECRET.to_owned())]);
        }
        if appids != secrets {
            return Err(format!(
                "{appids} `--appid` and {secrets} `--secret`: give one secret for each appid"
            ));
        }
        Ok(self.appids.iter().cloned().zip(self.secrets.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
        let command = Options::augment_args(Command::new("sandbox").no_binary_name(true));
        Options::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_command_line_has_the_same_defaults_as_a_test() {
        let (parsed, default) = (parse(&[]).unwrap(), Options::default());
        assert_eq!(parsed.listen, default.listen);
        assert_eq!(parsed.token_ttl, default.token_ttl);
        assert_eq!(parsed.overlap, default.overlap);
        assert_eq!(parsed.allow_ips, default.allow_ips);
        assert_eq!(parsed.api_quota, default.api_quota);
        let accounts = parsed.accounts().unwrap();
        assert_eq!(accounts, default.accounts().unwrap());
        assert_eq!(accounts, [(DEFAULT_APPID.to_owned(), DEFAULT_SECRET.to_owned())]);
    }

    #[test]
    fn appids_and_secrets_pair_up_in_order() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let two = ["--appid", "wx1", "--secret", "s1", "--appid", "wx2", "--secret", "s2"];
        assert_eq!(parse(&two).unwrap().accounts().unwrap(), [pair("wx1", "s1"), pair("wx2", "s2")]);
        assert_eq!(parse(&two[..2]).unwrap().accounts().unwrap(), [pair("wx1", DEFAULT_SECRET)]);
        assert!(parse(&two[..6]).unwrap().accounts().is_err());
    }

    #[test]
    fn a_given_address_replaces_the_default_ones() {
        let options = parse(&["--allow-ip", "203.0.113.7"]).unwrap();
        assert_eq!(options.allow_ips, [IpAddr::from([203, 0, 113, 7])]);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(parse(&["--cert", "a.pem"]).is_err());
        assert!(parse(&["--cert", "a.pem", "--key", "a.key"]).is_ok());
        assert!(parse(&["--cert", "a.pem", "--key", "a.key", "--plain"]).is_err());
    }

    #[test]
    fn the_help_names_every_control_call() {
        let help = Options::augment_args(Command::new("sandbox")).render_long_help().to_string();
        for call in [
            "steal-token",
            "expire-token",
            "/sandbox/fail",
            "hang_ms",
            "/sandbox/lag",
            "/sandbox/sealed",
            "/sandbox/stats",
            "/sandbox/last",
        ] {
            assert!(help.contains(call), "{call}: {help}");
        }
    }
}
