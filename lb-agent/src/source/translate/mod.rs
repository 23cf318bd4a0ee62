//! The index -> a snapshot: pure, and complete whatever is wrong with single objects. Each file turns one kind of
//! object into its part of the state and says what is wrong with it; `Translator` keeps the parts from one snapshot
//! to the next.

mod age;
mod asked;
mod backend_tls;
mod backends;
mod certificates;
mod classes;
mod defaults;
mod ejection;
mod external;
mod health_check;
mod history;
mod hosts;
mod ingress;
mod ingresses;
mod listed;
mod listeners;
mod members;
mod merge;
mod misplaced;
mod parameters;
mod parsed;
mod policy;
mod ports;
mod protocol;
mod register;
mod report;
mod services;
mod sticky;
mod tables;
mod times;
mod tls_policy;
mod translator;
mod treatment;
mod vips;
mod zone;

#[cfg(test)]
mod fixture;

pub(super) use self::age::Age;
pub(super) use self::backend_tls::secrets as backend_secrets;
pub(super) use self::classes::Classes;
pub(super) use self::members::edge_nodes;
pub use self::translator::Translator;
use super::{Index, Settings};
use crate::model::Snapshot;

/// The state that the objects ask for, made from nothing: what a `Translator` that follows the index makes.
#[must_use]
pub fn translate(index: &Index, settings: &Settings, now: i64) -> Snapshot {
    Translator::new(settings.clone()).follow(index, &index.everything(), now)
}
