//! What the packet path hands to its agent because XDP can neither wait nor make two frames of one: parts of datagrams
//! that came before the first one are held (`holder`), packets that are too big are cut (`cut`). Each frame goes back
//! to the packet path as one that comes in (`BPF_PROG_TEST_RUN` with live frames), by a program that hands nothing over
//! again. A thread of its own: its calls into the kernel are no work for the agent's runtimes.

mod cut;
mod holder;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, RingBuf};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::fragment::{Datagram, DatagramKey, Head};
use lb_common::map::{name, program};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::warn;

use self::holder::{Early, Holder};
use super::attach::typed;
use super::pins::{Pins, pin_error, remove_pin};
use super::{L4Error, clock, maps, trial};

/// Longest time without a look at whether to stop.
const LOOK: Duration = Duration::from_millis(200);

/// Entries of the ring that are taken before those that wait are looked at.
const AT_ONCE: usize = 64;

/// The running thread. Dropped, it ends soon. Nobody waits for that: what is dropped with it makes room for the next
/// agent, or ends with connections that are to be served to the last moment.
#[derive(Debug)]
pub(super) struct Fragments {
    stop: Arc<AtomicBool>,
    captured: Captured,
}

/// Takes frames in the place of the ordinary program while somebody captures.
type Captured = Arc<Mutex<Option<Xdp>>>;

impl Fragments {
    /// Gives frames by a capture's program from now on, which tells of them.
    pub(super) fn begin_capture(&self, object: &mut Ebpf, pins: &Pins) -> Result<(), L4Error> {
        let program = own_program(object, program::CAPTURE_GIVEN, pins)?;
        *self.captured.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
        Ok(())
    }

    /// Gives them by the ordinary program again.
    pub(super) fn end_capture(&self) {
        *self.captured.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Fragments {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts it for a loaded object, whose ring it takes.
///
/// # Errors
/// `L4Error` if the object lacks something, or the system has no thread left.
pub(super) fn start(object: &mut Ebpf, pins: &Pins) -> Result<Fragments, L4Error> {
    let (stop, captured) = (Arc::new(AtomicBool::new(false)), Captured::default());
    let given: &mut Xdp = typed(object, program::GIVEN)?;
    given.load().map_err(L4Error::program(program::GIVEN))?;
    let line = Line {
        ring: maps::take(object, name::RING)?,
        datagrams: maps::take(object, name::DATAGRAMS)?,
        given: own_program(object, program::GIVEN, pins)?,
        captured: Arc::clone(&captured),
        holder: Holder::default(),
        is_refused: false,
    };
    let stopped = Arc::clone(&stop);
    let action = "start a thread for fragments";
    let thread = thread::Builder::new().name("fragments".to_owned()).spawn(move || line.run(&stopped));
    thread.map_err(|source| L4Error::System { action, source })?;
    Ok(Fragments { stop, captured })
}

/// A loaded program in a handle of its own: aya gives one to who opens a pin, which need not stay.
fn own_program(object: &mut Ebpf, name: &'static str, pins: &Pins) -> Result<Xdp, L4Error> {
    let pin = pins.given();
    remove_pin(&pin)?;
    let program: &mut Xdp = typed(object, name)?;
    program.pin(&pin).map_err(|error| pin_error(&pin)(io::Error::other(error)))?;
    let own = Xdp::from_pin(&pin, XdpAttachType::Interface).map_err(L4Error::program(name));
    remove_pin(&pin)?;
    own
}

/// The thread's state.
struct Line {
    ring: RingBuf<MapData>,
    datagrams: HashMap<MapData, DatagramKey, Datagram>,
    given: Xdp,
    captured: Captured,
    holder: Holder,
    /// Whether the kernel has refused a frame.
    is_refused: bool,
}

impl Line {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            for _ in 0..AT_ONCE {
                let Some(entry) = self.ring.next() else { break };
                let Some((head, frame)) = Head::read(&entry) else { continue };
                let (head, frame) = (head, frame.to_vec());
                drop(entry);
                self.take(&head, frame);
            }
            let now = clock::now();
            let datagrams = &self.datagrams;
            let knows = |key: &DatagramKey| {
                datagrams.get(key, 0).is_ok_and(|found| found.ports(now.as_nanos() as u64).is_some())
            };
            for early in self.holder.ready(now, knows) {
                self.give(early.interface, &early.frame);
            }
        }
    }

    /// Until something is handed over, or those that wait are to be looked at.
    fn wait(&self) {
        let due = self.holder.due().map_or(LOOK, |due| due.saturating_sub(clock::now()).min(LOOK));
        let timeout = u8::try_from(due.as_micros().div_ceil(1000)).unwrap_or(u8::MAX);
        // Interrupted or over: both are a reason to go on.
        let _ = poll(&mut [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)], PollTimeout::from(timeout));
    }

    fn take(&mut self, head: &Head, frame: Vec<u8>) {
        if head.room == 0 {
            let early = Early { datagram: head.datagram, interface: head.interface, frame };
            for gives_way in self.holder.hold(early, clock::now()) {
                self.give(gives_way.interface, &gives_way.frame);
            }
            return;
        }
        let Some((link, packet)) = frame.split_at_checked(head.start.into()) else { return };
        for part in cut::cut(packet, head.room.into()).unwrap_or_default() {
            self.give(head.interface, &[link, &part].concat());
        }
    }

    /// Gives a frame to the packet path as if it came in.
    fn give(&mut self, interface: u32, frame: &[u8]) {
        let context = trial::context(frame.len(), interface);
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            attrs: TestRunAttrs::new().xdp_live_frames(1),
            ..TestRunOptions::default()
        };
        let captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let result = captured.as_ref().unwrap_or(&self.given).test_run(options);
        drop(captured);
        match result {
            Ok(_) => {}
            Err(error) if !self.is_refused => self.tell(&error),
            Err(_) => {}
        }
    }

    /// Once: no line for each packet.
    fn tell(&mut self, error: &ProgramError) {
        self.is_refused = true;
        warn!(%error, "the kernel does not take a fragment back: such packets are lost");
    }
}
