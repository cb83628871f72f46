//! Simulated callers on paused time, before nodes that lag behind and thieves: what their calls see, and what it costs.
//!
//! Only sending is simulated, with seeded chances; deciding, waiting and fetching are the real ones.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::SystemTime;

use fastrand::Rng;
use tokio::task::{JoinSet, LocalSet};

use super::*;
use crate::credential::policy::TOKEN;
use crate::credential::{CredentialId, FetchAnswer, FetchMode, Issuer, Task, TaskSpec, spawn_with};
use crate::secret::Secret;
use crate::store::{Lease, Pending, PublishError, Published, Store, StoreEvent, StoredState};

const PATH: &str = "/cgi-bin/user/info";

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

thread_local! {
    static START: Instant = Instant::now();
}

fn wall() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_985_600) + START.with(|start| start.elapsed())
}

/// Issues tokens, which are numbers, and takes them.
#[derive(Debug)]
struct Upstream(Mutex<State>);

#[derive(Debug)]
struct State {
    rng: Rng,
    /// The last token that was issued.
    issued: u64,
    issued_at: Instant,
    stolen: bool,
    /// The one before it works on until then.
    overlap: Option<Instant>,
    /// Of the calls with a token younger than a second, the part that meets a node that does not know it yet.
    lagging: f64,
    fetches: usize,
    /// So many fetches fail.
    failing: usize,
    life: i64,
    /// Calls that were sent again with a token that had been stolen.
    in_vain: usize,
}

impl Issuer for Upstream {
    fn fetch(&self, _: FetchMode) -> Pending<'_, FetchAnswer> {
        Box::pin(async move {
            sleep(ms(5)).await;
            let answer = self.answer();
            // What the upstream counts from here on, a proxy counts from the answer.
            sleep(ms(5)).await;
            answer
        })
    }
}

impl Upstream {
    fn answer(&self) -> FetchAnswer {
        let mut state = self.state();
        state.fetches += 1;
        if state.failing > 0 {
            state.failing -= 1;
            return FetchAnswer::Passing { what: "status 502".to_owned() };
        }
        let now = Instant::now();
        let end = state.issued_at + Duration::from_secs(state.life.unsigned_abs());
        let works_on = !std::mem::take(&mut state.stolen);
        state.overlap = works_on.then_some(end.min(now + Duration::from_secs(300)));
        state.issued += 1;
        state.issued_at = now;
        FetchAnswer::Issued { value: Secret::new(state.issued.to_string()), expires_in: Some(state.life) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn steal(&self) {
        let mut state = self.state();
        (state.stolen, state.overlap) = (true, None);
    }

    fn note_resending(&self, token: &Credential) {
        let mut state = self.state();
        state.in_vain += usize::from(state.stolen && token.value.expose() == state.issued.to_string());
    }

    fn takes(&self, token: &Credential) -> bool {
        let mut state = self.state();
        let number: u64 = token.value.expose().parse().unwrap();
        if number != state.issued {
            return number + 1 == state.issued && state.overlap.is_some_and(|end| Instant::now() < end);
        }
        let (young, lagging) = (state.issued_at.elapsed() < ms(1000), state.lagging);
        !(state.stolen || young && state.rng.f64() < lagging)
    }
}

/// Stores nothing.
#[derive(Debug)]
struct Nowhere;

impl Store for Nowhere {
    fn load(&self) -> Pending<'_, Option<StoredState>> {
        Box::pin(async { None })
    }

    fn publish(&self, _: StoredState, _: u64) -> Pending<'_, Result<Published, PublishError>> {
        Box::pin(async { Ok(Published::Stored) })
    }

    fn lease(&self, _: u64) -> Pending<'_, Lease> {
        Box::pin(async { Lease::alone() })
    }

    fn watch(&self) -> Pending<'_, StoreEvent> {
        Box::pin(std::future::pending())
    }
}

/// What a caller sees of a call: nothing, or an error; and what stood in the way of a newer token.
type Seen = Option<Option<Obstacle>>;

/// One call with the current token, and what follows when that is refused.
async fn call(upstream: &Upstream, reader: &Reader, load: Load, rng: &RefCell<Rng>) -> Seen {
    let way = || sleep(random(rng, load.way.0, load.way.1));
    let send = async |token: &Credential| {
        let _in_flight = token.sending();
        let sent = Instant::now().into_std();
        way().await;
        let verdict = match upstream.takes(token) {
            true => TokenVerdict::Accepted,
            false => TokenVerdict::Refused { proof: false },
        };
        way().await;
        (verdict, sent)
    };
    let token = reader.first(Duration::from_secs(5)).await.expect("a token");
    let (mut verdict, sent) = send(&token).await;
    let mut refused = RefusedCall::after(verdict, reader, PATH, token, sent)?;
    loop {
        match refused.next().await {
            Next::Send(sending) => {
                let sent;
                upstream.note_resending(&sending.token);
                (verdict, sent) = send(&sending.token).await;
                refused.was_sent(sending, sent, verdict);
            }
            Next::Give(obstacle) => return (verdict != TokenVerdict::Accepted).then_some(obstacle),
        }
    }
}

fn random(rng: &RefCell<Rng>, from: u64, to: u64) -> Duration {
    Duration::from_micros(rng.borrow_mut().u64(from * 1000..=to * 1000))
}

/// Callers, each of which sends a call, waits for its answer, pauses, and so on. Milliseconds.
#[derive(Debug, Clone, Copy)]
struct Load {
    callers: usize,
    /// Between two calls, at most.
    pause: u64,
    /// To the upstream, and back: at least and at most.
    way: (u64, u64),
}

const LOADS: [Load; 6] = [
    Load { callers: 1, pause: 20, way: (0, 5) },
    Load { callers: 2, pause: 20, way: (0, 5) },
    Load { callers: 4, pause: 300, way: (1, 30) },
    Load { callers: 4, pause: 20, way: (0, 5) },
    MANY,
    Load { callers: 16, pause: 100, way: (20, 60) },
];

const MANY: Load = Load { callers: 8, pause: 30, way: (0, 8) };

struct Run {
    upstream: Arc<Upstream>,
    reader: Reader,
    _task: Task,
    stop: Rc<Cell<bool>>,
    callers: JoinSet<Vec<Option<Obstacle>>>,
}

impl Run {
    /// The callers begin with a token that is no longer young.
    async fn start(seed: u64, load: Load, life: i64) -> Self {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let upstream = Arc::new(Upstream(Mutex::new(State {
            rng: rng.fork(),
            issued: 0,
            issued_at: Instant::now(),
            stolen: false,
            overlap: None,
            lagging: 0.0,
            fetches: 0,
            failing: 0,
            life,
            in_vain: 0,
        })));
        let spec = TaskSpec {
            id: CredentialId::access_token("main"),
            appid: "wx1".to_owned(),
            policy: &TOKEN,
            limit: TOKEN.limit,
            turn: 0.0,
            store_counts: Arc::default(),
        };
        let (reader, task) = spawn_with(spec, Arc::clone(&upstream) as _, Arc::new(Nowhere), None, wall);
        sleep(ms(12_000)).await;
        let (stop, mut callers) = (Rc::new(Cell::new(false)), JoinSet::new());
        for _ in 0..load.callers {
            let (upstream, reader, stop) = (Arc::clone(&upstream), reader.clone(), Rc::clone(&stop));
            let rng = RefCell::new(rng.fork());
            callers.spawn_local(async move {
                let mut errors = Vec::new();
                while !stop.get() {
                    let began = Instant::now();
                    errors.extend(call(&upstream, &reader, load, &rng).await);
                    // Six ways of three sendings, a fetch that fails and is tried again, and 1.5 s besides.
                    assert!(
                        began.elapsed() < ms(6 * load.way.1 + 1300 + 1500),
                        "{load:?}: {:?}",
                        began.elapsed()
                    );
                    sleep(random(&rng, 0, load.pause)).await;
                }
                errors
            });
        }
        sleep(ms(300)).await;
        Self { upstream, reader, _task: task, stop, callers }
    }

    /// So soon after the next token has come.
    async fn after_the_next_token(&self, span: Duration) {
        self.reader.changes().changed().await.unwrap();
        sleep(span).await;
    }

    /// What callers have seen, and the fetches.
    async fn end(self) -> (Vec<Option<Obstacle>>, usize) {
        sleep(ms(3_500)).await;
        self.stop.set(true);
        let errors = self.callers.join_all().await.concat();
        (errors, self.upstream.state().fetches)
    }
}

/// Runs it with each of so many seeds.
fn each_seed<T>(seeds: u64, run: impl AsyncFn(u64) -> T) -> Vec<T> {
    let simulate = |seed| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, run(seed))
    };
    (0..seeds).map(simulate).collect()
}

/// No caller saw an error, and there were so many fetches.
fn nothing_seen(load: Load, runs: Vec<(Vec<Option<Obstacle>>, usize)>, fetches: usize) {
    for (seed, run) in runs.into_iter().enumerate() {
        assert_eq!(run, (vec![], fetches), "{load:?}, seed {seed}");
    }
}

#[test]
fn half_of_the_nodes_that_lag_after_a_theft_cost_no_caller_an_answer_and_no_second_fetch() {
    for load in LOADS {
        let runs = each_seed(15, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            run.upstream.state().lagging = 0.5;
            run.upstream.steal();
            run.end().await
        });
        nothing_seen(load, runs, 2);
    }
}

/// A call that was accepted just before the theft shows no longer that the token is good once others are refused.
#[test]
fn hardly_a_call_is_sent_again_with_a_token_that_was_stolen() {
    let in_vain = LOADS.map(|load| {
        let in_vain = each_seed(40, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            run.upstream.steal();
            let upstream = Arc::clone(&run.upstream);
            assert_eq!(run.end().await, (vec![], 2));
            upstream.state().in_vain
        });
        in_vain.iter().sum::<usize>()
    });
    // Of 240 thefts; 37 where what was accepted before counts whatever came since.
    assert!(in_vain.iter().sum::<usize>() <= 6, "{in_vain:?}");
}

#[test]
fn callers_that_wait_while_the_fetch_fails_are_told_so_or_get_their_answer() {
    for load in LOADS {
        let runs = each_seed(8, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            run.upstream.state().lagging = 0.5;
            run.upstream.state().failing = 1;
            run.upstream.steal();
            run.end().await
        });
        for (seed, (errors, fetches)) in runs.into_iter().enumerate() {
            assert!(
                errors.iter().all(|seen| *seen == Some(Obstacle::Failed)),
                "{load:?}, seed {seed}: {errors:?}"
            );
            assert_eq!(fetches, 3, "{load:?}, seed {seed}");
        }
    }
}

#[test]
fn a_third_of_the_nodes_that_lag_after_a_planned_renewal_cost_no_fetch() {
    for load in LOADS {
        let runs = each_seed(2, async |seed| {
            // It is renewed at 80 % of its life, 1.6 s after the callers began.
            let run = Run::start(seed, load, 17).await;
            run.upstream.state().lagging = 0.33;
            run.end().await
        });
        assert!(runs.iter().all(|run| *run == (vec![], 2)), "{load:?}: {runs:?}");
    }
}

#[test]
fn a_token_that_ends_while_nodes_lag_with_the_next_one_costs_no_fetch() {
    for load in LOADS.into_iter().filter(|load| load.way.1 < 20) {
        let runs = each_seed(15, async |seed| {
            // Renewed each 3.2 s, the next time half a second after the callers began; the old one ends 0.8 s later.
            let run = Run::start(seed, load, 4).await;
            run.upstream.state().lagging = 0.33;
            run.after_the_next_token(ms(1000)).await;
            run.upstream.state().lagging = 0.0;
            run.end().await
        });
        nothing_seen(load, runs, 6);
    }
}

#[test]
fn a_young_token_that_is_stolen_is_replaced_and_no_caller_sees_it() {
    for load in LOADS.into_iter().filter(|load| load.way.1 < 20) {
        let runs = each_seed(2, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            for _ in 0..3 {
                run.upstream.steal();
                run.after_the_next_token(ms(300)).await;
            }
            run.end().await
        });
        assert!(runs.iter().all(|run| *run == (vec![], 4)), "{load:?}: {runs:?}");
    }
}

#[test]
fn calls_that_cannot_be_sent_again_cost_no_fetch_where_nodes_lag() {
    for load in LOADS {
        let runs = each_seed(8, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            run.upstream.state().lagging = 0.5;
            run.upstream.steal();
            run.after_the_next_token(ms(200)).await;
            for _ in 0..5 {
                let (token, verdict) =
                    (run.reader.current().unwrap(), TokenVerdict::Refused { proof: false });
                let sent = Instant::now().into_std();
                RefusedCall::after(verdict, &run.reader, PATH, token, sent).unwrap().give_up();
                sleep(ms(150)).await;
            }
            run.end().await
        });
        nothing_seen(load, runs, 2);
    }
}

#[test]
fn a_token_that_was_never_good_is_replaced_and_costs_not_all_callers_their_answers() {
    for load in LOADS {
        let runs = each_seed(2, async |seed| {
            let run = Run::start(seed, load, 7200).await;
            run.upstream.steal();
            run.after_the_next_token(Duration::ZERO).await;
            run.upstream.steal();
            run.end().await
        });
        for (errors, fetches) in runs {
            assert!(
                errors.len() <= load.callers.div_ceil(2) && fetches == 3,
                "{load:?}: {errors:?}, {fetches}"
            );
        }
    }
}
