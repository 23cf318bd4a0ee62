//! Values by host pattern: the most specific pattern that a name falls under is its own, and no other one is asked. Pure.

use super::host_map::HostMap;
use crate::model::{Host, HostPattern};

/// Compiled patterns, each with its value.
#[derive(Clone, Debug)]
pub(super) struct ByHost<V> {
    precise: HostMap<V>,
    /// By the name that follows the first label.
    wildcard: HostMap<V>,
    any: Option<V>,
}

impl<V: Clone> ByHost<V> {
    /// Sets a pattern's value, or removes it.
    pub(super) fn set(&mut self, pattern: &HostPattern, value: Option<V>) {
        match (pattern, value) {
            (HostPattern::Precise(name), Some(value)) => self.precise.insert(name, value),
            (HostPattern::Precise(name), None) => self.precise.remove(name),
            (HostPattern::Wildcard(parent), Some(value)) => self.wildcard.insert(parent, value),
            (HostPattern::Wildcard(parent), None) => self.wildcard.remove(parent),
            (HostPattern::Any, value) => self.any = value,
        }
    }
}

impl<V> ByHost<V> {
    /// What a normalised name falls under (`Host::normalise`).
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        let precise = self.precise.get(name);
        precise.or_else(|| self.wildcard.get(Host::parent_of(name)?)).or(self.any.as_ref())
    }

    /// What names fall under that have no other pattern.
    pub(super) fn any(&self) -> Option<&V> {
        self.any.as_ref()
    }

    /// How many patterns with a name there are.
    pub(super) fn len(&self) -> usize {
        self.precise.len() + self.wildcard.len()
    }
}

impl<V> Default for ByHost<V> {
    fn default() -> Self {
        Self { precise: HostMap::default(), wildcard: HostMap::default(), any: None }
    }
}
