//! Looks every few seconds at what is wrong, and has due messages sent. Runs on the control thread; where there is no
//! robot, it sleeps.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::decide::{Look, Problem};
use super::post::Posts;
use super::{Cause, Robot, Sender};
use crate::admin::sources::Sources;
use crate::admin::view::{Account, State, View};
use crate::credential::Outcome;
use crate::errcodes::Lang;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(5);

/// A token that ends within this time has to have a successor.
const SOON: Duration = Duration::from_secs(300);

/// So long after the last sign of another fetcher there is none.
const FETCHER_GONE: Duration = Duration::from_secs(1200);

/// What is told, and by whom.
struct Told {
    robots: Vec<Robot>,
    sender: Sender,
}

/// The task that watches; ends when dropped.
#[derive(Debug)]
pub struct Alerts(watch::Sender<Arc<Told>>);

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} robots", self.robots.len())
    }
}

impl Alerts {
    /// Starts on the current runtime, to tell these robots.
    pub fn start(sources: Arc<Sources>, robots: Vec<Robot>, sender: Sender) -> Self {
        let (told, new) = watch::channel(Arc::new(Told { robots, sender }));
        tokio::spawn(run(sources, new));
        Self(told)
    }

    /// Tells these robots from now on. What a robot that stays has been told stays told.
    pub fn set(&self, robots: Vec<Robot>, sender: Sender) {
        self.0.send_replace(Arc::new(Told { robots, sender }));
    }
}

async fn run(sources: Arc<Sources>, mut told: watch::Receiver<Arc<Told>>) {
    let mut posts = Posts::default();
    let mut now = Arc::clone(&told.borrow_and_update());
    posts.set(&now.robots);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick(), if !posts.is_empty() => {}
            () = posts.sent() => {}
            changed = told.changed() => match changed {
                Ok(()) => {
                    now = Arc::clone(&told.borrow_and_update());
                    posts.set(&now.robots);
                    continue;
                }
                Err(_) => return,
            },
        }
        posts.send(&look_at(&sources.view()), Instant::now(), |robot, words| {
            let (sender, robot) = (now.sender.clone(), robot.clone());
            async move { sender.send(&robot, &words).await }
        });
    }
}

fn look_at(view: &View) -> Look {
    let kept = view.accounts.iter().filter(|account| account.appid.is_some());
    let accounts = kept.map(|account| Arc::clone(&account.name)).collect();
    Look { wrong: problems(view), accounts, store: view.store.kind }
}

/// What is wrong.
fn problems(view: &View) -> Vec<Problem> {
    let mut wrong = Vec::new();
    for account in &view.accounts {
        let mut say =
            |cause, words: [String; 2]| wrong.push(Problem { cause, of: Arc::clone(&account.name), words });
        let last = account.last_refresh.as_ref().map(|fetch| fetch.outcome);
        // A passing failure since does not mean that it would be issued now.
        let settled = account.fetches.iter().rev().find(|fetch| fetch.outcome != Outcome::Failed);
        if settled.is_some_and(|fetch| fetch.outcome == Outcome::Refused) {
            say(Cause::Refused, reason(account));
        }
        let ended = matches!(account.state, State::Empty | State::Expired | State::Refused);
        let soon = account.expires_in.is_some_and(|left| left <= SOON);
        if (ended || soon) && matches!(last, Some(Outcome::Failed | Outcome::Refused)) {
            let left = account.expires_in.unwrap_or_default().as_secs().div_ceil(60);
            let [zh, en] = reason(account);
            let words = match ended {
                true => [format!("没有可用的凭据。{zh}"), format!("there is no valid token. {en}")],
                false => [
                    format!("凭据将在 {left} 分钟内到期。{zh}"),
                    format!("the token ends in {left} min. {en}"),
                ],
            };
            say(Cause::Expires, words);
        }
        if account.second_fetcher.is_some_and(|at| is_recent(at, view.now)) {
            let appid = account.appid.as_deref().unwrap_or("-");
            say(
                Cause::OtherFetcher,
                [
                    format!(
                        "别的系统在为 {appid} 获取凭据，使当前凭据失效。请从该系统移除 AppSecret，或设置 token_api = \"stable_token\""
                    ),
                    format!(
                        "another system fetches tokens for {appid}, which ends ours: take the AppSecret from it, or set \
                         token_api = \"stable_token\""
                    ),
                ],
            );
        }
    }
    if !view.store.up {
        let words = [
            "无法写入，重启后需要重新获取凭据，多个实例之间无法共享。详见日志".to_owned(),
            "it cannot be written: a restart would fetch anew, and replicas do not share; see the log"
                .to_owned(),
        ];
        wrong.push(Problem { cause: Cause::Store, of: view.store.kind.into(), words });
    }
    wrong
}

fn is_recent(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).unwrap_or_default() < FETCHER_GONE
}

fn reason(account: &Account) -> [String; 2] {
    [Lang::Zh, Lang::En].map(|lang| account.reason(lang).unwrap_or_default())
}

#[cfg(test)]
mod tests;
