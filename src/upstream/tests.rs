//! Connections and how long they live, against servers on loopback.

use super::*;
use socket2::{SockFilter, SockRef};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{Instant, timeout_at};

fn settings(warm_connections: usize) -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(3),
        response_timeout: Duration::from_secs(30),
        max_connections: 1024,
        warm_connections,
    }
}

fn upstream(listener: &TcpListener, warm_connections: usize) -> Rc<Upstream> {
    let endpoint = plain(listener.local_addr().unwrap());
    Rc::new(Upstream::new(ApiHost::new(endpoint, Vec::new(), settings(warm_connections))))
}

fn plain(address: std::net::SocketAddr) -> Endpoint {
    Endpoint {
        base: BaseUrl::new(false, &address.ip().to_string(), address.port()).unwrap(),
        egress: None,
        proxy: None,
        trust: tls::Trust::load(None).unwrap(),
    }
}

#[tokio::test]
async fn a_connection_is_used_for_five_minutes_at_most() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&listener, 0);
    let connections = Rc::<Cell<usize>>::default();
    let accepted = Rc::clone(&connections);
    let serve = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            accepted.set(accepted.get() + 1);
            spawn_local(async move {
                let mut request = [0; 1000];
                while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    };
    let calls = async {
        spawn_local(serve);
        // It is never idle for long: that alone would not end it.
        let mut seen = Vec::new();
        for call in 0..8 {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(if call == 0 { 0 } else { 45 })).await;
            tokio::time::resume();
            let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
            upstream.send(&Method::GET, request).await.unwrap();
            seen.push(connections.get());
        }
        // It ends at an age between 270 and 300 seconds.
        assert!(seen == [1, 1, 1, 1, 1, 1, 2, 2] || seen == [1, 1, 1, 1, 1, 1, 1, 2], "{seen:?}");
    };
    LocalSet::new().run_until(calls).await;
}

/// Two upstreams with one port, which count their calls; the first lives on when its name has moved to the other.
#[tokio::test]
async fn a_name_that_moves_is_followed_within_a_connections_five_minutes() {
    let (first, second) = loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
            break (first, second);
        }
    };
    let port = first.local_addr().unwrap().port();
    let counts = [Rc::<Cell<usize>>::default(), Rc::default()];
    let serve = |listener: TcpListener, count: Rc<Cell<usize>>| async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = Rc::clone(&count);
            spawn_local(async move {
                let mut request = [0; 1000];
                while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    count.set(count.get() + 1);
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                }
            });
        }
    };
    let moved = Arc::<AtomicBool>::default();
    let lookup = {
        let moved = Arc::clone(&moved);
        move |_: &str| Ok(vec![[127, 0, 0, 1 + u8::from(moved.load(Ordering::SeqCst))].into()])
    };
    let endpoint = Endpoint {
        base: BaseUrl::new(false, "api.test", port).unwrap(),
        ..plain(first.local_addr().unwrap())
    };
    let resolver = resolver::Resolver::with("api.test", lookup);
    let site = site::Site::with_resolver(endpoint, settings(0), resolver);
    let upstream = Upstream::new(ApiHost::of(vec![site], settings(0)));
    let calls = async {
        spawn_local(serve(first, Rc::clone(&counts[0])));
        spawn_local(serve(second, Rc::clone(&counts[1])));
        let mut seen = Vec::new();
        for call in 0..16 {
            tokio::time::pause();
            tokio::time::advance(Duration::from_millis(if call == 0 { 0 } else { 49_500 })).await;
            tokio::time::resume();
            let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
            upstream.send(&Method::GET, request).await.unwrap();
            moved.store(true, Ordering::SeqCst);
            seen.push(counts[1].get());
        }
        // The seventh call, after 297 s, mostly needs a new connection; the eighth, after 346 s, always.
        assert!(seen[7..].iter().zip(1..).all(|(count, least)| *count >= least), "{seen:?}");
        assert_eq!(counts[0].get() + counts[1].get(), 16);
    };
    LocalSet::new().run_until(calls).await;
}

/// Before the next look at the idle connections; on a machine that is too busy for that nothing is seen, and it is
/// tried again.
#[tokio::test]
async fn a_call_that_found_no_connection_has_the_next_one_made_at_once() {
    async fn attempt() -> Option<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = upstream(&listener, 1);
        let next_look = Instant::now() + SWEEP_EVERY;
        let accepted = async || timeout_at(next_look, listener.accept()).await.ok().map(Result::unwrap);
        let call = || {
            let upstream = Rc::clone(&upstream);
            let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
            spawn_local(async move { upstream.send(&Method::GET, request).await.map(drop) })
        };
        let keeper = Rc::clone(&upstream);
        spawn_local(async move { keeper.keep_warm().await });
        let _ready = accepted().await?;
        while upstream.sites[0].pool.sweep() == 0 {
            yield_now().await;
        }
        // The first takes it, the second finds none.
        let _calls = (call(), call());
        let _theirs_and_the_next = (accepted().await?, accepted().await?);
        Some(())
    }
    let attempts = async {
        for _ in 0..5 {
            if attempt().await.is_some() {
                return true;
            }
        }
        false
    };
    assert!(LocalSet::new().run_until(attempts).await);
}

/// An upstream, or a proxy before it, that a GET cannot reach any more on the connection of the one before. How long the
/// GET takes.
async fn get_after_a_cut(through_proxy: bool) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = OutboundProxy {
        protocol: ProxyProtocol::Http,
        host: address.ip().to_string(),
        port: address.port(),
        credentials: None,
    };
    let endpoint = Endpoint { proxy: through_proxy.then_some(proxy), ..plain(address) };
    let upstream = Upstream::new(ApiHost::new(endpoint, Vec::new(), settings(0)));
    spawn_local(async move {
        let mut connections = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1000];
            if through_proxy {
                assert!(stream.read(&mut request).await.unwrap() > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            }
            assert!(stream.read(&mut request).await.unwrap() > 0);
            if connections.is_empty() {
                // BPF's `ret 0`: the kernel drops what comes from now on, and acknowledges nothing. It learns of no
                // acknowledgement either, and so sends the answer again and again.
                SockRef::from(&stream).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            connections.push(stream);
        }
    });
    let get = || {
        let request = |_: Option<&HeaderValue>| Some(Request::new(RequestBody::whole([])));
        upstream.send(&Method::GET, request)
    };
    get().await.unwrap();
    let begun = Instant::now();
    get().await.unwrap();
    begun.elapsed()
}

#[tokio::test]
async fn an_upstream_that_repeats_itself_and_acknowledges_nothing_is_dead() {
    let calls = async { tokio::join!(get_after_a_cut(false), get_after_a_cut(true)) };
    let (direct, through_proxy) = LocalSet::new().run_until(calls).await;
    for (way, took) in [("direct", direct), ("through a proxy", through_proxy)] {
        assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{way}: {took:?}");
    }
}
