//! A capture: while it lasts, the interfaces run the program that tells what it does with the packets of a filter. It
//! shares all maps that decide and count with the ordinary one, and takes its place in the links and gives it back in one
//! step each: no packet meets no program.

mod filter;
mod record;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use lb_common::capture::{Filter, Slot};
use lb_common::map::name;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use self::record::Reader;
use super::attach::Attachment;
use super::maps::take;
use super::pins::Pins;
use super::{L4Error, clock, loader};
use crate::model::{CaptureFilter, Captured};

/// Packets on their way to who asked. Behind them the ring buffer fills, and what finds no room there is counted.
const QUEUE: usize = 256;

/// How soon it is noticed that nobody listens any more, milliseconds.
const TICK: u8 = 50;

/// Somebody who wants to see packets.
#[derive(Debug)]
pub struct Order {
    /// Which.
    pub filter: CaptureFilter,
    /// Answered when the interfaces tell of them.
    pub answer: oneshot::Sender<Result<Capture, L4Error>>,
}

/// A capture under way. It ends when nobody receives packets any more.
#[derive(Debug)]
pub struct Capture {
    /// What was captured.
    pub packets: mpsc::Receiver<Captured>,
    /// Packets that there was no room for. When its sender is gone it is final, and the ordinary program is back.
    pub lost: watch::Receiver<u64>,
}

/// What comes next in a session.
pub(super) enum Event {
    /// The kernel has looked at the program, which takes a moment.
    Loaded(Box<Result<Ebpf, L4Error>>, Order),
    /// Nobody listens any more.
    Over,
}

/// Where events are told.
pub(super) type Events = mpsc::UnboundedSender<Event>;

/// One order from its taking to its end.
pub(super) enum Session {
    /// The program is loaded.
    Loading,
    /// The interfaces run it.
    Running(Box<Running>),
}

/// A capture that runs.
pub(super) struct Running {
    is_over: Arc<AtomicBool>,
    lost: watch::Sender<u64>,
    slots: PerCpuArray<MapData, Slot>,
    /// Programs live as long as this or the links that run them.
    _object: Ebpf,
}

impl Session {
    /// Takes an order.
    pub(super) fn begin(order: Order, pins: &Pins, events: Events) -> Self {
        let pins = pins.clone();
        let filter = filter::packed(&order.filter);
        tokio::spawn(async move {
            // Not on the thread that answers probes.
            let loaded = spawn_blocking(move || load(&pins, filter)).await;
            let loaded = loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            // Without a packet path nobody is there, and the order is given back unanswered.
            let _ = events.send(Event::Loaded(Box::new(loaded), order));
        });
        Self::Loading
    }
}

fn load(pins: &Pins, filter: Filter) -> Result<Ebpf, L4Error> {
    let mut object = loader::load_capturing(pins)?;
    let mut map: Array<_, Filter> = take(&mut object, name::CAPTURE)?;
    map.set(0, filter, 0).map_err(L4Error::map(name::CAPTURE))?;
    Ok(object)
}

impl Running {
    /// Reads what the program tells, for who gets the capture.
    pub(super) fn start(
        mut object: Ebpf,
        attachments: &[Attachment],
        events: Events,
    ) -> Result<(Self, Capture), L4Error> {
        let ring: RingBuf<MapData> = take(&mut object, name::CAPTURED)?;
        let slots = take(&mut object, name::CAPTURE_SLOT)?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let named = |found: &Attachment| (found.index, found.interface.clone());
        let interfaces: BTreeMap<_, _> = attachments.iter().map(named).collect();
        let reader = Reader { interfaces, offset: since_1970.saturating_sub(clock::now()) };
        let (packets, receiver) = mpsc::channel(QUEUE);
        let (lost, known) = watch::channel(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&is_over);
        spawn_blocking(move || {
            read(ring, &reader, &packets, &flag);
            let _ = events.send(Event::Over);
        });
        let running = Self { is_over, lost, slots, _object: object };
        Ok((running, Capture { packets: receiver, lost: known }))
    }

    /// Ends it, once the ordinary program is back.
    pub(super) fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        match self.slots.get(&0, 0) {
            Ok(slots) => {
                self.lost.send_replace(slots.iter().map(|slot| slot.lost).sum());
            }
            Err(error) => warn!(%error, "what a capture lost is not known"),
        }
    }
}

/// Hands packets on, as fast as they are taken, on a thread of its own.
fn read(mut ring: RingBuf<MapData>, reader: &Reader, packets: &mpsc::Sender<Captured>, is_over: &AtomicBool) {
    while !packets.is_closed() && !is_over.load(Ordering::Relaxed) {
        let waited = poll(&mut [PollFd::new(ring.as_fd(), PollFlags::POLLIN)], PollTimeout::from(TICK));
        if let Err(error) = waited
            && error != Errno::EINTR
        {
            return warn!(%error, "captured packets cannot be read");
        }
        while let Some(captured) = next(&mut ring, reader) {
            if packets.blocking_send(captured).is_err() {
                return;
            }
        }
    }
}

fn next(ring: &mut RingBuf<MapData>, reader: &Reader) -> Option<Captured> {
    loop {
        let record = ring.next()?;
        match reader.read(&record) {
            Some(captured) => return Some(captured),
            None => debug!(bytes = record.len(), "no record of a packet"),
        }
    }
}
