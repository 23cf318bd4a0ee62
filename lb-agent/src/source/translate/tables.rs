//! The route tables of the sets of classes that listeners have, kept up to date host by host.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::defaults::Defaults;
use super::hosts::{Hosts, Touched};
use super::ingress::IngressRoutes;
use super::merge;
use super::register::{Found, Register};
use crate::model::{HostPattern, Problem, RouteTable};
use crate::source::Index;

/// One table for each set of classes.
#[derive(Debug, Default)]
pub(super) struct Tables(Vec<Merged>);

/// What tables are merged from, and where their problems go.
pub(super) struct Sources<'a> {
    /// The Ingresses by host.
    pub(super) hosts: &'a Hosts,
    /// What answers where they name nobody.
    pub(super) defaults: &'a Defaults,
    /// Where problems go.
    pub(super) register: &'a mut Register,
    /// Where objects were read from.
    pub(super) index: &'a Index,
}

/// A table, and what was lost when it was merged.
#[derive(Debug)]
struct Merged {
    classes: BTreeSet<String>,
    table: Arc<RouteTable>,
    /// By host, of those where something was.
    of_hosts: BTreeMap<HostPattern, Found>,
    of_certificates: BTreeMap<HostPattern, Found>,
    of_default: Found,
}

impl Tables {
    /// Brings the tables up to date: those of these sets of classes and no others, and in those that were there
    /// already what was touched.
    pub(super) fn update(
        &mut self,
        wanted: &BTreeSet<&BTreeSet<String>>,
        touched: &Touched,
        sources: &mut Sources<'_>,
    ) {
        let known = std::mem::take(&mut self.0);
        let (kept, gone): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|merged| wanted.contains(&merged.classes));
        gone.into_iter().for_each(|merged| merged.retire(sources.register));
        self.0 = kept;
        self.0.iter_mut().for_each(|merged| merged.update(touched, sources));
        for &classes in wanted {
            if self.of(classes).is_none() {
                let mut merged = Merged::new(classes.clone());
                merged.update(&sources.hosts.all(), sources);
                self.0.push(merged);
            }
        }
    }

    /// The table of a set of classes.
    pub(super) fn of(&self, classes: &BTreeSet<String>) -> Option<&Arc<RouteTable>> {
        self.0.iter().find(|merged| merged.classes == *classes).map(|merged| &merged.table)
    }
}

impl Merged {
    fn new(classes: BTreeSet<String>) -> Self {
        Self {
            classes,
            table: Arc::default(),
            of_hosts: BTreeMap::new(),
            of_certificates: BTreeMap::new(),
            of_default: Found::default(),
        }
    }

    fn retire(self, register: &mut Register) {
        let found = self.of_hosts.into_values().chain(self.of_certificates.into_values());
        found.chain([self.of_default]).for_each(|found| register.retire(found));
    }

    fn update(&mut self, touched: &Touched, sources: &mut Sources<'_>) {
        let mut table = RouteTable::clone(&self.table);
        for host in &touched.hosts {
            self.host(host, &mut table, sources);
        }
        for host in &touched.certificates {
            self.certificates(host, &mut table, sources);
        }
        if touched.default_backend {
            let mut found = Vec::new();
            let of_ingresses =
                merge::default_backend(of(sources.hosts.defaults(), &self.classes), &mut found);
            let of_classes = sources.defaults.backend(&self.classes, &mut found);
            table.default_backend = of_ingresses.or(of_classes);
            table.tls = sources.defaults.tls(&self.classes, &mut found);
            sources.register.replace(&mut self.of_default, found, sources.index);
        }
        if table != *self.table {
            self.table = Arc::new(table);
        }
    }

    fn host(&mut self, host: &HostPattern, table: &mut RouteTable, sources: &mut Sources<'_>) {
        let mut found = Vec::new();
        match merge::host(host, of(sources.hosts.routes(host), &self.classes), &mut found) {
            None => _ = table.hosts.remove(host),
            // What did not change keeps its place in memory: that is how others see it.
            Some(routes) if table.hosts.get(host).is_some_and(|known| **known == routes) => {}
            Some(routes) => _ = table.hosts.insert(host.clone(), Arc::new(routes)),
        }
        replace(&mut self.of_hosts, host, found, sources);
    }

    fn certificates(&mut self, host: &HostPattern, table: &mut RouteTable, sources: &mut Sources<'_>) {
        let mut found = Vec::new();
        let ingresses = of(sources.hosts.certificates(host), &self.classes);
        let fallbacks = sources.defaults.certificates(&self.classes);
        match merge::certificates(host, ingresses, fallbacks, &mut found) {
            None => _ = table.certificates.remove(host),
            Some(chosen) if table.certificates.get(host) == Some(&chosen) => {}
            Some(chosen) => _ = table.certificates.insert(host.clone(), chosen),
        }
        replace(&mut self.of_certificates, host, found, sources);
    }
}

/// Those of some classes.
fn of<'a>(
    ingresses: &'a [Arc<IngressRoutes>],
    classes: &'a BTreeSet<String>,
) -> impl Iterator<Item = &'a IngressRoutes> + Clone {
    ingresses.iter().map(Arc::as_ref).filter(|ingress| classes.contains(&ingress.class))
}

fn replace(
    parts: &mut BTreeMap<HostPattern, Found>,
    host: &HostPattern,
    found: Vec<Problem>,
    sources: &mut Sources<'_>,
) {
    if found.is_empty() {
        parts.remove(host).into_iter().for_each(|part| sources.register.retire(part));
    } else {
        sources.register.replace(parts.entry(host.clone()).or_default(), found, sources.index);
    }
}
