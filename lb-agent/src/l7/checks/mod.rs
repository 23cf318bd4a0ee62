//! Health checks: each endpoint is asked once a node, whichever workers and routes send requests to it, by a thread that
//! is only there where somebody wants checks. What comes of it, workers read from an atomic.

mod probe;
mod run;
mod verdict;
mod watch;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use foldhash::fast::RandomState;
use tokio::sync::mpsc;

use super::secured::Secured;
use crate::metrics::CheckMetrics;
use crate::model::{Backend, BackendId, BackendProtocol, CheckResult, CheckState, HealthCheck};
pub(super) use watch::{Health, Watch};

/// What is asked of whom, in which way: the same one is asked once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Subject {
    address: SocketAddr,
    protocol: BackendProtocol,
    check: Arc<HealthCheck>,
}

/// An endpoint that is asked, as long as anybody holds this.
#[derive(Debug)]
pub(super) struct Checked {
    subject: Subject,
    is_failing: AtomicBool,
    /// What came of the last check: its place among the labels from 1, and above eight bits a status.
    last: AtomicU32,
    metrics: CheckMetrics,
}

impl Checked {
    /// What is known of it.
    fn state(&self) -> CheckState {
        let last = self.last.load(Ordering::Relaxed);
        let status = u16::try_from(last >> 8).unwrap_or_default();
        let all = [
            CheckResult::Passed,
            CheckResult::Connect,
            CheckResult::Broken,
            CheckResult::Status(status),
            CheckResult::TimeOut,
        ];
        let place = (last & 0xff).checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let last = place.and_then(|place| all.get(place).copied()).unwrap_or_default();
        CheckState { is_failing: self.is_failing.load(Ordering::Relaxed), last }
    }

    /// A check came to this result, and leaves the endpoint failing or not.
    fn note(&self, result: CheckResult, is_failing: bool) {
        let place = result.place().and_then(|place| u32::try_from(place + 1).ok()).unwrap_or_default();
        let status = if let CheckResult::Status(status) = result { status } else { 0 };
        self.last.store(place | u32::from(status) << 8, Ordering::Relaxed);
        self.metrics.checked(result);
        if self.is_failing.swap(is_failing, Ordering::Relaxed) != is_failing {
            self.metrics.failing.inc_by(if is_failing { 1 } else { -1 });
        }
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.metrics.failing.dec();
        }
    }
}

/// The endpoints of one backend, in its order.
#[derive(Debug)]
pub(super) struct Group {
    backend: BackendId,
    members: Box<[Arc<Checked>]>,
    /// Whether so many fail that all get requests: most likely it is not they who are at fault, and if it is, the few
    /// others could not bear it.
    panics: AtomicBool,
    metrics: CheckMetrics,
}

impl Group {
    /// Whether the endpoint at this place is to get no requests.
    fn is_out(&self, place: usize) -> bool {
        self.is_failing(place) && !self.panics.load(Ordering::Relaxed)
    }

    fn is_failing(&self, place: usize) -> bool {
        self.members[place].is_failing.load(Ordering::Relaxed)
    }

    /// Looks at all of them again.
    fn judge(&self) {
        let failing = self.members.iter().filter(|member| member.is_failing.load(Ordering::Relaxed)).count();
        let panics = failing * 2 > self.members.len();
        if self.panics.swap(panics, Ordering::Relaxed) == panics {
            return;
        }
        let (backend, of) = (&self.backend, self.members.len());
        if panics {
            self.metrics.panicking.inc();
            tracing::warn!(%backend, failing, of, "most endpoints fail their checks: all get requests");
        } else {
            self.metrics.panicking.dec();
            tracing::info!(%backend, failing, of, "endpoints that fail their checks get no requests again");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.panics.load(Ordering::Relaxed) {
            self.metrics.panicking.dec();
        }
    }
}

/// All that is checked; a clone knows the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Register(Arc<Mutex<Registered>>);

#[derive(Debug, Default)]
struct Registered {
    subjects: HashMap<Subject, Weak<Checked>, RandomState>,
    groups: Vec<Weak<Group>>,
}

impl Register {
    /// What is known of an endpoint; of several checks, what the worst says.
    pub(super) fn state(&self, address: SocketAddr) -> Option<CheckState> {
        let all = self.lock();
        let checked = all.subjects.values().filter_map(Weak::upgrade);
        let of_it = checked.filter(|checked| checked.subject.address == address);
        of_it.map(|checked| checked.state()).max_by_key(|state| state.is_failing)
    }

    /// An endpoint fails now, or does so no more.
    fn changed(&self, checked: &Arc<Checked>) {
        let groups: Vec<_> = self.lock().groups.iter().filter_map(Weak::upgrade).collect();
        let has_it = |group: &&Arc<Group>| group.members.iter().any(|member| Arc::ptr_eq(member, checked));
        groups.iter().filter(has_it).for_each(|group| group.judge());
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has endpoints checked, from the first one on that is to be.
pub(super) struct Checks {
    register: Register,
    secured: Secured,
    metrics: CheckMetrics,
    thread: Option<Thread>,
}

struct Thread {
    new: mpsc::UnboundedSender<Weak<Checked>>,
    handle: JoinHandle<()>,
}

impl Checks {
    /// Nobody is checked yet.
    pub(super) fn new(secured: Secured, metrics: CheckMetrics) -> Self {
        Self { register: Register::default(), secured, metrics, thread: None }
    }

    /// What is checked.
    pub(super) fn register(&self) -> &Register {
        &self.register
    }

    /// The endpoints of a backend, which are checked from now on; `None` if it wants no checks.
    pub(super) fn group(&mut self, backend: &Backend) -> Option<Arc<Group>> {
        let check = backend.treatment.check.as_ref()?;
        let addresses = backend.endpoints.as_deref().ok()?;
        let subject =
            |&address| Subject { address, protocol: backend.protocol.clone(), check: check.clone() };
        let (members, new) = self.members(addresses.iter().map(subject));
        let metrics = self.metrics.clone();
        let group = Group { backend: backend.id.clone(), members, panics: AtomicBool::new(false), metrics };
        let group = Arc::new(group);
        self.register.lock().groups.push(Arc::downgrade(&group));
        group.judge();
        self.check(new);
        Some(group)
    }

    /// Forgets what nobody uses any more.
    pub(super) fn forget_unused(&mut self) {
        let mut all = self.register.lock();
        all.subjects.retain(|_, checked| checked.strong_count() > 0);
        all.groups.retain(|group| group.strong_count() > 0);
    }

    /// Those, and which of them are new.
    fn members(&self, subjects: impl Iterator<Item = Subject>) -> (Box<[Arc<Checked>]>, Vec<Weak<Checked>>) {
        let (mut all, mut new) = (self.register.lock(), Vec::new());
        let member = |subject: Subject| {
            if let Some(known) = all.subjects.get(&subject).and_then(Weak::upgrade) {
                return known;
            }
            let (is_failing, last, metrics) =
                (AtomicBool::new(false), AtomicU32::new(0), self.metrics.clone());
            let made = Arc::new(Checked { subject: subject.clone(), is_failing, last, metrics });
            all.subjects.insert(subject, Arc::downgrade(&made));
            new.push(Arc::downgrade(&made));
            made
        };
        (subjects.map(member).collect(), new)
    }

    fn check(&mut self, new: Vec<Weak<Checked>>) {
        let thread = match self.thread.take() {
            Some(thread) => Ok(thread),
            None => run::start(self.register.clone(), self.secured.clone()),
        };
        match thread {
            Ok(thread) => {
                // A thread that is gone has told why.
                new.into_iter().for_each(|checked| _ = thread.new.send(checked));
                self.thread = Some(thread);
            }
            Err(error) => tracing::error!(%error, "endpoints are not checked: all get requests"),
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        if let Some(Thread { new, handle }) = self.thread.take() {
            drop(new);
            if handle.join().is_err() {
                tracing::error!("the thread of health checks ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests;
