//! A request's body on its way to a backend, in time: who is waited for, the client or the backend, and for how long.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::allowed::Allowed;
use super::body::RequestBody;
use super::deadline::Deadline;
use super::endpoint::Failure;
use super::limits::Limit;
use super::worker::Worker;

/// How long an upload may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The backend to take the next part.
    pub(super) send: Duration,
    /// The backend to answer after the last one.
    pub(super) answer: Duration,
    /// The client to send the next part; and what it may take beyond what the slowest pace would. None where it may as long
    /// as it likes: what a call's client streams comes when there is something to say.
    pub(super) client: Option<Duration>,
    /// The slowest pace, in bytes a second.
    pub(super) slowest: u64,
    /// What the request itself leaves for all of that together.
    pub(super) own: Option<Duration>,
}

/// One of them. Its deadline is that of the connection to the backend.
pub(super) struct Upload {
    deadline: Rc<Deadline>,
    pace: Pace,
    began: Instant,
    /// When the client had sent what it has sent so far.
    came_at: Cell<Instant>,
    bytes: Cell<u64>,
    awaits_client: Cell<bool>,
}

impl Upload {
    /// One that begins.
    pub(super) fn new(deadline: &Rc<Deadline>, pace: Pace) -> Rc<Self> {
        let (bytes, awaits_client, began) = (Cell::new(0), Cell::new(false), Instant::now());
        let came_at = Cell::new(began);
        Rc::new(Self { deadline: deadline.clone(), pace, began, came_at, bytes, awaits_client })
    }

    /// When its last part came.
    pub(super) fn came_at(&self) -> Instant {
        self.came_at.get()
    }

    /// The client has sent so much of it, and perhaps its end: a slow upload is not a slow response.
    pub(super) fn came(&self, bytes: usize, is_last: bool) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        self.awaits_client.set(false);
        self.came_at.set(Instant::now());
        self.wait_for(Some(if is_last { self.pace.answer } else { self.pace.send }));
    }

    /// The client has to send more.
    pub(super) fn wait(&self) {
        if !self.awaits_client.replace(true) {
            self.wait_for(self.pace.left(self.bytes.get(), self.began.elapsed()));
        }
    }

    /// So long, but not longer than the request's own word leaves.
    fn wait_for(&self, time: Option<Duration>) {
        let own = self.own_left();
        match time.into_iter().chain(own).min() {
            Some(time) => self.deadline.set(time),
            None => self.deadline.clear(),
        }
    }

    fn own_left(&self) -> Option<Duration> {
        self.pace.own.map(|own| own.saturating_sub(self.began.elapsed()))
    }

    /// Whether the client has sent too little: not if there is no time left by its own word.
    fn is_late(&self) -> bool {
        self.awaits_client.get() && self.own_left() != Some(Duration::ZERO)
    }
}

impl Pace {
    /// How long a client may be waited for that has sent so much in this time.
    fn left(&self, bytes: u64, elapsed: Duration) -> Option<Duration> {
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / self.slowest.max(1));
        self.client.map(|client| client.min((client + earned).saturating_sub(elapsed)))
    }
}

/// Who was too slow: the endpoint, or the client with what is missing of its request.
pub(super) fn too_slow(failure: Failure, upload: Option<&Rc<Upload>>) -> Failure {
    match failure {
        Failure::TimedOut(_) if upload.is_some_and(|upload| upload.is_late()) => Failure::SlowBody,
        failure => failure,
    }
}

/// Has the body of a request tell what comes of it to the deadline of its connection; nothing, if there is none. It may pause if
/// it is a call's.
pub(super) fn follow(
    worker: &Worker,
    time: &Allowed,
    body: &mut RequestBody,
    is_call: bool,
    deadline: &Rc<Deadline>,
) -> Option<Rc<Upload>> {
    if body.is_empty() {
        return None;
    }
    let slowest = worker.config.limits.of(Limit::UploadRate);
    let client = (!is_call).then_some(worker.config.timeouts.upload);
    let pace = Pace { send: time.send, answer: time.attempt, client, slowest, own: time.own_left() };
    let upload = Upload::new(deadline, pace);
    body.report_to(upload.clone());
    Some(upload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sends_too_slowly_is_waited_for_ever_less() {
        let seconds = Duration::from_secs;
        let client = Some(seconds(30));
        let pace = Pace { send: seconds(60), answer: seconds(60), client, slowest: 100, own: None };
        for (bytes, elapsed, left) in
            [(0, 0, 30), (0, 10, 20), (1, 29, 1), (100, 29, 2), (1_000, 35, 5), (10_000, 100, 30), (0, 40, 0)]
        {
            let found = pace.left(bytes, seconds(elapsed)).expect("no call");
            assert_eq!(found.as_secs_f64().round() as u64, left, "{bytes} bytes in {elapsed} s");
        }
    }
}
