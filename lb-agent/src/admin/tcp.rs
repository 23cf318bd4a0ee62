//! An address of the node on which operators ask: of its agents, the one that has the packet path answers there.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::sleep;
use tracing::{info, warn};

use super::endpoints::Scope;
use super::server::{Listening, State, accept};
use super::{AdminError, Live};
use crate::model::Turn;

/// How often an address is tried that somebody else has.
const RETRY: Duration = Duration::from_millis(200);

/// The address, and its socket while it is ours.
#[derive(Debug)]
pub(super) struct Place {
    address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Place {
    /// Listens. One that may wait does without at first, where somebody else has the address.
    pub(super) async fn bind(address: SocketAddr, may_wait: bool) -> Result<Self, AdminError> {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                // The kernel's choice for port 0 is what it comes back to.
                let address = listener.local_addr().unwrap_or(address);
                info!(%address, "admin listens");
                Ok(Self { address, listener: Some(listener) })
            }
            Err(error) if may_wait && error.kind() == ErrorKind::AddrInUse => {
                info!(%address, "in use, by the agent before probably: tried again");
                Ok(Self { address, listener: None })
            }
            Err(source) => Err(AdminError::Listen { address, source }),
        }
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub(super) fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until this agent hands over, and again if it takes back; what is connected then is cut.
    pub(super) async fn run(mut self, scope: Scope, state: &Arc<State>) -> Infallible {
        loop {
            let listener = match self.listener.take() {
                Some(listener) => listener,
                None => {
                    comes(&state.live, Turn::Holding).await;
                    self.listen().await
                }
            };
            tokio::select! {
                never = accept(Listening::Tcp(listener), scope, state) => match never {},
                () = comes(&state.live, Turn::After) => info!(address = %self.address, "left to the next agent"),
            }
        }
    }

    async fn listen(&self) -> TcpListener {
        let address = self.address;
        let mut told = None;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    info!(%address, "admin listens");
                    return listener;
                }
                Err(error) if told.replace(error.kind()) == Some(error.kind()) => {}
                Err(error) => warn!(%address, %error, "nobody can ask here yet"),
            }
            sleep(RETRY).await;
        }
    }
}

/// Waits for this agent's turn, or for its end.
async fn comes(live: &Live, turn: Turn) {
    if live.turn.clone().wait_for(|now| *now == turn).await.is_err() {
        // Nothing will change any more.
        std::future::pending().await
    }
}
