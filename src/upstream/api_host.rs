//! One API host as the whole process reaches it: shared by all workers, and by the token calls of its accounts.

use std::sync::Arc;

use super::endpoint::{Endpoint, Settings};

/// An endpoint with its settings, and what all connections to it have in common.
#[derive(Debug)]
pub struct ApiHost {
    endpoint: Endpoint,
    settings: Settings,
}

impl ApiHost {
    /// Connects to nobody yet.
    pub fn new(endpoint: Endpoint, settings: Settings) -> Arc<Self> {
        Arc::new(Self { endpoint, settings })
    }

    /// Where it is and how it is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its time limits and the like.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// With the same endpoint and settings, connections and token tasks can go on.
impl PartialEq for ApiHost {
    fn eq(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint && self.settings == other.settings
    }
}
