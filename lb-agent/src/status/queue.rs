//! Whose addresses are to be written next: pure.
//!
//! An object is written once for each thing that is wanted of it, however often that changes meanwhile: what counts
//! is what is wanted when its turn comes. What few objects need goes first: a person waits for it, while thousands
//! that need a write at once are an agent that starts, or a changed VIP.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{ObjectRef, Published};

/// As many objects as a person changes at a time.
const FEW: usize = 64;

/// What was written should be seen within this; if not, or if it is overwritten sooner, somebody else writes there, too:
/// of two that do not give way, one has to be slow.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// The objects that are not as they should be.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<ObjectRef, Entry>,
    few: VecDeque<ObjectRef>,
    many: VecDeque<ObjectRef>,
    contested: Vec<ObjectRef>,
}

/// What is wanted of an object's status; `None`: nothing of ours.
type Wanted = Option<Arc<[IpAddr]>>;

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    state: State,
    /// Whether that was told.
    is_contested: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Queued,
    /// With these addresses.
    InFlight(Wanted),
    /// The API server has it; the source has not seen it yet.
    Written(Instant),
    /// It was refused, or put off.
    Waiting(Instant),
}

impl Queue {
    /// Takes in what is wanted of all objects, and what is so already.
    pub(super) fn update(&mut self, wanted: &BTreeMap<ObjectRef, Published>, now: Instant) {
        let mut fresh = Vec::new();
        for (object, published) in wanted {
            if self.is_news(object, published, now) {
                fresh.push(object.clone());
            }
        }
        self.entries.retain(|object, entry| match entry.state {
            State::InFlight(_) => true,
            // Who overwrites it comes back: each time would look like the first.
            State::Written(at) if now < at + SEEN_WITHIN * 2 => wanted.contains_key(object),
            _ => wanted.get(object).is_some_and(|published| !published.is_current),
        });
        let queue = if fresh.len() <= FEW { &mut self.few } else { &mut self.many };
        queue.extend(fresh);
    }

    fn is_news(&mut self, object: &ObjectRef, published: &Published, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(object) else {
            if published.is_current {
                return false;
            }
            let entry = Entry { wanted: published.wanted.clone(), state: State::Queued, is_contested: false };
            self.entries.insert(object.clone(), entry);
            return true;
        };
        let is_other = entry.wanted != published.wanted;
        entry.wanted.clone_from(&published.wanted);
        let is_due = match entry.state {
            State::Queued | State::InFlight(_) => false,
            State::Written(at) => is_other || now >= at + SEEN_WITHIN,
            State::Waiting(until) => is_other || now >= until,
        };
        if !is_due || published.is_current {
            return false;
        }
        let is_overwritten = matches!(entry.state, State::Written(_)) && !is_other;
        if is_overwritten && !std::mem::replace(&mut entry.is_contested, true) {
            self.contested.push(object.clone());
        }
        entry.state = State::Queued;
        true
    }

    /// Objects that are not as they were written though nothing else is wanted of them, each once.
    pub(super) fn take_contested(&mut self) -> Vec<ObjectRef> {
        std::mem::take(&mut self.contested)
    }

    /// The next one to write, and its addresses.
    pub(super) fn next(&mut self) -> Option<(ObjectRef, Wanted)> {
        while let Some(object) = self.few.pop_front().or_else(|| self.many.pop_front()) {
            // It may have become current meanwhile, or stand here twice.
            if let Some(entry) = self.entries.get_mut(&object).filter(|entry| entry.state == State::Queued) {
                let wanted = entry.wanted.clone();
                entry.state = State::InFlight(wanted.clone());
                return Some((object, wanted));
            }
        }
        None
    }

    /// The API server took it.
    pub(super) fn written(&mut self, object: &ObjectRef, now: Instant) {
        self.finish(object, State::Written(now));
    }

    /// It is tried again then, or when something else is wanted.
    pub(super) fn put_off(&mut self, object: &ObjectRef, until: Instant) {
        self.finish(object, State::Waiting(until));
    }

    /// What was put off is tried again when it is still wanted.
    pub(super) fn retry(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if let State::Waiting(until) = &mut entry.state {
                *until = now.min(*until);
            }
        }
    }

    /// It is tried again at its turn.
    pub(super) fn put_back(&mut self, object: &ObjectRef) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.state = State::Queued;
            self.many.push_front(object.clone());
        }
    }

    fn finish(&mut self, object: &ObjectRef, state: State) {
        let Some(entry) = self.entries.get_mut(object) else { return };
        let is_last_word = matches!(&entry.state, State::InFlight(sent) if *sent == entry.wanted);
        if is_last_word {
            entry.state = state;
        } else {
            // Something else is wanted since: a person may wait for it.
            entry.state = State::Queued;
            self.few.push_back(object.clone());
        }
    }

    /// How many are not written yet.
    pub(super) fn len(&self) -> usize {
        self.entries.values().filter(|entry| !matches!(entry.state, State::Written(_))).count()
    }

    /// Whether one can be written now.
    pub(super) fn has_next(&self) -> bool {
        !(self.few.is_empty() && self.many.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn object(name: &str) -> ObjectRef {
        ObjectRef::new(Kind::Ingress, "shop", name)
    }

    fn addresses(last: u8) -> Wanted {
        Some(Arc::from([IpAddr::from([203, 0, 113, last])]))
    }

    fn report(objects: &[(&str, u8, bool)]) -> BTreeMap<ObjectRef, Published> {
        let entry = |&(name, last, is_current): &(&str, u8, bool)| {
            (object(name), Published { wanted: addresses(last), is_current })
        };
        objects.iter().map(entry).collect()
    }

    fn names(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.next()).map(|(object, _)| object.name).collect()
    }

    #[test]
    fn what_is_current_is_not_written() {
        let mut queue = Queue::default();
        queue.update(&report(&[("a", 1, true), ("b", 1, false)]), Instant::now());
        assert_eq!(names(&mut queue), ["b"]);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn each_is_written_once_until_it_is_seen() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let wanted = report(&[("a", 1, false)]);
        queue.update(&wanted, now);
        assert_eq!(names(&mut queue), ["a"]);
        queue.update(&wanted, now);
        queue.written(&object("a"), now);
        queue.update(&wanted, now + Duration::from_secs(29));
        assert_eq!((names(&mut queue), queue.len()), (Vec::new(), 0));
        // Nobody sees it: somebody else writes there, too.
        queue.update(&wanted, now + Duration::from_secs(30));
        assert_eq!(names(&mut queue), ["a"]);
        queue.written(&object("a"), now);
        queue.update(&report(&[("a", 1, true)]), now + Duration::from_secs(60));
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn who_overwrites_is_told_of_once_and_answered_rarely() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        let (seen, overwritten) = (report(&[("a", 1, true)]), report(&[("a", 1, false)]));
        queue.update(&overwritten, start);
        let (mut writes, mut told) = (Vec::new(), Vec::new());
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            if queue.next().is_some() {
                writes.push(second);
                queue.written(&object("a"), now);
            }
            queue.update(&seen, now);
            queue.update(&overwritten, now);
            told.extend(queue.take_contested());
        }
        assert_eq!(writes, [0, 31, 62, 93]);
        assert_eq!(told, [object("a")]);
        // Something else is wanted: that does not wait.
        queue.update(&report(&[("a", 2, false)]), start + Duration::from_secs(100));
        assert_eq!(queue.next(), Some((object("a"), addresses(2))));
    }

    #[test]
    fn only_the_last_of_many_changes_is_written() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.update(&report(&[("a", 1, false)]), now);
        queue.update(&report(&[("a", 2, false)]), now);
        assert_eq!(queue.next(), Some((object("a"), addresses(2))));
        for last in 3..9 {
            queue.update(&report(&[("a", last, false)]), now);
        }
        assert_eq!(queue.next(), None, "one at a time");
        queue.written(&object("a"), now);
        assert_eq!(queue.next(), Some((object("a"), addresses(8))));
        queue.written(&object("a"), now);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn what_a_person_waits_for_goes_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let many: Vec<_> = (0..1000).map(|at| format!("many-{at:04}")).collect();
        let mut wanted: Vec<_> = many.iter().map(|name| (name.as_str(), 1, false)).collect();
        queue.update(&report(&wanted), now);
        assert_eq!(queue.next().map(|(object, _)| object.name).as_deref(), Some("many-0000"));
        wanted.push(("zoo", 1, false));
        queue.update(&report(&wanted), now);
        assert_eq!(queue.next().map(|(object, _)| object.name).as_deref(), Some("zoo"));
        assert_eq!(queue.len(), 1001);
    }

    #[test]
    fn what_is_put_off_waits_unless_something_else_is_wanted() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.update(&report(&[("a", 1, false), ("b", 1, false)]), now);
        assert_eq!(names(&mut queue), ["a", "b"]);
        for name in ["a", "b"] {
            queue.put_off(&object(name), now + Duration::from_secs(60));
        }
        queue.update(&report(&[("a", 1, false), ("b", 2, false)]), now);
        assert_eq!(names(&mut queue), ["b"]);
        queue.update(&report(&[("a", 1, false), ("b", 2, false)]), now + Duration::from_secs(60));
        assert_eq!(names(&mut queue), ["a"]);
        queue.put_back(&object("a"));
        assert_eq!(names(&mut queue), ["a"]);
    }

    #[test]
    fn what_is_put_off_comes_at_once_when_all_is_tried_again() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.update(&report(&[("a", 1, false)]), now);
        assert_eq!(names(&mut queue), ["a"]);
        queue.put_off(&object("a"), now + Duration::from_secs(60));
        queue.retry(now);
        queue.update(&report(&[("a", 1, false)]), now);
        assert_eq!(names(&mut queue), ["a"]);
    }

    #[test]
    fn what_is_not_ours_any_more_is_forgotten() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.update(&report(&[("a", 1, false), ("b", 1, false)]), now);
        assert!(queue.next().is_some());
        queue.update(&report(&[]), now);
        assert_eq!(queue.next(), None);
        queue.written(&object("a"), now);
        queue.update(&report(&[]), now);
        assert!(queue.entries.is_empty());
    }
}
