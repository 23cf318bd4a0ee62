//! A route as requests see it: where it leads, and by whose word.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use super::router::Leads;
use super::target::Target;
use crate::model::{BackendId, ObjectRef};

/// Names that are kept before it is asked which of them are still in use.
const FEW: usize = 64;

/// A compiled route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) target: Arc<Target>,
    pub(super) names: Arc<Names>,
}

/// The objects that a request is served by.
#[derive(Debug)]
pub(super) struct Names {
    /// The Ingress, or the IngressParameters.
    pub(super) object: Arc<ObjectRef>,
    /// The Service, and its port.
    pub(super) service: BackendId,
}

/// The names in use, each pair once.
#[derive(Default)]
pub(super) struct AllNames {
    made: HashMap<(Arc<ObjectRef>, BackendId), Weak<Names>, RandomState>,
    /// When there are so many, those that nobody uses are forgotten.
    limit: usize,
}

impl AllNames {
    /// Those of a route.
    pub(super) fn of(&mut self, leads: Leads<'_>) -> Arc<Names> {
        let key = (leads.object.clone(), leads.backend.id.clone());
        if let Some(known) = self.made.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let made = Arc::new(Names { object: key.0.clone(), service: key.1.clone() });
        self.made.insert(key, Arc::downgrade(&made));
        made
    }

    /// Forgets what nobody uses any more; looks for it so rarely that it costs nothing to call this often.
    pub(super) fn forget_unused(&mut self) {
        if self.made.len() > self.limit {
            self.made.retain(|_, made| made.strong_count() > 0);
            self.limit = 2 * self.made.len() + FEW;
        }
    }
}
