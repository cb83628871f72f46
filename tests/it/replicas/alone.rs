//! Two replicas on `stable_token` with nothing between them: the normal mode hands both the same token.

use wxgate_sandbox::{Failure, Fetches, How};

use crate::support::gate::{Gate, Settings};
use crate::support::wechat::WeChat;

async fn replica_of(wechat: &WeChat, replicas: usize) -> Gate {
    let account = "token_api = \"stable_token\"".to_owned();
    let tables = format!("[store]\nreplicas = {replicas}\n");
    Gate::with(&wechat.url, Settings { account, tables, ..Settings::default() }).await
}

#[tokio::test]
async fn two_replicas_use_one_token_through_thefts_and_end_no_token_of_each_other() {
    let wechat = WeChat::start().await;
    let pair = [replica_of(&wechat, 2).await, replica_of(&wechat, 2).await];
    for round in 0..4 {
        for gate in &pair {
            assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0, "round {round}");
        }
        wechat.handle.steal_token();
    }
    for gate in &pair {
        assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    }
    // One token at the start, and one more after each theft.
    assert_eq!(wechat.handle.tokens_issued().len(), 5);
    assert_eq!(wechat.handle.stats().fetches, Fetches { token: 0, stable: 10, stable_forced: 0 });
}

#[tokio::test]
async fn each_of_eighteen_replicas_forces_once_in_a_day() {
    let wechat = WeChat::start().await;
    let gate = replica_of(&wechat, 18).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let path = Some("/cgi-bin/user/get".to_owned());
    for expected in [0, 42001] {
        wechat.handle.fail(Failure { count: 1, path: path.clone(), how: How::Errcode(42001) });
        let answer = gate.get("/cgi-bin/user/get").await;
        assert_eq!(answer.errcode(), expected);
    }
    assert_eq!(wechat.handle.stats().fetches.stable_forced, 1);
}
