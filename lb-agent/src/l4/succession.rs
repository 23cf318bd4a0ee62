//! Who has the node's packet path: this process, an agent before it, or one after it. Only who has the pins writes
//! maps; listening sockets go from one to the next, connections that a process has accepted stay with it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::handover::{self, Door, Predecessor, Successor};
use super::{Datapath, L4Error, Options};

/// How often the pins are tried while another agent has them and does not answer.
const RETRY: Duration = Duration::from_millis(200);

/// How often it is tried to take the packet path back.
const RETRY_TO_LOAD: Duration = Duration::from_secs(1);

/// This process's turn among the agents of the node.
#[derive(Debug)]
pub struct Succession {
    options: Options,
    socket: PathBuf,
    may_take_over: bool,
    /// Open while this process has the pins.
    door: Option<Door>,
    /// Of several that follow at one time, one may come between: each that has handed over to this process waits for
    /// its end, and has sockets in which connections wait.
    before: Vec<Predecessor>,
    /// Whether connections are accepted while this process loads: by an agent that it has met, or by itself.
    is_served: bool,
    holds: watch::Sender<bool>,
}

impl Succession {
    /// Agents of one node meet at the unix socket `socket`. One that may take over asks the agent before it for
    /// the pins, where others refuse to start.
    #[must_use]
    pub fn new(options: Options, socket: PathBuf, may_take_over: bool) -> Self {
        Self {
            options,
            socket,
            may_take_over,
            door: None,
            before: Vec::new(),
            is_served: false,
            holds: watch::Sender::default(),
        }
    }

    /// Whether this process has the packet path: from the moment at which the agent before it lets go, before it has
    /// loaded anything, until the moment at which it lets go itself. What goes on through a change of agents goes
    /// by this.
    #[must_use]
    pub fn holds(&self) -> watch::Receiver<bool> {
        self.holds.subscribe()
    }

    /// Starts the packet path, if no other agent has it. `None` if one has, and is to be asked for it.
    ///
    /// # Errors
    /// Those of `Datapath::claim` and `Datapath::start`; `L4Error::HandOver` if the socket cannot be had.
    pub async fn begin(&mut self) -> Result<Option<Datapath>, L4Error> {
        let lock = match Datapath::claim(&self.options).await {
            Ok(lock) => lock,
            Err(L4Error::PinsInUse { .. }) if self.may_take_over => {
                // That one gives this node's signs of life, whoever handed over to us.
                self.holds.send_replace(false);
                self.is_served = true;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if self.is_served {
            // Nobody else gives them while programs are loaded.
            self.holds.send_replace(true);
        }
        let path = Datapath::start(self.options.clone(), lock).await?;
        self.door = Some(Door::open(&self.socket)?);
        self.holds.send_replace(true);
        Ok(Some(path))
    }

    /// Takes the packet path over from the agent that has it, however long that takes.
    ///
    /// # Errors
    /// As `begin`. What the agent before had attached works on, and it takes back.
    pub async fn take_over(&mut self) -> Result<Datapath, L4Error> {
        loop {
            if let Some(path) = self.begin().await? {
                return Ok(path);
            }
            match handover::ask(&self.socket).await {
                Ok(before) => {
                    info!("the agent before has handed over");
                    self.before.push(before);
                    self.holds.send_replace(true);
                }
                Err(error) => {
                    debug!(%error, "the agent before does not hand over yet");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// The listening sockets of the agents before; none if there were none.
    pub fn inherited(&mut self) -> Vec<TcpListener> {
        self.before.iter_mut().flat_map(|before| std::mem::take(&mut before.sockets)).collect()
    }

    /// Waits for an agent that asks for the packet path: for ever, if this process has not got it.
    pub async fn successor(&self) -> Successor {
        match &self.door {
            Some(door) => door.successor().await,
            None => std::future::pending().await,
        }
    }

    /// Leaves the packet path and the listening sockets to the next agent; its `Datapath` must have been dropped.
    /// Returns when that agent is gone: with the packet path, if no other agent has it by then. While it cannot be had (an
    /// interface that is gone just now, no memory), it is tried again: this process still has connections, which would end
    /// with it.
    pub async fn leave_to(&mut self, successor: Successor, sockets: &[&TcpListener]) -> Option<Datapath> {
        self.door = None;
        self.holds.send_replace(false);
        info!("handed over to the next agent, with the listening sockets");
        successor.outlive(sockets).await;
        (self.may_take_over, self.is_served) = (true, true);
        let path = loop {
            match self.begin().await {
                Ok(path) => break path,
                Err(error) => {
                    warn!(%error, "the next agent is gone, and the packet path cannot be taken back yet")
                }
            }
            // Nobody follows the members: others are to open this node's flows.
            self.holds.send_replace(false);
            sleep(RETRY_TO_LOAD).await;
        };
        match &path {
            Some(_) => info!("the next agent is gone: taken back"),
            None => info!("the next agent has handed over in its turn"),
        }
        path
    }
}
