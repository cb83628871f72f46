//! With robots that take messages, refuse them, or hang, as a test says; in paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::alert::decide::Problem;
use crate::alert::{Cause, Service};
use crate::secret::Secret;

fn robot(name: &str) -> Robot {
    let url = Secret::new(format!("https://qyapi.weixin.qq.com/?key={name}"));
    Robot { service: Service::Wecom, url, secret: None, on: Cause::ALL.to_vec() }
}

fn refused(is_refused: bool) -> Look {
    let words = [String::new(), String::new()];
    let problem = Problem { cause: Cause::Refused, of: "main".into(), words };
    let wrong = if is_refused { vec![problem] } else { Vec::new() };
    Look { wrong, accounts: vec!["main".into()], store: "file" }
}

/// What each robot was sent, and what it does with it: `None` hangs.
#[derive(Clone, Default)]
struct Robots {
    seen: Arc<Mutex<Vec<String>>>,
}

impl Robots {
    fn send(&self, posts: &mut Posts, look: &Look, does: impl Fn(&str) -> Option<Result<(), String>>) {
        posts.send(look, Instant::now(), |robot, words| {
            let (_, name) = robot.url.expose().split_once("key=").unwrap();
            let what = if words.contains("well again") { "-" } else { "+" };
            self.seen.lock().unwrap().push(format!("{what}{name}"));
            let outcome = does(name);
            async move {
                match outcome {
                    Some(outcome) => outcome,
                    None => std::future::pending().await,
                }
            }
        });
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_failed_comes_later_and_its_end_only_after_it() {
    let (mut posts, robots) = (Posts::default(), Robots::default());
    posts.set(&[robot("a")]);
    // Minutes of failures, at looks every 5 s.
    for _ in 0..20 {
        robots.send(&mut posts, &refused(true), |_| Some(Err("500".to_owned())));
        let _ = tokio::time::timeout(Duration::from_millis(1), posts.sent()).await;
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(robots.seen(), ["+a"; 4]);
    // It is over before anybody heard of it.
    tokio::time::advance(Duration::from_secs(600)).await;
    robots.send(&mut posts, &refused(false), |_| Some(Ok(())));
    assert_eq!(robots.seen(), [""; 0]);
    // A relapse arrives, and then its end.
    robots.send(&mut posts, &refused(true), |_| Some(Ok(())));
    // On its way it is not overtaken.
    robots.send(&mut posts, &refused(false), |_| Some(Ok(())));
    posts.sent().await;
    robots.send(&mut posts, &refused(false), |_| Some(Ok(())));
    posts.sent().await;
    assert_eq!(robots.seen(), ["+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_robot_that_hangs_holds_up_no_other() {
    let (mut posts, robots) = (Posts::default(), Robots::default());
    posts.set(&[robot("hangs"), robot("b")]);
    let does = |name: &str| (name != "hangs").then_some(Ok(()));
    robots.send(&mut posts, &refused(true), does);
    posts.sent().await;
    robots.send(&mut posts, &refused(false), does);
    posts.sent().await;
    assert_eq!(robots.seen(), ["+hangs", "+b", "-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_robot_that_stays_at_a_reload_keeps_what_it_was_told() {
    let (mut posts, robots) = (Posts::default(), Robots::default());
    posts.set(&[robot("a"), robot("a")]);
    robots.send(&mut posts, &refused(true), |_| Some(Ok(())));
    posts.sent().await;
    // One message is still on its way at the reload.
    posts.set(&[robot("new"), robot("a"), robot("a")]);
    posts.sent().await;
    robots.send(&mut posts, &refused(true), |_| Some(Ok(())));
    assert_eq!(robots.seen(), ["+a", "+a", "+new"]);
}
