//! What changed in the index since somebody asked: names only, however often each changed.

use std::collections::BTreeSet;

use crate::model::{Kind, ObjectRef};

/// Names of changed objects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Objects that came, went, or say something else.
    pub(super) objects: BTreeSet<ObjectRef>,
    /// Services, by name, whose EndpointSlices changed: those of the slice before and of the slice now.
    pub(super) services: BTreeSet<ObjectRef>,
    /// DNS names of which something else is known.
    pub(super) names: BTreeSet<String>,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.services.is_empty() && self.names.is_empty()
    }

    /// The changed objects of a kind.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = &ObjectRef> {
        let first = ObjectRef::new(kind, "", "");
        self.objects.range(first..).take_while(move |object| object.kind == kind)
    }

    /// Whether an object of one of these kinds changed.
    pub(super) fn any_of(&self, kinds: &[Kind]) -> bool {
        kinds.iter().any(|&kind| self.of(kind).next().is_some())
    }
}
