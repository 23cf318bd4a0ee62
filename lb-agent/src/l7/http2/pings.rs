//! Whether a client is still there: it is asked when nothing has come from it for a while.

use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};

use super::super::client::Client;
use super::super::deadline::Deadline;

/// After so long it is asked,
const QUIET: Duration = Duration::from_secs(30);

/// and then has so long to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Those of one connection.
pub(super) struct Pings {
    pings: Option<PingPong>,
    is_asked: bool,
    deadline: Deadline,
}

impl Pings {
    /// Of a connection that has just begun, and gives them out for the first time.
    pub(super) fn new(client: &Client, pings: Option<PingPong>) -> Self {
        let deadline = Deadline::new(&client.worker.deadlines);
        deadline.set(QUIET);
        Self { pings, is_asked: false, deadline }
    }

    /// Ready when the client has not answered. To be asked before the connection gets on with its work, which is to send
    /// the question.
    pub(super) fn poll(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        loop {
            if self.is_asked && pings.poll_pong(cx).is_ready() {
                self.is_asked = false;
                // The answer says nothing of what comes after it.
                client.passage.has_received();
                self.deadline.set(QUIET);
            }
            if self.deadline.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.is_asked {
                return Poll::Ready(());
            }
            // Whoever sends is there.
            self.is_asked = !client.passage.has_received() && pings.send_ping(Ping::opaque()).is_ok();
            self.deadline.set(if self.is_asked { PATIENCE } else { QUIET });
        }
    }
}
