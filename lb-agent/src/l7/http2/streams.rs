//! The streams of a client's HTTP/2 connection: the task of each, and since when it waits for the client to give it room.
//! What it holds meanwhile is memory, and a place at an endpoint, that costs the client nothing.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;

use slab::Slab;
use tokio::task::{AbortHandle, spawn_local};

/// Those of one connection.
#[derive(Default)]
pub(in crate::l7) struct Streams(RefCell<Known>);

#[derive(Default)]
struct Known {
    running: Slab<Stream>,
    /// The one that has just begun: the next task is its.
    latest: Option<usize>,
    /// Those that wait for the client.
    waiting: u32,
    is_cancelled: bool,
}

#[derive(Default)]
struct Stream {
    task: Option<AbortHandle>,
    /// In ticks of the worker's deadlines.
    waits_since: Option<u64>,
}

impl Streams {
    /// One begins; its key.
    pub(in crate::l7) fn begin(&self) -> usize {
        let mut known = self.0.borrow_mut();
        let key = known.running.insert(Stream::default());
        known.latest = Some(key);
        key
    }

    /// Runs the task of the one that has just begun. It is boxed, for a task that begins and ends is moved many times.
    pub(super) fn run(&self, task: Pin<Box<dyn Future<Output = ()>>>) {
        if self.0.borrow().is_cancelled {
            return;
        }
        let task = spawn_local(task).abort_handle();
        let mut known = self.0.borrow_mut();
        let latest = known.latest.take();
        if let Some(stream) = latest.and_then(|key| known.running.get_mut(key)) {
            stream.task = Some(task);
        }
    }

    /// It has ended.
    pub(in crate::l7) fn end(&self, key: usize) {
        self.wait(key, None);
        // Named, so that it is dropped after the borrow has ended.
        let _stream = self.0.borrow_mut().running.try_remove(key);
    }

    /// It waits for the client since then, or not.
    pub(in crate::l7) fn wait(&self, key: usize, since: Option<u64>) {
        let mut known = self.0.borrow_mut();
        let Some(stream) = known.running.get_mut(key) else { return };
        let before = mem::replace(&mut stream.waits_since, since);
        known.waiting = known.waiting + u32::from(since.is_some()) - u32::from(before.is_some());
    }

    /// Whether any waits for the client.
    pub(in crate::l7) fn are_waiting(&self) -> bool {
        self.0.borrow().waiting > 0
    }

    /// Ends those that have waited since then; how many there were.
    pub(in crate::l7) fn end_waiting_since(&self, then: u64) -> usize {
        let known = self.0.borrow();
        let late = |stream: &Stream| stream.waits_since.is_some_and(|since| since <= then);
        let late = known.running.iter().filter(|(_, stream)| late(stream));
        let tasks: Vec<_> = late.filter_map(|(_, stream)| stream.task.clone()).collect();
        drop(known);
        tasks.iter().for_each(AbortHandle::abort);
        tasks.len()
    }

    /// Ends all of them, and lets no more begin. A stream whose task is dropped before its end is reset, with CANCEL: by
    /// HTTP/2 it is no longer needed, and to gRPC a server says so that the call cannot be completed (its mapping of
    /// HTTP/2 errors).
    pub(in crate::l7) fn cancel(&self) {
        self.0.borrow_mut().is_cancelled = true;
        let known = self.0.borrow();
        let tasks: Vec<_> = known.running.iter().filter_map(|(_, stream)| stream.task.clone()).collect();
        drop(known);
        tasks.iter().for_each(AbortHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_are_counted_once() {
        let streams = Streams::default();
        let (one, two) = (streams.begin(), streams.begin());
        streams.wait(one, Some(1));
        streams.wait(one, Some(2));
        streams.wait(two, Some(3));
        streams.wait(one, None);
        assert!(streams.are_waiting());
        streams.end(two);
        assert!(!streams.are_waiting());
        streams.wait(two, Some(4));
        assert!(!streams.are_waiting(), "it has ended");
        streams.end(one);
        assert!(streams.0.borrow().running.is_empty());
    }
}
