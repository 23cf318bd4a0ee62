//! The prober's thread and socket. A thread of its own: work on the agent's runtimes never looks like a death.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use lb_common::map::{Member, member, name};
use lb_common::probe::LEN;
use lb_common::row::MemberId;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

use super::look_up::LookUp;
use super::prober::{Cluster, Outgoing, Prober};
use super::sign::{self, Sign};
use super::{Inputs, Outlook};
use crate::l4::pins::Pins;
use crate::model::{PeerState, Peers};

/// Longest time without a look at the inputs and the peers.
const LOOK: Duration = Duration::from_millis(20);

/// Figures are told this often, and at once when a peer comes up or goes down.
const PUBLISH: Duration = Duration::from_millis(100);

/// So many messages are taken at one time: whatever comes in, asks and signs of life go out.
const TAKEN: usize = 1024;

/// An address that cannot be had is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The running thread. Dropped, it has let go of its socket, and asks and answers no more.
#[derive(Debug)]
pub struct Probing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            warn!("the prober ended by a panic");
        }
    }
}

/// Starts it.
///
/// # Errors
/// If the system has no thread left.
pub fn start(cluster: Cluster, inputs: Inputs, outlook: Outlook) -> io::Result<Probing> {
    let stop = Arc::new(AtomicBool::new(false));
    let line = Line {
        prober: Prober::new(cluster, Instant::now()),
        look_up: LookUp::start()?,
        port: cluster.port,
        sign: Sign::new(inputs.pins.clone(), outlook.missed()),
        inputs,
        outlook,
        held: false,
        socket: None,
        refused: None,
    };
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new().name("probes".to_owned()).spawn(move || line.run(&stopped))?;
    Ok(Probing { stop, thread: Some(thread) })
}

/// The thread's state.
struct Line {
    prober: Prober,
    look_up: LookUp,
    port: u16,
    sign: Sign,
    inputs: Inputs,
    outlook: Outlook,
    /// Whether this agent had the packet path when it looked last.
    held: bool,
    /// Open while this agent has the packet path, and there is somebody to ask.
    socket: Option<(SocketAddr, UdpSocket)>,
    /// When an address could not be had.
    refused: Option<Instant>,
}

impl Line {
    fn run(mut self, stop: &AtomicBool) {
        let mut published = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            self.follow();
            self.wait();
            let stuck = self.inputs.beats.stuck();
            let opens = !*self.inputs.yielded.borrow_and_update();
            self.prober.opens(opens);
            let holds = *self.inputs.holds.borrow();
            if holds && !self.held {
                self.sign.begin();
            }
            self.held = holds;
            if stuck.is_none() && holds {
                if opens { self.sign.give() } else { self.sign.withhold() }
            }
            self.receive(stuck.is_none());
            let now = Instant::now();
            let is_news = self.prober.look(now);
            self.ask();
            self.inquire();
            if is_news || now.saturating_duration_since(published) >= PUBLISH {
                published = now;
                self.publish(stuck);
            }
        }
    }

    /// Takes over what changed in the inputs.
    fn follow(&mut self) {
        let now = Instant::now();
        if self.inputs.keys.has_changed().unwrap_or(false) {
            self.prober.go_by(*self.inputs.keys.borrow_and_update());
        }
        if self.inputs.roster.has_changed().unwrap_or(false) {
            let roster = self.inputs.roster.borrow_and_update().clone();
            self.prober.follow(roster.as_ref(), now);
        }
        let address = self.inputs.roster.borrow().as_ref().map(|roster| roster.address);
        let address =
            address.filter(|_| *self.inputs.holds.borrow()).map(|ip| SocketAddr::new(ip, self.port));
        if address == self.socket.as_ref().map(|(bound, _)| *bound) {
            return;
        }
        let has_asked = self.socket.take().is_some();
        let is_early = self.refused.is_some_and(|at| now.saturating_duration_since(at) < RETRY);
        let Some(address) = address.filter(|_| !is_early) else { return };
        match bind(address) {
            Ok(socket) => {
                info!(%address, "probes are asked, and answered by a member");
                (self.socket, self.refused) = (Some((address, socket)), None);
                // Who becomes a member goes on with what it knows as a first hop.
                if !has_asked {
                    let told = told_of_members(&self.inputs.pins);
                    self.prober.begin(|id| state_before(&told, id), now);
                }
            }
            Err(error) => {
                if self.refused.replace(now).is_none() {
                    warn!(%address, %error, "no probes: other members will take this node for dead");
                }
            }
        }
    }

    /// Until something comes in, an ask is due, or it is time for a look.
    fn wait(&self) {
        let Some((_, socket)) = &self.socket else { return thread::sleep(LOOK) };
        let due = self.prober.due().map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = due.map_or(LOOK, |due| due.min(LOOK)).as_micros().div_ceil(1000);
        let timeout = PollTimeout::from(u8::try_from(timeout).unwrap_or(u8::MAX));
        // Interrupted or over: both are a reason to go on.
        let _ = poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], timeout);
    }

    fn receive(&mut self, is_alive: bool) {
        let Some((_, socket)) = &self.socket else { return };
        let said = is_alive.then(|| *self.inputs.said.borrow());
        // A byte more: what is too long is seen to be.
        let mut bytes = [0; LEN + 1];
        for _ in 0..TAKEN {
            match socket.recv_from(&mut bytes) {
                Ok((len, source)) => {
                    let came = (&bytes[..len], source);
                    if let Some(answer) = self.prober.take(came, Instant::now(), said.as_ref()) {
                        send(socket, answer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn ask(&mut self) {
        let Some((_, socket)) = &self.socket else { return };
        let said = *self.inputs.said.borrow();
        for ask in self.prober.asks(Instant::now(), &said) {
            send(socket, ask);
        }
    }

    /// What is asked here of others, and what others asked.
    fn inquire(&mut self) {
        while let Ok(question) = self.inputs.questions.try_recv() {
            let Some((_, socket)) = &self.socket else { continue };
            self.prober.inquire(question, Instant::now()).into_iter().for_each(|ask| send(socket, ask));
        }
        let keys = self.prober.keys();
        self.prober.unanswered().into_iter().for_each(|question| self.look_up.ask(question, keys));
        while let Some(answer) = self.look_up.answer() {
            if let (Some((_, socket)), Some(answer)) = (&self.socket, self.prober.looked_up(&answer)) {
                send(socket, answer);
            }
        }
    }

    /// Who does not ask knows nothing of others.
    fn publish(&self, stuck: Option<String>) {
        let (all, heard) = match self.socket {
            Some(_) => (self.prober.peers(), self.prober.heard()),
            None => Default::default(),
        };
        self.outlook.publish(Peers { all, stuck }, heard, self.socket.is_some());
    }
}

/// What the agent before, which was there a moment ago, told the packet path of members, in each layout.
fn told_of_members(pins: &Pins) -> Vec<Array<MapData, Member>> {
    if !sign::is_there(pins) {
        return Vec::new();
    }
    let maps = pins.map_of_each_layout(name::MEMBERS);
    let opened = maps.iter().filter_map(|pin| MapData::from_pin(pin).ok());
    opened.filter_map(|map| Array::try_from(Map::Array(map)).ok()).collect()
}

/// What the agent before took it for, by what it told the packet path: of several layouts, one has members.
fn state_before(told: &[Array<MapData, Member>], id: MemberId) -> Option<PeerState> {
    let flags = told.iter().filter_map(|members| members.get(&id.into(), 0).ok()).map(|member| member.flags);
    let flags = flags.filter(|flags| flags & member::KNOWN != 0);
    let states = flags.map(|flags| if flags & member::DOWN != 0 { PeerState::Down } else { PeerState::Up });
    // Who is up in one is not dead.
    states.reduce(|one, other| if one == PeerState::Up { one } else { other })
}

/// Others' agents on this node may still have the address, on their way out.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let domain = match address.ip() {
        IpAddr::V4(_) => Domain::IPV4,
        IpAddr::V6(_) => Domain::IPV6,
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What cannot be sent (no route, a full queue) is as lost as what is lost on the way.
fn send(socket: &UdpSocket, (to, bytes): Outgoing) {
    let _ = socket.send_to(&bytes, to);
}
