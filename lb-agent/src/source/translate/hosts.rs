//! Which Ingresses ask for something at a host, the oldest first, and which hosts a change touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ingress::IngressRoutes;
use crate::model::HostPattern;

/// Ingresses by what they ask for, each list sorted by age.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    routes: BTreeMap<HostPattern, Vec<Arc<IngressRoutes>>>,
    certificates: BTreeMap<HostPattern, Vec<Arc<IngressRoutes>>>,
    /// Those that give all hosts a default backend.
    defaults: Vec<Arc<IngressRoutes>>,
}

/// What is to be merged again.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Hosts by their routes.
    pub(super) hosts: BTreeSet<HostPattern>,
    /// Hosts by their certificates.
    pub(super) certificates: BTreeSet<HostPattern>,
    /// The default backend of all hosts.
    pub(super) default_backend: bool,
}

impl Touched {
    /// Adds all that an Ingress asks for.
    pub(super) fn add(&mut self, ingress: &IngressRoutes) {
        let new = |set: &BTreeSet<HostPattern>, host: &HostPattern| !set.contains(host);
        for (host, _) in &ingress.hosts {
            if new(&self.hosts, host) {
                self.hosts.insert(host.clone());
            }
        }
        for wanted in &ingress.certificates {
            if new(&self.certificates, &wanted.host) {
                self.certificates.insert(wanted.host.clone());
            }
        }
        self.default_backend |= is_default(ingress);
    }
}

/// Whether its default backend is that of all hosts.
fn is_default(ingress: &IngressRoutes) -> bool {
    !ingress.has_rules && ingress.default_backend.is_some()
}

impl Hosts {
    /// An Ingress that came.
    pub(super) fn insert(&mut self, ingress: &Arc<IngressRoutes>) {
        for (host, _) in &ingress.hosts {
            insert(self.routes.entry(host.clone()).or_default(), ingress);
        }
        for wanted in &ingress.certificates {
            insert(self.certificates.entry(wanted.host.clone()).or_default(), ingress);
        }
        if is_default(ingress) {
            insert(&mut self.defaults, ingress);
        }
    }

    /// An Ingress that went.
    pub(super) fn remove(&mut self, ingress: &IngressRoutes) {
        for (host, _) in &ingress.hosts {
            remove_at(&mut self.routes, host, ingress);
        }
        for wanted in &ingress.certificates {
            remove_at(&mut self.certificates, &wanted.host, ingress);
        }
        remove(&mut self.defaults, ingress);
    }

    /// All that anybody asks for.
    pub(super) fn all(&self) -> Touched {
        Touched {
            hosts: self.routes.keys().cloned().collect(),
            certificates: self.certificates.keys().cloned().chain([HostPattern::Any]).collect(),
            default_backend: true,
        }
    }

    /// Those that name the host in a rule.
    pub(super) fn routes(&self, host: &HostPattern) -> &[Arc<IngressRoutes>] {
        self.routes.get(host).map_or(&[], Vec::as_slice)
    }

    /// Those that have a certificate for the host.
    pub(super) fn certificates(&self, host: &HostPattern) -> &[Arc<IngressRoutes>] {
        self.certificates.get(host).map_or(&[], Vec::as_slice)
    }

    /// Those that give all hosts a default backend.
    pub(super) fn defaults(&self) -> &[Arc<IngressRoutes>] {
        &self.defaults
    }
}

fn place(list: &[Arc<IngressRoutes>], ingress: &IngressRoutes) -> Result<usize, usize> {
    list.binary_search_by(|other| other.age.cmp(&ingress.age))
}

fn insert(list: &mut Vec<Arc<IngressRoutes>>, ingress: &Arc<IngressRoutes>) {
    if let Err(at) = place(list, ingress) {
        list.reserve_exact(1);
        list.insert(at, Arc::clone(ingress));
    }
}

fn remove(list: &mut Vec<Arc<IngressRoutes>>, ingress: &IngressRoutes) {
    if let Ok(at) = place(list, ingress) {
        list.remove(at);
    }
}

fn remove_at(
    lists: &mut BTreeMap<HostPattern, Vec<Arc<IngressRoutes>>>,
    host: &HostPattern,
    ingress: &IngressRoutes,
) {
    let Some(list) = lists.get_mut(host) else { return };
    remove(list, ingress);
    if list.is_empty() {
        lists.remove(host);
    }
}
