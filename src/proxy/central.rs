//! What callers with `real_token` got: a caller that asks for a refresh gets one only while the token is still the one
//! that it got, so that several who find one token dead together cause one refresh.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::state::OwnToken;
use crate::credential::{Credential, Renewal};
use crate::metrics::Retry;

/// How long a caller waits for a refresh that it asked for.
const REFRESH_WAIT: Duration = Duration::from_secs(5);

/// A newer token than this one, which somebody found dead; where none is to be had, this one, and why.
pub(super) async fn refreshed(own: &OwnToken, token: Arc<Credential>) -> (Arc<Credential>, Option<Retry>) {
    match own.reader.refresh_now(Some(token.generation), REFRESH_WAIT).await {
        Renewal::Newer(newer) => (newer, None),
        Renewal::Limited => (token, Some(Retry::RefreshLimited)),
        Renewal::Same => (token, Some(Retry::SameToken)),
        Renewal::Failed => (token, Some(Retry::RefreshFailed)),
    }
}

/// One caller at one address, and one account by its appid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Recipient {
    pub(super) caller: Arc<str>,
    pub(super) peer: IpAddr,
    pub(super) appid: Arc<str>,
}

/// So many are remembered; of more, those that were first are forgotten.
const MOST: usize = 4096;

/// The generation that each of them got last. Asked for by such token calls alone, which are rare.
#[derive(Debug, Default)]
pub(super) struct Handed(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    generations: HashMap<Recipient, u64>,
    /// In the order in which they came first.
    order: VecDeque<Recipient>,
}

impl Handed {
    /// The generation that it got last, if that is remembered.
    pub(super) fn to(&self, recipient: &Recipient) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).generations.get(recipient).copied()
    }

    /// It gets this generation.
    pub(super) fn note(&self, recipient: Recipient, generation: u64) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.generations.insert(recipient.clone(), generation).is_some() {
            return;
        }
        records.order.push_back(recipient);
        if records.order.len() > MOST
            && let Some(first) = records.order.pop_front()
        {
            records.generations.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_thousand_are_remembered() {
        let handed = Handed::default();
        let recipient = |n: usize| Recipient {
            caller: "c".into(),
            peer: IpAddr::from(u32::try_from(n).unwrap().to_be_bytes()),
            appid: "wx1".into(),
        };
        for n in 0..MOST + 10 {
            handed.note(recipient(n), 1);
            handed.note(recipient(n), n as u64);
        }
        assert_eq!(handed.to(&recipient(9)), None);
        assert_eq!(handed.to(&recipient(10)), Some(10));
        assert_eq!(handed.to(&recipient(MOST + 9)), Some(MOST as u64 + 9));
        assert_eq!(handed.0.lock().unwrap().generations.len(), MOST);
    }
}
