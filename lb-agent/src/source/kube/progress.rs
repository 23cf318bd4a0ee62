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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::model::Condition;

    /// An event as the server sends it: `ADDED name version`, `BOOKMARK version`, `LISTED version`, `ERROR code`.
    fn event(text: &str) -> WatchEvent<ConfigMap> {
        let words: Vec<_> = text.split(' ').collect();
        let map = || {
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                   "metadata": {"name": words[1], "resourceVersion": words.get(2).unwrap_or(&"")}})
        };
        let bookmark = |annotations| {
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                   "metadata": {"resourceVersion": words[1], "annotations": annotations}})
        };
        let (kind, object) = match words[0] {
            "BOOKMARK" => ("BOOKMARK", bookmark(json!({}))),
            "LISTED" => ("BOOKMARK", bookmark(json!({LISTED: "true"}))),
            "ERROR" => ("ERROR", json!({"code": words[1].parse::<u16>().expect("a code")})),
            kind => (kind, map()),
        };
        serde_json::from_value(json!({"type": kind, "object": object})).expect("an event")
    }

    fn told(event: &Event<ConfigMap>) -> String {
        event.to_string()
    }

    /// What a stream's events become, and what is asked next.
    #[track_caller]
    fn check(progress: &mut Progress, events: &[&str], expected: &[&str], ask: &Ask) {
        let opened = progress.opened().iter().map(told).collect::<Vec<_>>();
        let mut found = opened;
        for text in events {
            match progress.event(event(text)) {
                Ok(event) => found.extend(event.iter().map(told)),
                Err(failure) => {
                    found.push(failure.condition.to_string());
                    progress.failed(&failure);
                }
            }
        }
        assert_eq!(found, expected);
        assert_eq!(progress.ask(), ask);
    }

    fn changes(version: &str) -> Ask {
        Ask::Changes(version.to_owned())
    }

    #[test]
    fn a_streamed_list_ends_with_its_mark() {
        let mut progress = Progress::new();
        let list = ["ADDED a 3", "BOOKMARK 4", "ADDED b 5", "LISTED 6"];
        let expected = ["Init", "InitApply(a)", "InitApply(b)", "InitDone"];
        check(&mut progress, &list, &expected, &changes("6"));
        let changed = ["MODIFIED a 7", "DELETED b 9", "BOOKMARK 12"];
        check(&mut progress, &changed, &["Apply(a)", "Delete(b)"], &changes("12"));
        check(&mut progress, &["ADDED c"], &["Apply(c)"], &changes("12"));
    }

    /// A list that breaks off tells nothing: it begins anew.
    #[test]
    fn a_broken_list_begins_anew() {
        for (end, condition) in
            [("ERROR 500", "server_error"), ("ERROR 410", "refused"), ("DELETED a 4", "unreachable")]
        {
            let mut progress = Progress::new();
            check(&mut progress, &["ADDED a 3", end], &["Init", "InitApply(a)", condition], &Ask::Stream);
        }
    }

    #[test]
    fn only_an_expired_version_is_read_anew() {
        for (code, ask) in [(410, Ask::Stream), (500, changes("6")), (403, changes("6")), (429, changes("6"))]
        {
            let mut progress = Progress::new();
            check(&mut progress, &["LISTED 6"], &["Init", "InitDone"], &changes("6"));
            let status = kube::core::Status { code, ..Default::default() };
            // As the answer to the request, not as an event of a stream.
            assert_eq!(progress.failed(&Failure::status(&status)), code == 410);
            assert_eq!(*progress.ask(), ask, "{code}");
        }
    }

    fn page(names: &[&str], token: &str, version: &str) -> ObjectList<ConfigMap> {
        let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"continue": token, "resourceVersion": version}, "items": items,
        }))
        .expect("a page")
    }

    /// As to a server before Kubernetes 1.32, or one where the feature is off.
    #[test]
    fn a_server_without_streamed_lists_is_asked_for_pages() {
        let refusal = Failure::status(&kube::core::Status { code: 422, ..Default::default() });
        let mut progress = Progress::new();
        assert!(progress.failed(&refusal));
        assert_eq!(*progress.ask(), Ask::Page(None));
        let told = |events: Vec<Event<ConfigMap>>| events.iter().map(told).collect::<Vec<_>>();
        assert_eq!(told(progress.page(page(&["a"], "next", "8"))), ["Init", "InitApply(a)"]);
        assert_eq!(*progress.ask(), Ask::Page(Some("next".to_owned())));
        assert_eq!(told(progress.page(page(&["b"], "", "8"))), ["InitApply(b)", "InitDone"]);
        assert_eq!(*progress.ask(), changes("8"));
        // The token of a page expires, too.
        let expired = Failure::status(&kube::core::Status { code: 410, ..Default::default() });
        progress.failed(&expired);
        progress.page(page(&["a"], "next", "9"));
        assert!(progress.failed(&expired));
        assert_eq!(*progress.ask(), Ask::Page(None), "and never streams again");
        assert_eq!(expired.condition, Condition::Refused);
    }
}
