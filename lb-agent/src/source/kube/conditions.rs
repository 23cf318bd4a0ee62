//! How each watch goes: told to the log once per change, and shown to the operator.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tracing::{info, warn};

use super::failure::Failure;
use super::feed::Feed;
use crate::model::{Condition, Kind, Watch};

/// One entry for each name of a feed, in a fixed order.
#[derive(Debug)]
pub(super) struct Conditions {
    watches: Vec<Watch>,
    /// Single Secrets that fail: their entry is well when none is left.
    failing: BTreeMap<Feed, ()>,
}

impl Conditions {
    /// Before anything is known.
    pub(super) fn new(feeds: impl Iterator<Item = Feed>) -> Self {
        let watch = |name, condition| Watch {
            name,
            condition,
            since: SystemTime::now(),
            message: String::new(),
            failures: 0,
        };
        let mut watches: Vec<_> = feeds.map(|feed| watch(feed.name(), Condition::Listing)).collect();
        watches.push(watch(Kind::Secret.as_str(), Condition::Waiting));
        watches.sort_by_key(|watch| watch.name);
        Self { watches, failing: BTreeMap::new() }
    }

    /// As they are.
    pub(super) fn watches(&self) -> &[Watch] {
        &self.watches
    }

    /// The Secrets' first list is on its way.
    pub(super) fn begin(&mut self, feed: &Feed) {
        if let Some(watch) = self.watch(feed)
            && watch.condition == Condition::Waiting
        {
            enter(watch, Condition::Listing, String::new());
        }
    }

    /// The watch works; says whether that is new.
    pub(super) fn current(&mut self, feed: &Feed) -> bool {
        self.failing.remove(feed);
        if matches!(feed, Feed::Secret(_)) && !self.failing.is_empty() {
            return false;
        }
        let Some(watch) = self.watch(feed) else { return false };
        let before = (watch.condition, watch.since);
        if !enter(watch, Condition::Current, String::new()) {
            return false;
        }
        let away = before.1.elapsed().unwrap_or_default().as_secs();
        if before.0.is_failure() || before.0 == Condition::Missing {
            info!(kind = watch.name, was = %before.0, seconds = away, "followed again");
        }
        true
    }

    /// The watch failed.
    pub(super) fn failed(&mut self, feed: &Feed, failure: &Failure) {
        if matches!(feed, Feed::Secret(_)) {
            self.failing.insert(feed.clone(), ());
        }
        let Some(watch) = self.watch(feed) else { return };
        watch.failures += 1;
        if !enter(watch, failure.condition, failure.message.clone()) {
            return;
        }
        if failure.condition == Condition::Missing {
            info!(kind = watch.name, "the API server does not know this kind yet: looking again");
        } else {
            let (reason, said) = (failure.condition, failure.message.as_str());
            warn!(kind = %feed, %reason, said, "cannot be followed: what is known of it stays");
        }
    }

    /// A single Secret is of no use any more.
    pub(super) fn forget(&mut self, feed: &Feed) {
        if self.failing.remove(feed).is_some() && self.failing.is_empty() {
            self.current(feed);
        }
    }

    fn watch(&mut self, feed: &Feed) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|watch| watch.name == feed.name())
    }
}

/// Says whether the condition is another one; its time counts from the first moment of it.
fn enter(watch: &mut Watch, condition: Condition, message: String) -> bool {
    watch.message = message;
    let is_new = watch.condition != condition;
    if is_new {
        (watch.condition, watch.since) = (condition, SystemTime::now());
    }
    is_new
}
