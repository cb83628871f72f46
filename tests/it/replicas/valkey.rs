//! The core of it with Valkey, where Debian has a package of it; `tests/run` fetches that.

use super::{all_serve, check, fetches, is_up, two_share};
use crate::support::redis::Redis;
use crate::support::until::until_async;
use crate::support::wechat::WeChat;

#[tokio::test]
async fn valkey_is_shared_like_redis() {
    let Some(mut valkey) = Redis::valkey().await else {
        println!("no valkey-server here: not tried");
        return;
    };
    let wechat = WeChat::start().await;
    let (code, said) = check(&wechat, valkey.table()).await;
    assert_eq!(code, 0, "{said}");
    let gates = two_share(&wechat, &valkey.patient_table()).await;
    all_serve(&gates).await;
    let fetched = fetches(&wechat);
    valkey.stop();
    until_async("its loss is seen", async || !is_up(&gates[0]).await && !is_up(&gates[1]).await).await;
    all_serve(&gates).await;
    valkey.again().await;
    until_async("it is used again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    until_async("it has the token again", async || {
        valkey.keys().iter().any(|key| key.contains("access_token"))
    })
    .await;
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), fetched);
}
