//! Which host is used when.

use super::*;
use crate::upstream::tls::Trust;
use std::net::{SocketAddr, TcpListener};
use std::process;

fn api(addresses: &[SocketAddr]) -> Arc<ApiHost> {
    let mut endpoints = addresses.iter().map(|address| Endpoint {
        base: BaseUrl::new(false, &address.ip().to_string(), address.port()).unwrap(),
        egress: None,
        proxy: None,
        trust: Trust::load(None).unwrap(),
    });
    let settings = Settings {
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(30),
        max_connections: 1024,
        warm_connections: 0,
    };
    ApiHost::new(endpoints.next().unwrap(), endpoints.collect(), settings)
}

/// An address of this test process alone, so that its port stays free while nobody listens.
fn own(last: u8) -> TcpListener {
    TcpListener::bind(format!("127.88.{}.{last}:0", process::id() % 250)).unwrap()
}

async fn reached(api: &ApiHost) -> Option<usize> {
    api.wire().await.ok().map(|(index, _)| index)
}

#[tokio::test(start_paused = true)]
async fn the_first_host_is_used_again_after_it_has_answered_for_a_minute() {
    let (first, second) = (own(1), own(2));
    let (at, spare) = (first.local_addr().unwrap(), second.local_addr().unwrap());
    let api = api(&[at, spare]);
    assert_eq!((reached(&api).await, api.changes()), (Some(0), 0));
    drop(first);
    assert_eq!((reached(&api).await, api.changes()), (Some(1), 1));
    assert_eq!(api.base_in_use().port(), spare.port());
    sleep(Duration::from_secs(300)).await;
    assert_eq!(api.in_use(), 1, "it does not answer");
    let _first = TcpListener::bind(at).unwrap();
    sleep(Duration::from_secs(58)).await;
    assert_eq!((reached(&api).await, api.in_use()), (Some(1), 1), "not long enough");
    sleep(Duration::from_secs(10)).await;
    assert_eq!((reached(&api).await, api.changes()), (Some(0), 2));
    // Nobody tries it any more, and the next time somebody does again.
    sleep(Duration::from_secs(10)).await;
    drop(_first);
    assert_eq!(reached(&api).await, Some(1));
    let _first = TcpListener::bind(at).unwrap();
    sleep(Duration::from_secs(70)).await;
    assert_eq!(api.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_first_host_that_falters_begins_its_minute_anew() {
    let (first, second) = (own(3), own(4));
    let at = first.local_addr().unwrap();
    let api = api(&[at, second.local_addr().unwrap()]);
    drop(first);
    assert_eq!(reached(&api).await, Some(1));
    let first = TcpListener::bind(at).unwrap();
    sleep(Duration::from_secs(50)).await;
    drop(first);
    sleep(Duration::from_secs(7)).await;
    let _first = TcpListener::bind(at).unwrap();
    sleep(Duration::from_secs(50)).await;
    assert_eq!(api.in_use(), 1);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(api.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_tried_in_turn_and_an_error_names_them_all() {
    let all = [own(5), own(6), own(7)];
    let at = all.each_ref().map(|listener| listener.local_addr().unwrap());
    let api = api(&at);
    let [first, second, third] = all;
    drop((first, second));
    assert_eq!(reached(&api).await, Some(2));
    drop(third);
    let error = api.wire().await.err().unwrap().to_string();
    assert!(at.iter().all(|address| error.contains(&format!("http://{address}: "))), "{error}");
    assert_eq!(api.in_use(), 2, "no other host is better");
    let _second = TcpListener::bind(at[1]).unwrap();
    assert_eq!((reached(&api).await, api.in_use()), (Some(1), 1));
}
