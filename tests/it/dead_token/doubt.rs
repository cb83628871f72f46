//! Refused, but not dead: nodes that lag behind, refusals at random, and real thefts among them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use wxgate_sandbox::{Failure, How, Lag};

use crate::support::gate::{APPID, Gate, Settings};
use crate::support::https::{Connection, request};
use crate::support::until::until;
use crate::support::wechat::WeChat;

/// No caller waits longer because its token was refused; the rest is for a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_millis(1500 + 3000);

const ORDINARY: &str = "/cgi-bin/user/get";

/// What callers saw.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    /// Answers with an errcode, or with a word about why.
    errors: Vec<String>,
    longest: Duration,
}

impl Seen {
    async fn call(&mut self, connection: &mut Connection, open: &Open) {
        let round = open.begin();
        let begun = Instant::now();
        let response = connection.send(&request("GET", ORDINARY, &[], b"")).await.expect("an answer");
        open.end(round);
        self.calls += 1;
        self.longest = self.longest.max(begun.elapsed());
        let mark = response.header("X-Wxgate-Retry");
        if response.errcode() != 0 || mark.is_some() {
            self.errors.push(format!("{} {mark:?}", response.text()));
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.errors.extend(other.errors);
        self.longest = self.longest.max(other.longest);
    }

    /// No caller has seen an error, and none has waited long.
    fn nothing(&self) {
        assert!(self.errors.is_empty(), "{} of {} calls: {:?}", self.errors.len(), self.calls, self.errors);
        assert!(self.longest < LONGEST, "{:?}", self.longest);
    }
}

/// Callers at work; each sends its next call when it has got its answer, or so many come each second whatever
/// becomes of them.
#[derive(Debug, Clone, Copy)]
enum Load {
    Closed { connections: usize },
    Open { rate: u64 },
}

/// How many calls of each round wait for their answer.
#[derive(Default)]
struct Open {
    round: AtomicUsize,
    calls: [AtomicUsize; 16],
}

impl Open {
    fn begin(&self) -> usize {
        let round = self.round.load(Ordering::SeqCst);
        self.calls[round].fetch_add(1, Ordering::SeqCst);
        round
    }

    fn end(&self, round: usize) {
        self.calls[round].fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running load.
struct Callers {
    stop: Arc<AtomicBool>,
    open: Arc<Open>,
    all: JoinSet<Seen>,
}

impl Callers {
    fn start(addr: SocketAddr, load: Load) -> Self {
        let (stop, open, mut all) =
            (Arc::new(AtomicBool::new(false)), Arc::<Open>::default(), JoinSet::new());
        match load {
            Load::Closed { connections } => {
                for _ in 0..connections {
                    let (stop, open) = (Arc::clone(&stop), Arc::clone(&open));
                    all.spawn(async move {
                        let (mut seen, mut connection) = (Seen::default(), Connection::plain(addr).await);
                        while !stop.load(Ordering::Relaxed) {
                            seen.call(&mut connection, &open).await;
                        }
                        seen
                    });
                }
            }
            Load::Open { rate } => {
                let (stop, open) = (Arc::clone(&stop), Arc::clone(&open));
                all.spawn(async move {
                    let idle = Arc::new(Mutex::new(Vec::<Connection>::new()));
                    let mut clock = interval(Duration::from_micros(1_000_000 / rate));
                    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    let (mut calls, mut seen) = (JoinSet::new(), Seen::default());
                    while !stop.load(Ordering::Relaxed) {
                        clock.tick().await;
                        let (idle, open) = (Arc::clone(&idle), Arc::clone(&open));
                        calls.spawn(async move {
                            let kept = idle.lock().await.pop();
                            let mut connection = match kept {
                                Some(connection) => connection,
                                None => Connection::plain(addr).await,
                            };
                            let mut seen = Seen::default();
                            seen.call(&mut connection, &open).await;
                            idle.lock().await.push(connection);
                            seen
                        });
                        while let Some(done) = calls.try_join_next() {
                            seen.add(done.unwrap());
                        }
                    }
                    calls.join_all().await.into_iter().for_each(|done| seen.add(done));
                    seen
                });
            }
        }
        Self { stop, open, all }
    }

    /// Waits until every call that has begun by now is answered.
    async fn are_answered(&self) {
        let round = self.open.round.fetch_add(1, Ordering::SeqCst);
        until("all callers are answered", || self.open.calls[round].load(Ordering::SeqCst) == 0).await;
    }

    async fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        self.all.join_all().await.into_iter().for_each(|one| seen.add(one));
        seen
    }
}

async fn sleep(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn fetches(wechat: &WeChat) -> u64 {
    wechat.handle.stats().fetches.token
}

/// A proxy whose token is no longer young: it was stored a minute ago, as far as the file says.
async fn with_an_old_token(wechat: &WeChat, state: &std::path::Path) -> Gate {
    let settings = || Settings { state: Some(state.to_owned()), ..Settings::default() };
    let first = Gate::with(&wechat.url, settings()).await;
    assert_eq!(first.get(ORDINARY).await.errcode(), 0);
    first.stop();
    let file = state.join(format!("{APPID}.json"));
    let mut stored: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for time in ["issued_at_ms", "expires_at_ms"] {
        stored["token"][time] = (stored["token"][time].as_u64().unwrap() - 60_000).into();
    }
    std::fs::write(&file, stored.to_string()).unwrap();
    Gate::with(&wechat.url, settings()).await
}

const LOADS: [Load; 3] =
    [Load::Open { rate: 100 }, Load::Closed { connections: 4 }, Load::Closed { connections: 16 }];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_percent_of_random_refusals_is_seen_by_no_caller_and_causes_no_fetch() {
    for old in [true, false] {
        let wechat = WeChat::with(&["--plain"]).await;
        let state = tempfile::tempdir().unwrap();
        let gate = match old {
            true => with_an_old_token(&wechat, state.path()).await,
            false => Gate::before(&wechat.url).await,
        };
        let callers = Callers::start(gate.addr, Load::Open { rate: 100 });
        sleep(300).await;
        wechat.handle.lag(Lag { share: 0.01, time: None });
        sleep(5_000).await;
        wechat.handle.lag(Lag { share: 0.0, time: None });
        let seen = callers.end().await;
        let refused = wechat.handle.stats().per_token.iter().map(|token| token.lagged).sum::<u64>();
        println!("old {old}: {} calls, {refused} refused, longest {:?}", seen.calls, seen.longest);
        seen.nothing();
        assert!(fetches(&wechat) <= 2, "{}", fetches(&wechat));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_of_the_nodes_that_lag_after_a_planned_renewal_are_seen_by_no_caller() {
    for load in LOADS {
        // Replaced at 80 % of its life, and refused by the lagging nodes for a second after that.
        let wechat = WeChat::with(&["--plain", "--token-ttl", "4s"]).await;
        let gate = Gate::before(&wechat.url).await;
        let callers = Callers::start(gate.addr, load);
        sleep(1_500).await;
        wechat.handle.lag(Lag { share: 1.0 / 3.0, time: Some(Duration::from_secs(1)) });
        until("the planned renewal", || fetches(&wechat) >= 2).await;
        sleep(1_500).await;
        wechat.handle.lag(Lag { share: 0.0, time: None });
        let (seen, stats) = (callers.end().await, wechat.handle.stats());
        let lagged: u64 = stats.per_token.iter().map(|token| token.lagged).sum();
        println!("{load:?}: {} calls, {lagged} refused, longest {:?}", seen.calls, seen.longest);
        seen.nothing();
        assert!(lagged > 0);
        assert_eq!(stats.fetches.token, 2, "{load:?}: the planned one and no other");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_nodes_that_lag_after_a_forced_refresh_are_seen_by_no_caller() {
    for load in LOADS {
        let wechat = WeChat::with(&["--plain"]).await;
        let gate = Gate::before(&wechat.url).await;
        let callers = Callers::start(gate.addr, load);
        sleep(500).await;
        wechat.handle.steal_token();
        wechat.handle.lag(Lag { share: 0.5, time: Some(Duration::from_secs(1)) });
        sleep(3_000).await;
        let (seen, stats) = (callers.end().await, wechat.handle.stats());
        let lagged: u64 = stats.per_token.iter().map(|token| token.lagged).sum();
        let fetches = stats.fetches.token;
        println!(
            "{load:?}: {} calls, {lagged} refused, {fetches} fetches, longest {:?}",
            seen.calls, seen.longest
        );
        seen.nothing();
        assert!(lagged > 0);
        // The first one and the forced one; on a machine that stops for a while one more, which is allowed.
        assert!((2..=3).contains(&fetches), "{load:?}: {fetches}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thefts_every_300_ms_are_seen_by_no_caller() {
    for load in LOADS {
        // The bucket holds ten.
        const THEFTS: u64 = 9;
        let wechat = WeChat::with(&["--plain"]).await;
        let gate = Gate::before(&wechat.url).await;
        let callers = Callers::start(gate.addr, load);
        sleep(500).await;
        let mut clock = interval(Duration::from_millis(300));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..THEFTS {
            clock.tick().await;
            wechat.handle.steal_token();
            // A thief that is faster than a call and its one repetition would win; on a machine that is busy with other
            // tests it waits for both.
            assert_eq!(gate.get(ORDINARY).await.errcode(), 0);
            callers.are_answered().await;
        }
        sleep(1_000).await;
        let seen = callers.end().await;
        println!("{load:?}: {} calls, {} fetches, longest {:?}", seen.calls, fetches(&wechat), seen.longest);
        seen.nothing();
        assert!((2..=1 + THEFTS).contains(&fetches(&wechat)), "{}", fetches(&wechat));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_is_found_at_once_when_nothing_speaks_for_it() {
    let wechat = WeChat::with(&["--plain"]).await;
    let state = tempfile::tempdir().unwrap();
    let gate = with_an_old_token(&wechat, state.path()).await;
    wechat.handle.steal_token();
    let begun = Instant::now();
    assert_eq!(gate.get(ORDINARY).await.errcode(), 0);
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    let stats = wechat.handle.stats();
    assert_eq!((stats.fetches.token, stats.refused[&40001]), (2, 1), "sent twice and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_token_is_tried_once_more_before_another_is_fetched() {
    let wechat = WeChat::with(&["--plain"]).await;
    let gate = Gate::before(&wechat.url).await;
    let refuse = |count| {
        let path = Some(ORDINARY.to_owned());
        wechat.handle.fail(Failure { count, path, how: How::Errcode(40001) });
    };
    refuse(2);
    assert_eq!(gate.get(ORDINARY).await.errcode(), 0);
    assert_eq!(fetches(&wechat), 2, "refused twice: dead");
    refuse(1);
    let begun = Instant::now();
    assert_eq!(gate.get(ORDINARY).await.errcode(), 0);
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    assert_eq!(fetches(&wechat), 2);
    refuse(2);
    assert_eq!(gate.get(ORDINARY).await.errcode(), 0);
    assert_eq!(fetches(&wechat), 3, "refused twice, the second time when every node knows it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_always_refused_while_others_are_accepted_costs_no_fetch_and_is_soon_told() {
    let wechat = WeChat::with(&["--plain"]).await;
    let state = tempfile::tempdir().unwrap();
    let gate = with_an_old_token(&wechat, state.path()).await;
    let callers = Callers::start(gate.addr, Load::Open { rate: 50 });
    sleep(300).await;
    let sick = "/cgi-bin/menu/get";
    wechat.handle.fail(Failure { count: 1000, path: Some(sick.to_owned()), how: How::Errcode(40001) });
    let limited = Some("refresh-limited".to_owned());
    let mut marks = Vec::new();
    // Told at the third call; later where the machine is too busy for the others to be accepted in between.
    while marks.len() < 20 && !marks.ends_with(&[limited.clone(), limited.clone()]) {
        let begun = Instant::now();
        let response = gate.get(sick).await;
        assert_eq!(response.errcode(), 40001);
        marks.push(response.header("X-Wxgate-Retry").map(str::to_owned));
        assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    }
    callers.end().await.nothing();
    let told = marks.iter().position(Option::is_some).unwrap();
    assert!(told >= 2 && marks[told..] == [limited.clone(), limited], "{marks:?}");
    assert_eq!(fetches(&wechat), 1);
}
