//! Questions among members about one flow, those of this node and those of others. No socket here, and no clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lb_common::probe::Inquiry;
use lb_common::row::MemberId;
use tokio::sync::mpsc::UnboundedSender;

use crate::model::Holder;

/// Who has not answered by then does not.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Questions of others that are answered in a second: each has the kernel list its connections.
const MOST: u32 = 20;

/// What somebody at this node wants to know: which member has a connection.
#[derive(Debug)]
pub struct Question {
    /// The client's end.
    pub client: SocketAddr,
    /// The VIP's.
    pub vip: SocketAddr,
    /// Takes each member's answer as it comes; closed when no more will come.
    pub answers: UnboundedSender<Holder>,
}

/// What is open.
#[derive(Debug)]
pub(super) struct Inquiries {
    asked: BTreeMap<u64, Asked>,
    /// Questions of others, to be looked up.
    taken: Vec<Inquiry>,
    /// When this second of answers began, and how many there were.
    second: (Instant, u32),
}

#[derive(Debug)]
struct Asked {
    to: MemberId,
    name: String,
    flow: u64,
    until: Instant,
    answers: UnboundedSender<Holder>,
}

impl Inquiries {
    pub(super) fn new(now: Instant) -> Self {
        Self { asked: BTreeMap::new(), taken: Vec::new(), second: (now, 0) }
    }

    /// A member is asked.
    pub(super) fn asked(
        &mut self,
        inquiry: &Inquiry,
        name: &str,
        answers: UnboundedSender<Holder>,
        now: Instant,
    ) {
        let Inquiry { to, flow, .. } = *inquiry;
        let asked = Asked { to, name: name.to_owned(), flow, until: now + PATIENCE, answers };
        self.asked.insert(inquiry.sequence, asked);
    }

    /// One of a member came in. An answer counts once, and to what was asked of that member alone; what is asked too
    /// often is not heard.
    pub(super) fn take(&mut self, inquiry: Inquiry, now: Instant) {
        let Some(has_connection) = inquiry.has else {
            if self.may_answer(now) {
                self.taken.push(inquiry);
            }
            return;
        };
        let is_it = |asked: &Asked| asked.to == inquiry.from && asked.flow == inquiry.flow;
        if !self.asked.get(&inquiry.sequence).is_some_and(is_it) {
            return;
        }
        if let Some(Asked { name, to: id, answers, .. }) = self.asked.remove(&inquiry.sequence) {
            // Who asked may be gone.
            let _ = answers.send(Holder { name, id, has_connection: Some(has_connection) });
        }
    }

    /// What others ask, to be looked up.
    pub(super) fn unanswered(&mut self) -> Vec<Inquiry> {
        std::mem::take(&mut self.taken)
    }

    /// Time has passed: who was silent has no answer.
    pub(super) fn look(&mut self, now: Instant) {
        let late = self.asked.extract_if(.., |_, asked| asked.until <= now);
        for (_, Asked { name, to: id, answers, .. }) in late {
            let _ = answers.send(Holder { name, id, has_connection: None });
        }
    }

    fn may_answer(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
        self.second.1 <= MOST
    }
}
