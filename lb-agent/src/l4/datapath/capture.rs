//! Which program the interfaces run: the ordinary one, but while somebody captures.

use aya::Ebpf;
use lb_common::map::program;
use tracing::{info, warn};

use super::super::capture::{Capture, Event, Order, Running, Session};
use super::super::{L4Error, attach};
use super::Datapath;

impl Datapath {
    /// Whether nobody captures, and the interfaces run the program of these maps.
    pub(super) fn may_capture(&self) -> bool {
        self.session.is_none() && !self.is_to_fill
    }

    /// Takes an order; there is no session.
    pub(super) fn take_order(&mut self, order: Order) {
        self.session = Some(Session::begin(order, &self.pins, self.events.clone()));
    }

    /// Goes on with the session.
    pub(super) fn go_on_with_session(&mut self, event: Event) {
        match event {
            Event::Loaded(loaded, order) => self.begin_capture(*loaded, order),
            Event::Over => self.end_capture(),
        }
    }

    fn begin_capture(&mut self, loaded: Result<Ebpf, L4Error>, order: Order) {
        self.session = None;
        if order.answer.is_closed() {
            return;
        }
        let begun = loaded.and_then(|object| self.run_capturing(object));
        let answer = begun.map(|(running, capture)| {
            info!("a capture begins: the interfaces run the program that tells");
            self.session = Some(Session::Running(Box::new(running)));
            capture
        });
        // Who is gone listens no more: that ends it at once.
        let _ = order.answer.send(answer);
    }

    fn run_capturing(&mut self, mut object: Ebpf) -> Result<(Running, Capture), L4Error> {
        let begun = self.fragments.begin_capture(&mut object, &self.pins);
        let begun = begun.and_then(|()| self.put_everywhere(&mut object, program::CAPTURE));
        let begun = begun.and_then(|()| Running::start(object, &self.attachments, self.events.clone()));
        if begun.is_err() {
            self.put_ordinary();
        }
        begun
    }

    fn end_capture(&mut self) {
        if let Some(Session::Running(running)) = self.session.take() {
            self.put_ordinary();
            info!("the capture is over: the interfaces run the ordinary program");
            running.end();
        }
    }

    fn put_everywhere(&self, object: &mut Ebpf, program: &'static str) -> Result<(), L4Error> {
        for attachment in &self.attachments {
            // One that was deleted gets the ordinary program when it is made again.
            if !attach::put(object, program, &self.pins, &attachment.interface)? {
                warn!(interface = attachment.interface, "no packets of it are captured: it is gone");
            }
        }
        Ok(())
    }

    fn put_ordinary(&mut self) {
        self.fragments.end_capture();
        for attachment in &self.attachments {
            let name = &attachment.interface;
            if let Err(error) = attach::put(&mut self.object, program::XDP, &self.pins, name) {
                warn!(interface = name, %error, "it goes on with the program that captures, which does the same");
            }
        }
    }
}

/// What is left behind for the next agent is the ordinary program.
impl Drop for Datapath {
    fn drop(&mut self) {
        self.end_capture();
    }
}
