//! Sends each robot what is due for it, one message at a time, so that messages arrive in the order of what they tell, and
//! a robot that hangs holds up no other. How a message is sent is given by `watch.rs`.

use std::future::Future;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::decide::{Decider, Look, Message};
use super::{Robot, text};

/// From so many failures in a row on the log says that messages do not arrive.
const SAID_FROM: usize = 3;

/// The robots, and what is being sent to them.
#[derive(Default)]
pub(super) struct Posts {
    posts: Vec<Post>,
    /// At most one for each robot, and one for each that a reload has just taken away.
    sending: JoinSet<Result<(), String>>,
}

/// One robot.
struct Post {
    robot: Robot,
    decider: Decider,
    /// The message that is on its way.
    sending: Option<(Id, Message)>,
}

impl Posts {
    /// These robots are told from now on. One that was there before, by its URL, keeps what it has been told.
    pub(super) fn set(&mut self, robots: &[Robot]) {
        let mut before = std::mem::take(&mut self.posts);
        let post = |robot: &Robot| {
            let same = |post: &Post| (post.robot.service, &post.robot.url) == (robot.service, &robot.url);
            // Several tables may name one robot; each keeps its own.
            match before.iter().position(same) {
                Some(at) => Post { robot: robot.clone(), ..before.remove(at) },
                None => Post { robot: robot.clone(), decider: Decider::default(), sending: None },
            }
        };
        self.posts = robots.iter().map(post).collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// Begins to send each robot what is next for it, unless something is on its way there.
    pub(super) fn send<F>(&mut self, look: &Look, now: Instant, send: impl Fn(&Robot, String) -> F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        for post in self.posts.iter_mut().filter(|post| post.sending.is_none()) {
            let Some(message) = post.decider.next(look, &post.robot.on, now) else { continue };
            let task = self.sending.spawn(send(&post.robot, text::words(&message)));
            post.sending = Some((task.id(), message));
        }
    }

    /// Waits until a message has arrived or failed; for ever while none is on its way.
    pub(super) async fn sent(&mut self) {
        let (id, outcome) = match self.sending.join_next_with_id().await {
            Some(Ok(done)) => done,
            Some(Err(error)) => (error.id(), Err("sending it broke off".to_owned())),
            None => std::future::pending().await,
        };
        let now = Instant::now();
        let is_it = |post: &&mut Post| post.sending.as_ref().is_some_and(|(of, _)| *of == id);
        // A reload may have taken the robot away.
        let Some(post) = self.posts.iter_mut().find(is_it) else { return };
        let Some((_, message)) = post.sending.take() else { return };
        match outcome {
            Ok(()) => post.decider.arrived(&message, now),
            Err(error) => {
                if post.decider.failed(message.cause(), now) >= SAID_FROM {
                    tracing::warn!(
                        "a message to a {} robot could not be sent, and is tried again while it is true: {error}",
                        post.robot.service.as_str()
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
