//! What a worker has seen of a group's health, so that it notices who is back.

use std::cell::Cell;
use std::sync::Arc;

use super::Group;

/// What checks say of an endpoint, beside what they said before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::l7) enum Health {
    /// It may have requests.
    Well,
    /// It was out, and is well again.
    Back,
    /// It gets none as long as there are others.
    Out,
}

/// A group, and who of it was out when a worker looked last.
pub(in crate::l7) struct Watch {
    group: Arc<Group>,
    were_out: Box<[Cell<bool>]>,
}

impl Watch {
    /// From now on.
    pub(in crate::l7) fn new(group: Arc<Group>) -> Self {
        let were_out = (0..group.members.len()).map(|place| Cell::new(group.is_out(place))).collect();
        Self { group, were_out }
    }

    /// The endpoint at this place. Who only gets requests because most fail is not back.
    pub(in crate::l7) fn health(&self, place: usize) -> Health {
        if self.group.is_out(place) {
            self.were_out[place].set(true);
            return Health::Out;
        }
        match self.were_out[place].take() && !self.group.is_failing(place) {
            true => Health::Back,
            false => Health::Well,
        }
    }
}
