//! Looks up the flows that others ask for. In a thread of its own: the kernel takes milliseconds to list thousands of
//! connections, and no probe waits for that.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use lb_common::hash::{Tuple, flow_hash};
use lb_common::probe::Inquiry;
use tracing::debug;

use crate::l4::holdings::tuple;
use crate::l4::keys::Keys;
use crate::l4::sockets;

/// Where questions go in, and come out with their answers. The thread ends when nobody asks any more.
pub(super) struct LookUp {
    questions: Sender<(Inquiry, Keys)>,
    answers: Receiver<Inquiry>,
}

impl LookUp {
    pub(super) fn start() -> io::Result<Self> {
        let ((questions, asked), (answered, answers)) = (channel(), channel());
        let thread = thread::Builder::new().name("inquiries".to_owned());
        thread.spawn(move || answer(&asked, &answered))?;
        Ok(Self { questions, answers })
    }

    /// Has a flow looked up by these keys.
    pub(super) fn ask(&self, question: Inquiry, keys: Keys) {
        let is_asked = self.questions.send((question, keys)).is_ok();
        debug!(is_asked, "a member asks for a flow");
    }

    /// The next answer, if one is there.
    pub(super) fn answer(&self) -> Option<Inquiry> {
        self.answers.try_recv().ok()
    }
}

/// What the kernel does not tell is not answered.
fn answer(questions: &Receiver<(Inquiry, Keys)>, answers: &Sender<Inquiry>) {
    for (question, keys) in questions {
        let Ok(connections) = sockets::connections() else { continue };
        let mut flows = connections.iter().filter_map(|found| tuple(found.remote, found.local));
        let has = flows.any(|tuple| is_it(&tuple, &question, &keys));
        if answers.send(Inquiry { has: Some(has), ..question }).is_err() {
            return;
        }
    }
}

/// Whether a flow is the one that is meant: who asks may go by another key.
fn is_it(flow: &Tuple, question: &Inquiry, keys: &Keys) -> bool {
    keys.all().any(|key| flow_hash(key, flow) == question.flow)
}

#[cfg(test)]
mod tests {
    use lb_common::hash::{FlowKey, KEY_WORDS};

    use super::*;

    #[test]
    fn a_flow_is_known_by_each_key() {
        let [first, second, third] = [1, 2, 3].map(|word| FlowKey::new([word; KEY_WORDS]));
        let [client, vip] =
            ["192.0.2.7:40000", "203.0.113.10:443"].map(|end| end.parse().expect("an address"));
        let flow = tuple(client, vip).expect("of one family");
        let asked =
            |key| Inquiry { from: 1, to: 2, cluster: 3, sequence: 4, flow: flow_hash(key, &flow), has: None };
        let both = Keys { in_force: second, other: Some(first) };
        for (keys, key, is_known) in [
            (Keys::only(first), &first, true),
            (Keys::only(first), &second, false),
            (both, &first, true),
            (both, &second, true),
            (both, &third, false),
        ] {
            assert_eq!(is_it(&flow, &asked(key), &keys), is_known, "{keys:?}");
        }
    }
}
