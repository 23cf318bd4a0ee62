//! The last good history of memberships: what people do to the object takes no member away.

use std::sync::Arc;

use crate::api::{EdgeMembership, Nonsense};
use crate::model::{Kind, ObjectRef};

/// The newest version of the object that makes sense, for itself and after the one before it.
#[derive(Debug, Default)]
pub(super) struct LastGood {
    object: Option<Arc<EdgeMembership>>,
    nonsense: Option<Nonsense>,
}

impl LastGood {
    /// The name of the one object that means something.
    pub(super) fn name() -> ObjectRef {
        ObjectRef::new(Kind::EdgeMembership, "", EdgeMembership::NAME)
    }

    /// Takes the object as it is now, or remembers why not.
    pub(super) fn take(&mut self, found: &Arc<EdgeMembership>) {
        if found.metadata.name.as_deref() != Some(EdgeMembership::NAME) {
            return;
        }
        let before = self.object.as_ref();
        let checked = found
            .spec
            .check()
            .and_then(|()| before.map_or(Ok(()), |before| found.spec.check_after(&before.spec)));
        match checked {
            Ok(()) => (self.object, self.nonsense) = (Some(Arc::clone(found)), None),
            Err(nonsense) => self.nonsense = Some(nonsense),
        }
    }

    /// Takes what another one has, if there is none here; says whether it did.
    pub(super) fn inherit(&mut self, other: &Self) -> bool {
        let takes = self.object.is_none() && other.object.is_some();
        if takes {
            self.object.clone_from(&other.object);
        }
        takes
    }

    /// It.
    pub(super) fn object(&self) -> Option<&Arc<EdgeMembership>> {
        self.object.as_ref()
    }

    /// What is wrong with the object as it is now.
    pub(super) fn nonsense(&self) -> Option<&Nonsense> {
        self.nonsense.as_ref()
    }
}
