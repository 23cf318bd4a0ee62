//! HTTP/2 heads that do not end. Frames of other streams cannot come in between (RFC 9113 section 4.3), so one is late
//! whatever else is under way on its connection.

use std::num::NonZeroU64;
use std::task::Context;

use super::super::client::Client;
use super::super::deadline::Deadline;

/// Of one connection: what its client has begun to send and not ended, and until when it has to.
pub(super) struct LateHead {
    deadline: Deadline,
    unfinished: Option<NonZeroU64>,
}

impl LateHead {
    /// Nothing has come yet.
    pub(super) fn new(client: &Client) -> Self {
        Self { deadline: Deadline::new(&client.worker.deadlines), unfinished: None }
    }

    /// Whether the client has taken too long. To be asked whenever something may have come.
    pub(super) fn is_late(&mut self, client: &Client, cx: &mut Context<'_>) -> bool {
        let unfinished = client.passage.unfinished();
        if unfinished != self.unfinished {
            self.unfinished = unfinished;
            match unfinished {
                Some(_) => self.deadline.set(client.worker.config.head_time()),
                None => self.deadline.clear(),
            }
        }
        client.in_head.set(unfinished.is_some());
        unfinished.is_some() && self.deadline.poll(cx).is_ready()
    }
}
