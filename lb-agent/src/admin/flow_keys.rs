//! The flow keys of a node, as `top` and the dump tell them: by fingerprints.

use serde::{Deserialize, Serialize};

use crate::model::FlowKeys;

/// As JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct FlowKeysReport {
    /// By it connections open; `None` before there is one.
    pub in_force: Option<String>,
    /// Another one by which they are found.
    pub other: Option<String>,
    /// The one that the Secret or the file has.
    pub given: Option<String>,
    /// What is on its way, and what it waits for.
    pub words: Option<String>,
}

impl FlowKeysReport {
    pub(super) fn new(keys: &FlowKeys) -> Self {
        let print = |key: u32| format!("{key:08x}");
        Self {
            in_force: keys.in_force().map(print),
            other: keys.keys.and_then(|keys| keys.other).map(print),
            given: keys.given.map(print),
            words: keys.words(),
        }
    }
}
