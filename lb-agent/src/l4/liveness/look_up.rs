//! Looks up the flows that others ask for. In a thread of its own: the kernel takes milliseconds to list thousands of
//! connections, and no probe waits for that.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use lb_common::hash::{FlowKey, flow_hash};
use lb_common::probe::Inquiry;
use tracing::debug;

use crate::l4::holdings::tuple;
use crate::l4::sockets;

/// Where questions go in, and come out with their answers. The thread ends when nobody asks any more.
pub(super) struct LookUp {
    questions: Sender<Inquiry>,
    answers: Receiver<Inquiry>,
}

impl LookUp {
    pub(super) fn start(key: FlowKey) -> io::Result<Self> {
        let ((questions, asked), (answered, answers)) = (channel(), channel());
        let thread = thread::Builder::new().name("inquiries".to_owned());
        thread.spawn(move || answer(&asked, &answered, &key))?;
        Ok(Self { questions, answers })
    }

    pub(super) fn ask(&self, question: Inquiry) {
        let is_asked = self.questions.send(question).is_ok();
        debug!(is_asked, "a member asks for a flow");
    }

    /// The next answer, if one is there.
    pub(super) fn answer(&self) -> Option<Inquiry> {
        self.answers.try_recv().ok()
    }
}

/// What the kernel does not tell is not answered.
fn answer(questions: &Receiver<Inquiry>, answers: &Sender<Inquiry>, key: &FlowKey) {
    for question in questions {
        let Ok(connections) = sockets::connections() else { continue };
        let mut flows = connections.iter().filter_map(|found| tuple(found.remote, found.local));
        let has = flows.any(|tuple| flow_hash(key, &tuple) == question.flow);
        if answers.send(Inquiry { has: Some(has), ..question }).is_err() {
            return;
        }
    }
}
