//! The plain types of a credential, known by the cell, the lifecycle, the status and the issuers.
//!
//! No behaviour but what a value says of itself: no task, no I/O, no decision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::evidence::{Evidence, InFlight, Stamp, View};
use crate::http1::percent;
use crate::secret::Secret;

/// What kind of credential an account has. Each has its own cell and its own task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialKind {
    /// The `access_token` that API calls carry.
    AccessToken,
    /// What `wx.config` is signed with.
    JsapiTicket,
    /// What cards are signed with.
    CardTicket,
    /// What `wx.agentConfig` is signed with.
    AgentTicket,
}

impl CredentialKind {
    /// For logs and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::JsapiTicket => "jsapi_ticket",
            Self::CardTicket => "card_ticket",
            Self::AgentTicket => "agent_ticket",
        }
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::AccessToken => "token",
            Self::JsapiTicket => "jsapi ticket",
            Self::CardTicket => "card ticket",
            Self::AgentTicket => "agent ticket",
        }
    }
}

/// Which credential: one kind of one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialId {
    /// The account's name in the configuration.
    pub account: Arc<str>,
    /// Which of its credentials.
    pub kind: CredentialKind,
}

impl CredentialId {
    /// The access token of this account.
    pub fn access_token(account: &str) -> Self {
        Self { account: account.into(), kind: CredentialKind::AccessToken }
    }
}

/// One credential as the upstream issued it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Grows by one with each new value, over restarts too.
    pub generation: u64,
    /// The first number that this value had: replicas that numbered two values alike renumber one of them.
    pub since: u64,
    /// The credential itself.
    pub value: Secret,
    /// The value percent-encoded, ready for a query; made once, so that no request has to.
    pub encoded: Secret,
    /// When its life ends; the cell is cleared then.
    pub end: Instant,
    /// When it was asked for last; `None`: before this machine was started.
    pub asked: Option<Instant>,
    /// Until then it is so new that a refusal may come from a node that does not know it yet.
    pub young_until: Instant,
    /// What calls have shown of this generation.
    pub(crate) evidence: Arc<Evidence>,
}

impl Credential {
    /// Takes the value over and encodes it; it was asked for `now`, and is young from then on.
    pub fn new(generation: u64, value: Secret, end: Instant, now: Instant) -> Self {
        let mut encoded = String::with_capacity(3 * value.expose().len());
        percent::encode(value.expose(), &mut encoded);
        Self {
            generation,
            since: generation,
            value,
            encoded: Secret::new(encoded),
            end,
            asked: Some(now),
            young_until: now + YOUNG,
            evidence: Arc::default(),
        }
    }

    /// A call with it is being sent; it is answered when the guard is dropped.
    pub fn sending(&self) -> InFlight<'_> {
        self.evidence.sending()
    }

    /// What is known of it at this moment, from where a refused call stands that was sent at `sent`.
    pub(crate) fn evidence_since(&self, sent: std::time::Instant) -> View {
        self.evidence.view(Stamp::of(sent), Stamp::now())
    }

    /// Whether a call was accepted with it that was sent after this moment.
    pub(crate) fn accepted_after(&self, moment: std::time::Instant) -> bool {
        self.evidence.accepted_after(Stamp::of(moment))
    }

    /// Whether it was asked for no longer ago than that.
    pub(crate) fn asked_within(&self, span: Duration, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) < span)
    }

    /// The same value under a later number.
    pub fn renumbered(&self, generation: u64) -> Self {
        Self { generation, ..self.clone() }
    }

    /// The same, issued so long before `now`.
    pub fn aged(self, age: Duration, now: Instant) -> Self {
        Self { young_until: now + YOUNG.saturating_sub(age), ..self }
    }
}

/// So long after its issue not every node of the upstream need know a credential.
const YOUNG: Duration = Duration::from_secs(10);

/// The credential before the current one, which goes on working for a while.
#[derive(Debug, Clone)]
pub struct Previous {
    /// It.
    pub credential: Arc<Credential>,
    /// Until then, as far as is known.
    pub until: Instant,
}

/// What the task writes into the cell.
#[derive(Debug, Clone)]
pub(crate) struct CellContent {
    /// The valid credential, or why there is none.
    pub(crate) current: Result<Arc<Credential>, Absent>,
    /// The one before it, while it may go on working.
    pub(crate) previous: Option<Previous>,
    /// The one before it, whether it works or not.
    pub(crate) before: Option<Arc<Credential>>,
}

/// The paths that something is held against, and until when each of them starts no fetch.
pub(crate) type Suspects = HashMap<Arc<str>, Option<Instant>>;

/// Why there is no token at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The first fetch has not been answered yet, or the token has just ended: 503 no-token.
    Waiting,
    /// The last fetch failed for a passing reason: 503 no-token.
    Passing {
        /// What went wrong, in words, without secrets.
        what: String,
    },
    /// The upstream refuses to issue a token: 502 token-refused.
    Refused {
        /// The upstream's errcode.
        errcode: i64,
        /// The upstream's errmsg, sanitised: no control characters, not our secret, not long.
        errmsg: String,
    },
}

/// What came of asking for a newer token.
#[derive(Debug, Clone)]
pub enum Renewal {
    /// A token newer than the refused one: replay with exactly this one.
    Newer(Arc<Credential>),
    /// The fetch failed or took too long: `x-wxgate-retry: refresh-failed`.
    Failed,
    /// No fetch was allowed: `x-wxgate-retry: refresh-limited`.
    Limited,
    /// The upstream handed out the refused one again, and there is no way to force another: `x-wxgate-retry: same-token`.
    Same,
}

/// How a credential is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchMode {
    /// As usual. Whether that ends the credential before it, is the policy's to say.
    Normal,
    /// The issuer is told to hand out another one than last time, which ends the one before it at once.
    Forced,
}

/// What came of one fetch.
#[derive(Debug, Clone)]
pub enum FetchAnswer {
    /// A token.
    Issued {
        /// Not empty and not longer than [`crate::store::LONGEST_VALUE`].
        value: Secret,
        /// Seconds, as the upstream said; `None` when it said none, or no number.
        expires_in: Option<i64>,
    },
    /// It may go better next time: -1, 5xx, timeouts, an answer that makes no sense.
    Passing {
        /// In words, without secrets.
        what: String,
    },
    /// There was no connection, so nothing was sent. It may go better next time too.
    Unsent {
        /// In words, without secrets.
        what: String,
    },
    /// The upstream refuses.
    Refused {
        /// Any but 0 and -1.
        errcode: i64,
        /// Sanitised.
        errmsg: String,
    },
}

/// Why a fetch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no token.
    Start,
    /// The token's end is near.
    Ahead,
    /// The upstream refused the current token.
    Forced,
    /// The last fetch failed.
    Retry,
    /// Somebody asked by hand.
    Admin,
}

impl Reason {
    /// All, for metrics that show what has not happened yet.
    pub const ALL: [Self; 5] = [Self::Start, Self::Ahead, Self::Forced, Self::Retry, Self::Admin];

    /// For logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Ahead => "ahead",
            Self::Forced => "forced",
            Self::Retry => "retry",
            Self::Admin => "admin",
        }
    }
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A new token.
    New,
    /// The current token once more.
    Same,
    /// A passing failure.
    Failed,
    /// The upstream refuses.
    Refused,
}

impl Outcome {
    /// All, for metrics that show what has not happened yet.
    pub const ALL: [Self; 4] = [Self::New, Self::Same, Self::Failed, Self::Refused];

    /// For logs, metrics and `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "ok",
            Self::Same => "same",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests;
