//! One watch as a pure state: what was told so far, and what is to be asked next.
//!
//! kube's runtime has a watcher, too. It does not tell when a watch that broke works again, asks for an expired
//! version for ever if the server says 410 before the stream begins, starts anew without a pause when streams end
//! at once, and takes a list as complete though an object in it could not be read. What we show to operators, and
//! never losing an object, hang on just that.

use kube::api::{Resource, WatchEvent};
use kube::core::ObjectList;
use kube::runtime::watcher::Event;

use super::failure::Failure;

/// Marks the end of a streamed list.
const LISTED: &str = "k8s.io/initial-events-end";

/// The next request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    /// Everything, and then the changes, in one stream.
    Stream,
    /// A page of a list: the first, or the one behind this token.
    Page(Option<String>),
    /// The changes since a version.
    Changes(String),
}

/// How far a watch is.
#[derive(Debug)]
pub(super) struct Progress {
    ask: Ask,
    /// Whether the server has streaming lists, as far as is known.
    streams: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { ask: Ask::Stream, streams: true }
    }

    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// The answer to `Ask::Page`.
    pub(super) fn page<K: Clone>(&mut self, list: ObjectList<K>) -> Vec<Event<K>> {
        let mut events = Vec::with_capacity(list.items.len() + 2);
        if self.ask == Ask::Page(None) {
            events.push(Event::Init);
        }
        events.extend(list.items.into_iter().map(Event::InitApply));
        self.ask = match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => Ask::Page(Some(token)),
            None => {
                events.push(Event::InitDone);
                Ask::Changes(list.metadata.resource_version.unwrap_or_default())
            }
        };
        events
    }

    /// A stream has begun.
    pub(super) fn opened<K>(&self) -> Option<Event<K>> {
        (self.ask == Ask::Stream).then_some(Event::Init)
    }

    /// The next word of a stream. After an error the stream is of no more use.
    pub(super) fn event<K: Resource>(&mut self, event: WatchEvent<K>) -> Result<Option<Event<K>>, Failure> {
        let is_list = self.ask == Ask::Stream;
        Ok(match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) if is_list => {
                Some(Event::InitApply(object))
            }
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.advance(object.meta().resource_version.clone());
                Some(Event::Apply(object))
            }
            // There is no such thing within a list.
            WatchEvent::Deleted(_) if is_list => {
                return Err(Failure::unreachable("the list is inconsistent"));
            }
            WatchEvent::Deleted(object) => {
                self.advance(object.meta().resource_version.clone());
                Some(Event::Delete(object))
            }
            WatchEvent::Bookmark(bookmark) => {
                let is_end = is_list && bookmark.metadata.annotations.contains_key(LISTED);
                if is_end || !is_list {
                    self.ask = Ask::Changes(bookmark.metadata.resource_version);
                }
                is_end.then_some(Event::InitDone)
            }
            WatchEvent::Error(status) => return Err(Failure::status(&status)),
        })
    }

    /// A request or a stream failed. A list that is not complete begins anew. Says whether that is a part of the
    /// protocol, and nothing is wrong: a version expired, or the server has no streaming lists.
    pub(super) fn failed(&mut self, failure: &Failure) -> bool {
        let is_changes = matches!(self.ask, Ask::Changes(_));
        let is_unable = self.ask == Ask::Stream && failure.is_invalid();
        if is_unable {
            self.streams = false;
        }
        if !is_changes || failure.is_expired() {
            self.ask = self.list();
        }
        is_unable || failure.is_expired()
    }

    /// Without a version the last one stays: to be told something twice does no harm.
    fn advance(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.ask = Ask::Changes(version);
        }
    }

    fn list(&self) -> Ask {
        if self.streams { Ask::Stream } else { Ask::Page(None) }
    }
}
