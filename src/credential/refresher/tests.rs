//! The task on paused time, with an issuer in memory.

mod on_demand;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::credential::cell::Reader;
use crate::credential::policy::{STABLE_TOKEN, TOKEN};
use crate::credential::status::CredentialState;
use crate::credential::supervisor::{Task, spawn_with};
use crate::credential::types::{Absent, Credential, Outcome, Reason};
use crate::secret::Secret;
use crate::store::Pending;

const LIMIT: Duration = Duration::from_secs(5);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

thread_local! {
    static START: Instant = Instant::now();
}

/// Seconds since the test began, on its paused clock.
fn clock() -> f64 {
    START.with(|start| (Instant::now() - *start).as_secs_f64())
}

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(1_799_985_600) + Duration::from_secs_f64(clock())
}

type Script = dyn Fn(usize, FetchMode) -> (u64, FetchAnswer) + Send + Sync;

/// Answers the nth call (from 1) with what the script says, after so many seconds.
#[derive(Clone)]
struct Fake {
    calls: Arc<Mutex<Vec<(FetchMode, f64)>>>,
    script: Arc<Script>,
}

impl Fake {
    fn new(script: impl Fn(usize, FetchMode) -> (u64, FetchAnswer) + Send + Sync + 'static) -> Self {
        clock();
        Self { calls: Arc::default(), script: Arc::new(script) }
    }

    /// A new token for two hours with each call, at once.
    fn healthy() -> Self {
        Self::new(|n, _| (0, issued(n)))
    }

    fn times(&self) -> Vec<f64> {
        self.calls.lock().unwrap().iter().map(|call| call.1).collect()
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Issuer for Fake {
    fn fetch(&self, mode: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async move {
            let n = {
                let mut calls = self.calls.lock().unwrap();
                calls.push((mode, clock()));
                calls.len()
            };
            let (wait, answer) = (self.script)(n, mode);
            tokio::time::sleep(secs(wait)).await;
            answer
        })
    }
}

fn issued(n: usize) -> FetchAnswer {
    FetchAnswer::Issued { value: Secret::new(format!("T{n}")), expires_in: Some(7200) }
}

fn busy() -> FetchAnswer {
    FetchAnswer::Passing { what: "busy".to_owned() }
}

fn refused() -> FetchAnswer {
    FetchAnswer::Refused { errcode: 40164, errmsg: "invalid ip 1.2.3.4".to_owned() }
}

#[derive(Debug, Default)]
struct Memory {
    state: Mutex<Option<StoredState>>,
    full: AtomicBool,
    slow: AtomicBool,
    writes: AtomicUsize,
    /// A replica holds the lease.
    leased: AtomicBool,
    /// Leases that were given up.
    released: Arc<AtomicUsize>,
    news: Mutex<Vec<StoreEvent>>,
    told: tokio::sync::Notify,
}

impl Memory {
    fn stored(&self) -> StoredState {
        self.state.lock().unwrap().clone().unwrap()
    }

    /// Another replica has this to say.
    fn tell(&self, event: StoreEvent) {
        self.news.lock().unwrap().push(event);
        self.told.notify_one();
    }
}

/// A lease that counts when it is given up.
#[derive(Debug)]
struct Noted(Arc<AtomicUsize>);

impl Grant for Noted {
    fn holds(&self) -> bool {
        true
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.0.fetch_add(1, Ordering::SeqCst);
        })
    }
}

impl Store for Memory {
    fn load(&self) -> Pending<'_, Option<StoredState>> {
        Box::pin(async { self.state.lock().unwrap().clone() })
    }

    fn publish(&self, state: StoredState, over: u64) -> Pending<'_, Result<Published, PublishError>> {
        Box::pin(async move {
            self.writes.fetch_add(1, Ordering::SeqCst);
            if self.full.load(Ordering::SeqCst) {
                return Err(PublishError("no space left on device".to_owned()));
            }
            if self.slow.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let mut stored = self.state.lock().unwrap();
            if let Some(newer) = stored.as_ref().filter(|stored| stored.generation != over) {
                return Ok(Published::Superseded(Box::new(newer.clone())));
            }
            *stored = Some(state);
            Ok(Published::Stored)
        })
    }

    fn lease(&self, _: u64) -> Pending<'_, Lease> {
        let held = self.leased.load(Ordering::SeqCst);
        let grant = Noted(Arc::clone(&self.released));
        Box::pin(async move { if held { Lease::HeldByPeer } else { Lease::Granted(Box::new(grant)) } })
    }

    fn watch(&self) -> Pending<'_, StoreEvent> {
        Box::pin(async {
            loop {
                if let Some(event) = self.news.lock().unwrap().pop() {
                    return event;
                }
                self.told.notified().await;
            }
        })
    }
}

fn start(policy: &'static Policy, fake: &Fake, store: &Arc<Memory>) -> (Reader, Task) {
    start_with(policy, fake, store, wall)
}

fn start_with(policy: &'static Policy, fake: &Fake, store: &Arc<Memory>, wall: WallClock) -> (Reader, Task) {
    take_over(policy, fake, store, None, wall)
}

/// `inherited` is the last state of the task that this one replaces.
fn take_over(
    policy: &'static Policy,
    fake: &Fake,
    store: &Arc<Memory>,
    inherited: Option<StoredState>,
    wall: WallClock,
) -> (Reader, Task) {
    let spec = TaskSpec {
        id: CredentialId::access_token("main"),
        appid: "wx1".to_owned(),
        policy,
        limit: policy.limit,
        turn: 0.0,
        store_counts: Arc::default(),
    };
    spawn_with(spec, Arc::new(fake.clone()), store.clone(), inherited, wall)
}

async fn started(policy: &'static Policy, fake: &Fake) -> (Reader, Task, Arc<Credential>, Arc<Memory>) {
    let keep = Arc::default();
    let (reader, task) = start(policy, fake, &keep);
    let token = reader.first(LIMIT).await.unwrap();
    (reader, task, token, keep)
}

fn newer(renewal: Renewal) -> u64 {
    match renewal {
        Renewal::Newer(token) => token.generation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_fetches_nothing_and_goes_on_where_it_was() {
    let fake = Fake::healthy();
    let (_, task, token, keep) = started(&TOKEN, &fake).await;
    task.shutdown().await;
    tokio::time::sleep(secs(600)).await;
    let (reader, _task) = start(&TOKEN, &fake, &keep);
    let again = reader.first(LIMIT).await.unwrap();
    assert_eq!((again.generation, again.value.expose(), fake.count()), (1, "T1", 1));
    assert_eq!(again.end, token.end);
    assert_eq!(reader.status().fetches_today(wall()), 1);
    tokio::time::sleep(secs(6301)).await;
    assert_eq!((reader.current().unwrap().generation, fake.count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn the_token_before_is_remembered_over_a_restart() {
    let fake = Fake::healthy();
    let (reader, task, _, keep) = started(&TOKEN, &fake).await;
    tokio::time::sleep(secs(6905)).await;
    assert_eq!(reader.current().unwrap().value.expose(), "T2");
    task.shutdown().await;
    for away in [0, 8000] {
        tokio::time::sleep(secs(away)).await;
        let (reader, task) = start(&TOKEN, &fake, &keep);
        let current = reader.first(LIMIT).await.unwrap();
        let remembered = reader.remembered();
        let values: Vec<_> = remembered.iter().map(|known| known.value.expose()).collect();
        // The second time the stored one has ended, and another was fetched.
        let right = if away == 0 { ["T2", "T1"] } else { ["T3", "T2"] };
        assert_eq!((values, current.value.expose()), (right.to_vec(), right[0]));
        assert!(reader.previous().is_none(), "it is not used");
        task.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_token_goes_on_where_the_store_says_its_number_alone() {
    for ahead in [0, 3] {
        let fake = Fake::new(|n, _| (0, if n == 1 { issued(n) } else { refused() }));
        let (_, task, _, keep) = started(&TOKEN, &fake).await;
        let inherited = task.shutdown().await;
        // So a store answers whose state was written with another AppSecret.
        let generation = 1 + ahead;
        *keep.state.lock().unwrap() = Some(StoredState { generation, ..StoredState::default() });
        let (reader, _task) = take_over(&TOKEN, &fake, &keep, inherited, wall);
        let token = reader.first(LIMIT).await.unwrap();
        assert_eq!((token.generation, token.value.expose(), fake.count()), (generation, "T1", 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_token_is_fetched_five_minutes_ahead_and_the_old_one_served_until_it_is_there() {
    let fake = Fake::new(|n, _| (if n == 1 { 0 } else { 10 }, issued(n)));
    let (reader, _task, ..) = started(&TOKEN, &fake).await;
    tokio::time::sleep(secs(6905)).await;
    assert_eq!((reader.current().unwrap().generation, reader.status().state), (1, CredentialState::Stale));
    tokio::time::sleep(secs(6)).await;
    assert_eq!((reader.current().unwrap().generation, reader.status().state), (2, CredentialState::Fresh));
    let at = fake.times()[1];
    assert!((6900.0..6900.1).contains(&at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_with_jitter_and_a_reader_waits_for_the_first_token() {
    let fake = Fake::new(|n, _| (0, if n < 10 { busy() } else { issued(n) }));
    let (reader, _task) = start(&TOKEN, &fake, &Arc::default());
    assert!(matches!(reader.first(LIMIT).await, Err(Absent::Passing { .. })));
    assert!((4.9..5.2).contains(&clock()), "{}", clock());
    assert_eq!(reader.first(secs(1000)).await.unwrap().generation, 1);
    let times = fake.times();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (gap, about) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]) {
        assert!((0.79 * about..1.21 * about).contains(gap), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_answers_at_once_and_is_tried_every_60_seconds() {
    let fake = Fake::new(|n, _| (0, if n < 4 { refused() } else { issued(n) }));
    let (reader, _task) = start(&TOKEN, &fake, &Arc::default());
    let absent = reader.first(LIMIT).await.unwrap_err();
    assert!(matches!(absent, Absent::Refused { errcode: 40164, .. }) && clock() < 0.5, "{}", clock());
    tokio::time::sleep(secs(200)).await;
    assert_eq!(reader.current().unwrap().generation, 1);
    let gaps: Vec<_> = fake.times().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (59.9..60.1).contains(gap)), "{gaps:?}");
    let status = reader.status();
    assert_eq!(status.last_error.as_ref().unwrap().errcode, 40164);
    assert_eq!(status.refreshes[&(Reason::Retry, Outcome::Refused)], 2);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_concurrent_renewals_are_one_fetch() {
    let fake = Fake::new(|n, _| (1, issued(n)));
    let (reader, _task, token, _) = started(&TOKEN, &fake).await;
    let all: Vec<_> = (0..500)
        .map(|n| {
            let (reader, token) = (reader.clone(), token.clone());
            tokio::spawn(async move { reader.renew(&token, &format!("/{}", n % 5), LIMIT).await })
        })
        .collect();
    for one in all {
        assert_eq!(newer(one.await.unwrap()), 2);
    }
    assert_eq!(fake.count(), 2);
    assert_eq!(newer(reader.renew(&token, "/late", LIMIT).await), 2);
    assert_eq!(fake.count(), 2, "a late report causes no fetch");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_dropped_or_too_slow_does_not_end_the_fetch() {
    let fake = Fake::new(|n, _| (if n == 1 { 0 } else { 7 }, issued(n)));
    let (reader, _task, token, _) = started(&TOKEN, &fake).await;
    assert!(timeout(secs(1), reader.renew(&token, "/a", LIMIT)).await.is_err());
    let others = reader.clone();
    let slow = others.renew(&token, "/a", LIMIT).await;
    assert!(matches!(slow, Renewal::Failed), "{slow:?}");
    tokio::time::sleep(secs(2)).await;
    assert_eq!((reader.current().unwrap().generation, fake.count()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_report_without_waiting_starts_the_fetch() {
    let fake = Fake::healthy();
    let (reader, _task, token, _) = started(&TOKEN, &fake).await;
    reader.start_renewal(&token, "/upload");
    tokio::time::sleep(secs(1)).await;
    assert_eq!(reader.current().unwrap().generation, 2);
    reader.start_renewal(&token, "/upload");
    tokio::time::sleep(secs(1)).await;
    assert_eq!(fake.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_bucket_and_the_days_count_outlive_the_process() {
    let fake = Fake::healthy();
    let (reader, task, mut token, keep) = started(&TOKEN, &fake).await;
    for n in 0..10 {
        reader.accepted(&token, &format!("/{n}"), std::time::Instant::now());
        reader.renew(&token, &format!("/{n}"), LIMIT).await;
        token = reader.current().unwrap();
    }
    assert!(matches!(reader.renew(&token, "/x", LIMIT).await, Renewal::Limited));
    task.shutdown().await;
    let (reader, _task) = start(&TOKEN, &fake, &keep);
    let token = reader.first(LIMIT).await.unwrap();
    assert!(matches!(reader.renew(&token, "/x", LIMIT).await, Renewal::Limited));
    assert_eq!((token.generation, reader.status().fetches_today(wall()), fake.count()), (11, 11, 11));
    tokio::time::sleep(secs(61)).await;
    assert_eq!(newer(reader.renew(&token, "/x", LIMIT).await), 12);
}

#[tokio::test(start_paused = true)]
async fn stable_tokens_are_asked_for_in_normal_mode_and_then_forced() {
    let fake = Fake::new(|n, mode| (0, issued(if mode == FetchMode::Forced { n } else { 1 })));
    let (reader, _task, token, _) = started(&STABLE_TOKEN, &fake).await;
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    let modes: Vec<_> = fake.calls.lock().unwrap().iter().map(|call| call.0).collect();
    assert_eq!(modes, [FetchMode::Normal, FetchMode::Normal, FetchMode::Forced]);
    let status = reader.status();
    assert_eq!(status.last_refresh.as_ref().unwrap().reason, Reason::Forced);
    assert_eq!(status.quota, None);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_given_up_but_for_a_new_token_whose_writing_ends_it() {
    let answers = [(issued(2), 0), (issued(1), 1), (busy(), 1), (refused(), 1)];
    for (answer, given_up) in answers {
        let said = format!("{answer:?}");
        let fake = Fake::new(move |n, _| (0, if n == 1 { issued(1) } else { answer.clone() }));
        let (reader, _task, token, keep) = started(&TOKEN, &fake).await;
        reader.renew(&token, "/a", LIMIT).await;
        tokio::task::yield_now().await;
        assert_eq!((fake.count(), keep.released.load(Ordering::SeqCst)), (2, given_up), "{said}");
    }
    // Forced mode follows at once, behind the lease of the normal one.
    let fake = Fake::new(|n, mode| (0, issued(if mode == FetchMode::Forced { n } else { 1 })));
    let (reader, _task, token, keep) = started(&STABLE_TOKEN, &fake).await;
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    assert_eq!((fake.count(), keep.released.load(Ordering::SeqCst)), (3, 0));
}

#[tokio::test]
async fn force_refresh_is_in_the_file_before_it_is_sent() {
    let keep: Arc<Memory> = Arc::default();
    let (kept, seen) = (keep.clone(), Arc::new(AtomicUsize::new(0)));
    let booked = seen.clone();
    let fake = Fake::new(move |n, mode| {
        if mode == FetchMode::Forced {
            booked.store(
                kept.state.lock().unwrap().as_ref().map_or(0, |state| state.limits.forced.len()),
                Ordering::SeqCst,
            );
        }
        (0, issued(if mode == FetchMode::Forced { n } else { 1 }))
    });
    let (reader, task) = start(&STABLE_TOKEN, &fake, &keep);
    let token = reader.first(LIMIT).await.unwrap();
    // The write that is under way when the refresh is decided does not hold it yet; the next one does.
    keep.slow.store(true, Ordering::SeqCst);
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    task.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_does_not_hold_force_refresh_up() {
    let fake = Fake::new(|n, mode| (0, issued(if mode == FetchMode::Forced { n } else { 1 })));
    let (reader, _task, token, keep) = started(&STABLE_TOKEN, &fake).await;
    keep.full.store(true, Ordering::SeqCst);
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    assert!(clock() < 0.5, "{}", clock());
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_that_is_not_sent_before_the_end_is_not_booked() {
    let fake = Fake::new(|n, mode| {
        (if n == 1 { 0 } else { 2 }, issued(if mode == FetchMode::Forced { n } else { 1 }))
    });
    let (reader, task, token, keep) = started(&STABLE_TOKEN, &fake).await;
    reader.start_renewal(&token, "/a");
    tokio::time::sleep(secs(1)).await;
    task.shutdown().await;
    let record = keep.stored();
    assert_eq!((fake.count(), record.limits.forced.len(), record.fetches), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_path_that_is_not_the_tokens_fault_is_watched_and_cleared_by_a_success() {
    let fake = Fake::healthy();
    let (reader, _task, mut token, _) = started(&TOKEN, &fake).await;
    assert!(!reader.watches("/bad"));
    for _ in 0..2 {
        let Renewal::Newer(replayed_with) = reader.renew(&token, "/bad", LIMIT).await else { panic!() };
        assert!(reader.watches("/bad") && !reader.watches("/good"));
        reader.refused_again("/bad", replayed_with.generation);
        token = replayed_with;
    }
    assert!(matches!(reader.renew(&token, "/bad", LIMIT).await, Renewal::Limited));
    reader.accepted(&token, "/bad", std::time::Instant::now());
    assert_eq!(newer(reader.renew(&token, "/bad", LIMIT).await), 4);
    reader.accepted(&reader.current().unwrap(), "/bad", std::time::Instant::now());
    tokio::time::sleep(secs(1)).await;
    assert!(!reader.watches("/bad"));
}

#[tokio::test(start_paused = true)]
async fn a_success_of_any_path_shows_that_the_token_is_not_to_blame() {
    for good in [false, true] {
        let fake = Fake::healthy();
        let (reader, _task, mut token, _) = started(&TOKEN, &fake).await;
        for _ in 0..2 {
            let both = tokio::join!(reader.renew(&token, "/a", LIMIT), reader.renew(&token, "/b", LIMIT));
            let (Renewal::Newer(newer), Renewal::Newer(_)) = both else { panic!() };
            if good {
                reader.accepted(&newer, "/c", std::time::Instant::now());
                reader.accepted(&token, "/c", std::time::Instant::now());
            }
            ["/a", "/b"].iter().for_each(|path| reader.refused_again(path, newer.generation));
            token = newer;
        }
        let third = reader.renew(&token, "/a", LIMIT).await;
        assert_eq!(matches!(third, Renewal::Limited), good, "{third:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_cell_is_cleared_at_the_instant_the_token_ends() {
    let fake = Fake::new(|n, _| (0, if n == 1 { issued(1) } else { busy() }));
    let (reader, _task, token, _) = started(&TOKEN, &fake).await;
    sleep_until(token.end - Duration::from_millis(5)).await;
    assert!(reader.current().is_ok());
    tokio::time::sleep(Duration::from_millis(7)).await;
    assert!(matches!(reader.current(), Err(Absent::Passing { .. })));
    assert_eq!(reader.status().expires_in(Instant::now()), None);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_up_costs_no_caller_an_answer() {
    let fake = Fake::healthy();
    let (reader, task, token, keep) = started(&TOKEN, &fake).await;
    keep.full.store(true, Ordering::SeqCst);
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    tokio::time::sleep(secs(1)).await;
    keep.full.store(false, Ordering::SeqCst);
    task.shutdown().await;
    assert_eq!(keep.stored().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_is_tried_again_every_30_seconds_and_with_each_new_token() {
    let fake = Fake::healthy();
    let (reader, _task, mut token, keep) = started(&TOKEN, &fake).await;
    tokio::time::sleep(secs(1)).await;
    keep.full.store(true, Ordering::SeqCst);
    let before = keep.writes.load(Ordering::SeqCst);
    for n in 0..9 {
        reader.accepted(&token, &format!("/{n}"), std::time::Instant::now());
        reader.renew(&token, &format!("/{n}"), LIMIT).await;
        token = reader.current().unwrap();
        tokio::time::sleep(secs(10)).await;
    }
    let tried = keep.writes.load(Ordering::SeqCst) - before;
    assert!((9..=9 + 4).contains(&tried), "{tried} in 90 s, with nine new tokens");
    tokio::time::sleep(secs(90)).await;
    let tried = keep.writes.load(Ordering::SeqCst) - before - tried;
    assert!((2..=4).contains(&tried), "{tried} in 90 s");
    keep.full.store(false, Ordering::SeqCst);
    tokio::time::sleep(secs(31)).await;
    assert_eq!(keep.stored().generation, 10);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_under_way_at_shutdown_is_still_stored() {
    let fake = Fake::new(|n, _| (if n == 1 { 0 } else { 2 }, issued(n)));
    let (reader, task, token, keep) = started(&TOKEN, &fake).await;
    reader.start_renewal(&token, "/a");
    tokio::time::sleep(secs(1)).await;
    task.shutdown().await;
    assert_eq!(keep.stored().credential.unwrap().value.expose(), "T2");
    assert!(matches!(reader.renew(&reader.current().unwrap(), "/a", LIMIT).await, Renewal::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_nothing_under_way_takes_no_time() {
    let fake = Fake::healthy();
    let (_reader, task, ..) = started(&TOKEN, &fake).await;
    let before = clock();
    task.shutdown().await;
    assert!(clock() - before < 0.1, "{} s", clock() - before);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_panics_is_a_passing_failure() {
    let fake = Fake::new(|n, _| (0, if n == 1 { panic!("fault in the test's issuer") } else { issued(n) }));
    let (reader, _task) = start(&TOKEN, &fake, &Arc::default());
    assert_eq!(reader.first(LIMIT).await.unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_by_hand_answers_with_the_new_token() {
    let fake = Fake::healthy();
    let (reader, _task, ..) = started(&TOKEN, &fake).await;
    assert_eq!(newer(reader.refresh_now(None, LIMIT).await), 2);
    assert_eq!(reader.status().last_refresh.as_ref().unwrap().reason, Reason::Admin);
    let fetches = reader.fetches().recent;
    assert_eq!(fetches.iter().map(|fetch| fetch.reason).collect::<Vec<_>>(), [Reason::Start, Reason::Admin]);
}

#[tokio::test(start_paused = true)]
async fn several_who_ask_for_a_newer_token_than_they_know_cause_one_fetch() {
    let fake = Fake::new(|n, _| (1, issued(n)));
    let (reader, _task, ..) = started(&TOKEN, &fake).await;
    let asking = || reader.refresh_now(Some(1), LIMIT);
    let together = tokio::join!(asking(), asking(), asking(), asking(), asking());
    for renewal in [together.0, together.1, together.2, together.3, together.4] {
        assert_eq!(newer(renewal), 2);
    }
    // One who comes late gets what there is, at once.
    let before = clock();
    assert_eq!(newer(asking().await), 2);
    assert!(clock() - before < 0.1);
    assert_eq!(fake.count(), 2);
    assert_eq!(newer(reader.refresh_now(Some(2), LIMIT).await), 3);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_dropped_stops() {
    let fake = Fake::healthy();
    let (reader, task, ..) = started(&TOKEN, &fake).await;
    drop(task);
    tokio::time::sleep(secs(100_000)).await;
    assert_eq!(fake.count(), 1);
    assert_eq!(reader.current().unwrap().generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_refusals_under_steady_reports_stays_within_the_quota() {
    let fake = Fake::new(|n, _| (0, if n == 1 { issued(1) } else { refused() }));
    let (reader, _task, token, _) = started(&TOKEN, &fake).await;
    for _ in 0..(86_400 / 30) {
        let _ = reader.renew(&token, "/a", LIMIT).await;
        tokio::time::sleep(secs(30)).await;
    }
    assert!(fake.count() <= 1 + 1440 + 200, "{}", fake.count());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_a_peer_publishes_is_used_at_once() {
    let fake = Fake::healthy();
    let (reader, _task, token, store) = started(&TOKEN, &fake).await;
    store.leased.store(true, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let (reader, token) = (reader.clone(), token.clone());
        async move { reader.renew(&token, "/a", LIMIT).await }
    });
    tokio::time::sleep(secs(1)).await;
    assert_eq!(fake.count(), 1, "the peer has the lease");
    let mut theirs = store.stored();
    theirs.generation = 2;
    let credential = theirs.credential.as_mut().unwrap();
    (credential.value, credential.began_at) = (Secret::new("PEER".to_owned()), wall() + secs(1));
    *store.state.lock().unwrap() = Some(theirs.clone());
    store.tell(StoreEvent::Published(Box::new(theirs)));
    assert_eq!(newer(waiting.await.unwrap()), 2);
    assert_eq!((reader.current().unwrap().value.expose(), fake.count()), ("PEER", 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_dies_with_the_lease_is_replaced() {
    let fake = Fake::healthy();
    let (reader, _task, token, store) = started(&TOKEN, &fake).await;
    store.leased.store(true, Ordering::SeqCst);
    let before = clock();
    let waiting = tokio::spawn({
        let (reader, token) = (reader.clone(), token.clone());
        async move { reader.renew(&token, "/a", LIMIT).await }
    });
    tokio::time::sleep(secs(1)).await;
    store.leased.store(false, Ordering::SeqCst);
    assert_eq!(newer(waiting.await.unwrap()), 2);
    assert!(clock() - before < 4.0, "{}", clock() - before);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_what_it_held_gets_it_back() {
    let fake = Fake::healthy();
    let (_reader, _task, _token, store) = started(&TOKEN, &fake).await;
    tokio::time::sleep(secs(1)).await;
    *store.state.lock().unwrap() = None;
    store.tell(StoreEvent::Behind);
    tokio::time::sleep(secs(1)).await;
    assert_eq!((store.stored().generation, store.stored().fetches), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_a_peer_was_faster_with_is_adopted() {
    let fake = Fake::healthy();
    let (reader, _task, token, store) = started(&TOKEN, &fake).await;
    tokio::time::sleep(secs(1)).await;
    // Its news got lost.
    let mut theirs = store.stored();
    theirs.generation = 7;
    let credential = theirs.credential.as_mut().unwrap();
    (credential.value, credential.began_at) = (Secret::new("PEER".to_owned()), wall() + secs(1));
    *store.state.lock().unwrap() = Some(theirs);
    let _ = reader.renew(&token, "/a", LIMIT).await;
    tokio::time::sleep(secs(1)).await;
    assert_eq!(reader.current().unwrap().generation, 7);
    let stored = store.stored();
    assert_eq!((stored.generation, stored.fetches), (7, 2), "and what was fetched here is counted there");
}

thread_local! {
    static PANICS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A fault in the task itself, so many times.
fn faulty_wall() -> SystemTime {
    let left = PANICS.get();
    if left > 0 {
        PANICS.set(left - 1);
        panic!("fault in the test's clock");
    }
    wall()
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_starts_anew_where_it_was() {
    let fake = Fake::healthy();
    let store = Arc::default();
    let (reader, task) = start_with(&TOKEN, &fake, &store, faulty_wall);
    let token = reader.first(LIMIT).await.unwrap();
    assert_eq!(newer(reader.renew(&token, "/a", LIMIT).await), 2);
    // The store is behind: what the task knew counts.
    tokio::time::sleep(secs(1)).await;
    store.full.store(true, Ordering::SeqCst);
    let token = reader.current().unwrap();
    assert_eq!(newer(reader.renew(&token, "/b", LIMIT).await), 3);
    PANICS.set(1);
    let before = clock();
    let failed = reader.renew(&reader.current().unwrap(), "/c", LIMIT).await;
    assert!(matches!(failed, Renewal::Failed) && clock() - before < 0.1, "its waiters are told at once");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!((reader.status().task_restarts, reader.current().unwrap().value.expose()), (1, "T3"));
    let token = reader.current().unwrap();
    assert_eq!(newer(reader.renew(&token, "/c", LIMIT).await), 4, "and it works");
    store.full.store(false, Ordering::SeqCst);
    task.shutdown().await;
    assert_eq!(store.stored().generation, 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_while_it_ends_gives_its_state_back() {
    let fake = Fake::new(|n, _| (if n == 1 { 0 } else { 2 }, issued(n)));
    let (reader, task) = start_with(&TOKEN, &fake, &Arc::default(), faulty_wall);
    let token = reader.first(LIMIT).await.unwrap();
    let waiting = tokio::spawn(async move { reader.renew(&token, "/a", LIMIT).await });
    tokio::time::sleep(secs(1)).await;
    PANICS.set(1);
    let state = task.shutdown().await.unwrap();
    assert_eq!((PANICS.get(), fake.count()), (0, 2), "it panicked when the fetch under way was answered");
    assert_eq!(state.generation, 1);
    assert!(matches!(waiting.await.unwrap(), Renewal::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_again_and_again_is_started_at_a_bounded_rate() {
    let fake = Fake::healthy();
    PANICS.set(u32::MAX);
    let (reader, task) = start_with(&TOKEN, &fake, &Arc::default(), faulty_wall);
    tokio::time::sleep(secs(3600)).await;
    let panics = u32::MAX - PANICS.get();
    assert!((60..80).contains(&panics), "{panics} in an hour");
    PANICS.set(0);
    assert_eq!(reader.first(secs(70)).await.unwrap().generation, 1);
    PANICS.set(u32::MAX);
    let before = clock();
    task.shutdown().await;
    assert!(clock() - before < 0.1, "a pause does not hold up the end");
}
