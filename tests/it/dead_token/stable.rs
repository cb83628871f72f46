//! `token_api = "stable_token"`: the normal mode heals a theft, `force_refresh` what it cannot, and sparingly.

use wxgate_sandbox::{Failure, Fetches, How};

use crate::support::gate::{Gate, Settings};
use crate::support::wechat::WeChat;

async fn gate_before(wechat: &WeChat) -> Gate {
    let account = "token_api = \"stable_token\"".to_owned();
    Gate::with(&wechat.url, Settings { account, ..Settings::default() }).await
}

/// The API says that a token is over which the token call goes on handing out: the next `count` calls get 42001.
fn refuse(wechat: &WeChat, count: u64) {
    let path = Some("/cgi-bin/user/get".to_owned());
    wechat.handle.fail(Failure { count, path, how: How::Errcode(42001) });
}

#[tokio::test]
async fn thefts_are_healed_in_the_normal_mode() {
    let wechat = WeChat::start().await;
    let gate = gate_before(&wechat).await;
    for _ in 0..12 {
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
        wechat.handle.steal_token();
    }
    assert_eq!(wechat.handle.stats().fetches, Fetches { token: 0, stable: 12, stable_forced: 0 });
}

#[tokio::test]
async fn only_a_token_that_the_normal_mode_hands_back_is_forced_and_not_twice_in_30_seconds() {
    let wechat = WeChat::start().await;
    let gate = gate_before(&wechat).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    refuse(&wechat, 1);
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    assert_eq!(wechat.handle.stats().fetches, Fetches { token: 0, stable: 2, stable_forced: 1 });
    refuse(&wechat, 1);
    let limited = gate.get("/cgi-bin/user/get").await;
    assert_eq!((limited.errcode(), limited.header("X-Wxgate-Retry")), (42001, Some("refresh-limited")));
    assert_eq!(wechat.handle.stats().fetches.stable_forced, 1);
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
}

#[tokio::test]
async fn the_wait_between_two_forced_refreshes_outlives_a_restart() {
    let wechat = WeChat::start().await;
    let dir = tempfile::tempdir().unwrap();
    for (round, expected) in [(1, 0), (2, 42001)] {
        let settings = Settings {
            account: "token_api = \"stable_token\"".to_owned(),
            state: Some(dir.path().to_owned()),
            ..Settings::default()
        };
        let gate = Gate::with(&wechat.url, settings).await;
        refuse(&wechat, 1);
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), expected, "round {round}");
        gate.stop();
    }
    assert_eq!(wechat.handle.stats().fetches.stable_forced, 1);
}
