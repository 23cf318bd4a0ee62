//! One check for all tables of cases: the kernel and the host do the same, and it is what is expected.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use lb_agent::l4::wanted::Wanted;
use lb_common::capture::Filter;
use lb_common::fragment::Head;
use lb_common::hash::Tuple;
use lb_common::verdict::Verdict;
use lb_ebpf::{Action, Socket};
use lb_tests::fixture::{self, Outer};
use lb_tests::host::Host;
use lb_tests::kernel::{Kernel, Outcome};

use crate::capture;

/// Loaded once, and used by one test after the other: to verify the programs takes a second.
static IDLE: Mutex<Vec<Kernel>> = Mutex::new(Vec::new());

/// The packet path in the kernel and on the host with the same state.
pub(crate) struct Both {
    kernel: Lent,
    host: Host,
    is_captured: bool,
    /// What the kernel handed over for the packets that were captured, too.
    handed: Vec<(Head, Vec<u8>)>,
}

/// Given back where no test failed with it.
struct Lent(Option<Kernel>);

impl Lent {
    fn with(wanted: &Wanted) -> Self {
        let idle = IDLE.lock().expect("nobody panics with it").pop();
        let kernel = match idle {
            Some(mut kernel) => kernel.renew(wanted).map(|()| kernel),
            None => Kernel::with(wanted),
        };
        Self(Some(kernel.expect("the program loads: these tests need CAP_BPF")))
    }
}

impl Deref for Lent {
    type Target = Kernel;

    fn deref(&self) -> &Kernel {
        self.0.as_ref().expect("it is lent until it is dropped")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Kernel {
        self.0.as_mut().expect("it is lent until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            IDLE.lock().expect("nobody panics with it").extend(self.0.take());
        }
    }
}

/// How a program that captures is run.
type Run = fn(&mut Kernel, &[u8]) -> anyhow::Result<Outcome>;

impl Both {
    /// With the fixture's state.
    pub(crate) fn fixture(outer: Outer) -> Self {
        Self::with(&fixture::wanted(outer))
    }

    pub(crate) fn with(wanted: &Wanted) -> Self {
        Self { kernel: Lent::with(wanted), host: Host::with(wanted), is_captured: false, handed: Vec::new() }
    }

    /// Brings both to another state: by the agent's plan, and with no sockets.
    pub(crate) fn set(&mut self, wanted: &Wanted) {
        self.kernel.set(wanted).expect("the maps can be written");
        self.host = Host::with(wanted);
    }

    /// From now on, what the host has for a flow; the kernel knows its sockets.
    pub(crate) fn host_has(&mut self, flow: Tuple, socket: Socket) {
        self.host.has(flow, socket);
    }

    /// From now on this node's agent gives no sign of life.
    pub(crate) fn silence_agent(&mut self) {
        self.host.silence_agent();
        // Long ago, but not never.
        self.kernel.set_beat(1).expect("the map is there");
    }

    /// From now on, the program that captures is given each packet, too: it does the same, and tells the verdict.
    pub(crate) fn capture(&mut self) {
        let filter = Filter { verdicts: u64::MAX, count: u64::MAX, sample: 1, snap: 64, ..Filter::default() };
        self.kernel.set_filter(filter).expect("the filter can be set");
        self.is_captured = true;
    }

    /// What both do to a packet; it is the same, and counted once.
    pub(crate) fn run(&mut self, name: &str, frame: &[u8]) -> Outcome {
        self.kernel.forget_limits().expect("limits can be written");
        let outcome = self.kernel.run(frame).expect(name);
        assert_eq!(self.host.run(frame), outcome, "{name}: host (left) and kernel (right)");
        assert_eq!(outcome.verdicts.len(), 1, "{name}: counted once: {:?}", outcome.verdicts);
        if self.is_captured {
            self.is_told(name, frame, &outcome, Kernel::run_capturing);
        }
        outcome
    }

    fn is_told(&mut self, name: &str, frame: &[u8], outcome: &Outcome, run: Run) {
        self.kernel.forget_limits().expect("limits can be written");
        let handed = self.kernel.handed().expect("the ring can be read");
        assert_eq!(run(&mut self.kernel, frame).expect(name), *outcome, "{name}: while it is captured");
        let told = self.kernel.records().expect("records can be read");
        let verdicts: Vec<_> = told.iter().map(|record| capture::verdict(record)).collect();
        assert_eq!(verdicts, [outcome.verdicts[0].counter()], "{name}: told");
        // It hands over the same.
        assert_eq!(self.kernel.handed().expect("the ring can be read"), handed, "{name}: handed over");
        self.handed.extend(handed);
    }

    /// What both do to a packet that the agent gives back.
    pub(crate) fn run_given(&mut self, name: &str, frame: &[u8]) -> Outcome {
        let outcome = self.kernel.run_given(frame).expect(name);
        assert_eq!(self.host.run_given(frame), outcome, "{name}: host (left) and kernel (right)");
        if self.is_captured {
            self.is_told(name, frame, &outcome, Kernel::run_given_capturing);
        }
        outcome
    }

    /// What the agent was handed since this was last asked; both hand over the same.
    pub(crate) fn handed(&mut self) -> Vec<(Head, Vec<u8>)> {
        let mut handed = std::mem::take(&mut self.handed);
        handed.extend(self.kernel.handed().expect("the ring can be read"));
        let heads: Vec<Head> = handed.iter().map(|(head, _)| *head).collect();
        assert_eq!(self.host.handed(), heads, "host (left) and kernel (right)");
        handed
    }

    /// The packet is left as it was.
    pub(crate) fn passes(&mut self, name: &str, frame: &[u8], verdict: Verdict) {
        let outcome = self.run(name, frame);
        assert_eq!((outcome.verdicts[0], outcome.action), (verdict, Action::Pass), "{name}");
        assert_eq!(outcome.frame, frame, "{name}: unchanged");
    }

    /// The packet is lost for a reason that is counted.
    pub(crate) fn drops(&mut self, name: &str, frame: &[u8], reason: impl Into<Verdict>) {
        let outcome = self.run(name, frame);
        assert_eq!((outcome.verdicts[0], outcome.action), (reason.into(), Action::Drop), "{name}");
    }
}
