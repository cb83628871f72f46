//! What stands in the store under one account's key, as far as is known here, and what of it the lifecycle was told.
//! Asks nobody.

use std::time::{Duration, SystemTime};

use tracing::{error, info};

use super::seal::{Opened, Seal};
use crate::store::{StoreEvent, StoredState};

/// A generation that another AppSecret wrote is believed up to here: one a second for thirty years.
const BELIEVED: u64 = 1_000_000_000;

/// What is known of an account's key.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// What the lifecycle has been told of.
    pub(super) told: Content,
    /// What it has to be told of.
    pub(super) untold: Option<Content>,
    /// The token is not in the store.
    pub(super) unsaved: bool,
}

/// What an answer of the store held.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) value: Vec<u8>,
    pub(super) is: Is,
}

impl Content {
    /// What this value is to whoever has that secret, seen at that time.
    pub(super) fn of(value: Vec<u8>, seal: &Seal, now: SystemTime) -> Self {
        let is = match value.as_slice() {
            [] => Is::Nothing,
            value => match seal.open(value) {
                Opened::Ours(state) => Is::Ours(state),
                // Fetches are dated in whole milliseconds, and one may follow within the same.
                Opened::OtherSecret(generation) => {
                    Is::OtherSecret(now - Duration::from_millis(1), generation)
                }
                Opened::Foreign => Is::Foreign,
            },
        };
        Self { value, is }
    }

    /// Of another type than a text, whatever it says.
    pub(super) fn of_another_type() -> Self {
        Self { value: b"(another type)".to_vec(), is: Is::Foreign }
    }
}

/// Whose it is.
#[derive(Debug, Default)]
pub(super) enum Is {
    #[default]
    Nothing,
    Ours(Box<StoredState>),
    /// Of another AppSecret, seen first at this time, with this generation.
    OtherSecret(SystemTime, u64),
    Foreign,
}

impl Is {
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::OtherSecret(..) | Self::Foreign)
    }
}

impl Known {
    /// Whether what the lifecycle was told of is not ours.
    pub(super) fn is_foreign(&self) -> bool {
        self.told.is.is_foreign()
    }

    /// Takes what stands in the store, logs what is new about whose it is, and has what the lifecycle is to be told.
    pub(super) fn tell(&mut self, content: Content, account: &str, key: &str) -> Option<StoreEvent> {
        let was = self.is_foreign();
        let is = content.is.is_foreign();
        let same = self.told.value == content.value;
        match &content.is {
            Is::OtherSecret(..) if !same => error!(
                account,
                "the store holds a state under `{key}` that was written with another AppSecret, or is damaged. It is left as \
                 it is, and this replica fetches for itself; with the right AppSecret the next token fetched replaces it"
            ),
            Is::Foreign if !same => error!(
                account,
                "the store holds under `{key}` what this wxgate did not write. It is left as it is, and this replica \
                 fetches for itself; remove it, or set another `key_prefix`"
            ),
            Is::Nothing | Is::Ours(_) if was => info!(account, "the store holds nothing foreign any more"),
            _ => {}
        }
        let event = match &content.is {
            Is::Nothing => Some(StoreEvent::Behind),
            Is::Ours(state) => Some(StoreEvent::Published(state.clone())),
            // Its number is taken.
            Is::OtherSecret(_, generation) if !same && *generation < BELIEVED => {
                let generation = *generation;
                Some(StoreEvent::Published(Box::new(StoredState { generation, ..StoredState::default() })))
            }
            Is::OtherSecret(..) | Is::Foreign => None,
        };
        if !(same && is) {
            self.told = content;
        }
        self.untold = None;
        event
    }
}
