//! The index -> snapshots, one after the other: each is as if it had been made from nothing, but only what changed
//! is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::classes::Classes;
use super::defaults::Defaults;
use super::hosts::Touched;
use super::ingresses::{Context, Ingresses};
use super::misplaced::misplaced;
use super::register::{Found, Register};
use super::services::{self, Services};
use super::tables::{Sources, Tables};
use super::{backends, certificates, history, listeners, members, zone};
use crate::model::{
    Drain, Generation, HostPattern, Kind, Listener, Mark, Member, ObjectRef, Problem, Problems, Snapshot,
    Step,
};
use crate::source::{Changes, Index, Membership, Object, Settings};

/// Follows an index. What it makes depends on the objects, the settings and the time alone, never on what was there
/// before; but for a Secret's last good certificate and the last good history, which the index keeps.
#[derive(Debug)]
pub struct Translator {
    pub(super) settings: Settings,
    /// When it translated last, seconds since the Unix epoch; `None` before the first time.
    translated: Option<i64>,
    register: Register,
    found: Parts,
    members: BTreeMap<String, Member>,
    generations: Vec<Arc<Generation>>,
    drains: BTreeMap<String, Drain>,
    pub(super) services: Services,
    pub(super) classes: Classes,
    pub(super) listeners: BTreeMap<SocketAddr, Listener>,
    pub(super) ingresses: Ingresses,
    defaults: Defaults,
    tables: Tables,
}

/// What the parts that are made as a whole found.
#[derive(Debug, Default)]
struct Parts {
    members: Found,
    services: Found,
    classes: Found,
    listeners: Found,
    defaults: Found,
    /// By object.
    alone: BTreeMap<ObjectRef, Found>,
}

/// A translation under way.
struct Round<'a> {
    index: &'a Index,
    changes: &'a Changes,
    now: i64,
    /// Ingresses that are to be translated anew; IngressParameters, which always are, may be among them.
    ingresses: BTreeSet<Arc<ObjectRef>>,
    touched: Touched,
    /// Whether VIPs, their ports or the reach of classes may have changed.
    listeners: bool,
}

impl Translator {
    /// Nothing is translated yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            translated: None,
            register: Register::default(),
            found: Parts::default(),
            members: BTreeMap::new(),
            generations: Vec::new(),
            drains: BTreeMap::new(),
            services: Services::default(),
            classes: Classes::default(),
            listeners: BTreeMap::new(),
            ingresses: Ingresses::default(),
            defaults: Defaults::default(),
            tables: Tables::default(),
        }
    }

    /// The state that the objects ask for, with all that is wrong with them. Generation 0: its number is given where
    /// it is published. `now` (seconds since the Unix epoch) only decides which certificates have expired. Always the
    /// same index, please: what changed in it is asked of it.
    pub fn translate(&mut self, index: &mut Index, now: i64) -> Snapshot {
        let changes = index.take_changes();
        let changes = if self.translated.is_none() { index.everything() } else { changes };
        self.follow(index, &changes, now)
    }

    /// Whether the Secret's certificate is needed: an Ingress or a class of ours names it, or the settings do. As of the last
    /// translation.
    #[must_use]
    pub fn needs(&self, secret: &ObjectRef) -> bool {
        self.default_certificate().as_ref() == Some(secret)
            || self.classes.name_certificate(secret)
            || self.ingresses.name_secret(secret)
    }

    /// The names of Services of type ExternalName that routes may lead to: to be kept resolved, and told to the index.
    #[must_use]
    pub fn external_names(&self) -> BTreeSet<String> {
        self.ingresses.backends.external_names()
    }

    /// What was wrong with the objects when they were translated last.
    pub(super) fn problems(&self) -> Problems {
        self.register.all()
    }

    pub(super) fn follow(&mut self, index: &Index, changes: &Changes, now: i64) -> Snapshot {
        let mut round = Round {
            index,
            changes,
            now,
            ingresses: BTreeSet::new(),
            touched: Touched::default(),
            listeners: self.translated.is_none(),
        };
        self.members(&round);
        self.services(&mut round);
        self.classes(&mut round);
        self.alone(&round);
        self.mark(&mut round);
        self.ingresses(&mut round);
        self.defaults(&mut round);
        self.listeners(&round);
        self.translated = Some(now);
        Snapshot {
            generation: 0,
            membership: Mark::of(&self.generations),
            members: self.members.clone(),
            generations: self.generations.clone(),
            drains: self.drains.clone(),
            vips: self.services.vips.clone(),
            services: self.services.services.clone(),
            listeners: self.listeners.clone(),
            problems: self.register.all(),
        }
    }

    fn members(&mut self, round: &Round<'_>) {
        if self.translated.is_some() && !round.changes.any_of(&[Kind::Node, Kind::EdgeMembership]) {
            return;
        }
        let mut found = Vec::new();
        self.generations = match self.settings.membership {
            Membership::Nodes => {
                let members = members::translate(round.index, &mut found);
                vec![Arc::new(Generation::new(0, Step::Settled, members))]
            }
            Membership::History => {
                members::check(round.index, &mut found);
                history::translate(round.index, &mut found)
            }
        };
        self.members = history::members(&self.generations);
        self.drains = members::drains(round.index);
        self.register.replace(&mut self.found.members, found, round.index);
    }

    fn services(&mut self, round: &mut Round<'_>) {
        // Any Service may have, or give back, the ClusterIP that another names as its VIP.
        if !round.changes.any_of(&[Kind::Node, Kind::Service]) {
            return;
        }
        let mut found = Vec::new();
        self.services = services::translate(round.index, &mut found);
        self.register.replace(&mut self.found.services, found, round.index);
        round.listeners = true;
    }

    fn classes(&mut self, round: &mut Round<'_>) {
        let kinds = [Kind::IngressClass, Kind::IngressParameters];
        let is_named = |name: &ObjectRef| self.classes.names(name);
        if !round.changes.any_of(&kinds) && !round.changes.of(Kind::Service).any(is_named) {
            return;
        }
        let mut found = Vec::new();
        let classes = Classes::translate(round.index, &self.settings, &mut found);
        self.register.replace(&mut self.found.classes, found, round.index);
        if !classes.assigns_as(&self.classes) {
            let all = round.index.ingresses().map(|(name, _)| Arc::new(name.clone()));
            round.ingresses.extend(all);
        }
        self.classes = classes;
        round.listeners = true;
    }

    /// What is wrong with objects by themselves, whoever uses them.
    fn alone(&mut self, round: &Round<'_>) {
        for name in &round.changes.objects {
            let found = alone(name, round.index);
            if found.is_empty() {
                let part = self.found.alone.remove(name);
                part.into_iter().for_each(|part| self.register.retire(part));
            } else {
                let part = self.found.alone.entry(name.clone()).or_default();
                self.register.replace(part, found, round.index);
            }
        }
    }

    /// Finds the Ingresses that a change concerns.
    fn mark(&mut self, round: &mut Round<'_>) {
        let Round { index, changes, ingresses, .. } = round;
        ingresses.extend(changes.of(Kind::Ingress).map(|name| Arc::new(name.clone())));
        let backends = &mut self.ingresses.backends;
        let concerned = [
            backends.take_vips(&self.services.vips),
            backends.named(&changes.names),
            backends.take_zone(zone::of_node(index, &self.settings)),
        ]
        .concat();
        let services: BTreeSet<&ObjectRef> =
            changes.of(Kind::Service).chain(&changes.services).chain(&concerned).collect();
        for service in services {
            self.ingresses.backends.refresh(service, index, &mut self.register, ingresses);
        }
        for secret in changes.of(Kind::Secret) {
            ingresses.extend(self.ingresses.users_of(secret).cloned());
        }
        if let Some(translated) = self.translated {
            ingresses.extend(self.ingresses.ending_between(translated, round.now).cloned());
        }
    }

    fn ingresses(&mut self, round: &mut Round<'_>) {
        let names: Vec<&ObjectRef> = round.ingresses.iter().map(Arc::as_ref).collect();
        certificates::read_ahead(&names, round.index, &self.classes);
        let mut context = Context {
            index: round.index,
            classes: &self.classes,
            now: round.now,
            register: &mut self.register,
            touched: &mut round.touched,
        };
        for name in round.ingresses.iter().filter(|name| name.kind == Kind::Ingress) {
            self.ingresses.update(name, &mut context);
        }
    }

    /// Looked at each time: there are no more of them than classes.
    fn defaults(&mut self, round: &mut Round<'_>) {
        let mut found = Vec::new();
        let backends = &mut self.ingresses.backends;
        let (index, classes) = (round.index, &self.classes);
        let defaults = Defaults::translate(index, &self.settings, classes, round.now, backends, &mut found);
        backends.register(&mut self.register, index);
        self.register.replace(&mut self.found.defaults, found, index);
        if defaults != self.defaults {
            let before = std::mem::replace(&mut self.defaults, defaults);
            before.release(&self.defaults, backends, &mut self.register);
            round.touched.certificates.insert(HostPattern::Any);
            round.touched.default_backend = true;
        }
    }

    fn listeners(&mut self, round: &Round<'_>) {
        if round.listeners {
            let mut found = Vec::new();
            self.listeners = listeners::translate(&self.services, &self.classes, &self.settings, &mut found);
            self.register.replace(&mut self.found.listeners, found, round.index);
        }
        let classes: BTreeSet<&BTreeSet<String>> =
            self.listeners.values().map(|listener| &listener.classes).collect();
        let mut sources = Sources {
            hosts: &self.ingresses.hosts,
            defaults: &self.defaults,
            register: &mut self.register,
            index: round.index,
        };
        self.tables.update(&classes, &round.touched, &mut sources);
        for listener in self.listeners.values_mut() {
            if let Some(table) = self.tables.of(&listener.classes) {
                listener.routes = Arc::clone(table);
            }
        }
    }

    fn default_certificate(&self) -> Option<ObjectRef> {
        let (namespace, name) = self.settings.default_certificate.as_ref()?;
        Some(ObjectRef::new(Kind::Secret, namespace.as_str(), name.as_str()))
    }
}

/// EndpointSlices that belong to nobody, and annotations that nobody reads.
fn alone(name: &ObjectRef, index: &Index) -> Vec<Problem> {
    match index.entry(name) {
        // Made by a controller, which is not the one to tell of annotations.
        Some((Object::EndpointSlice(slice), _)) => backends::lost(name, slice).into_iter().collect(),
        Some((object, _)) => misplaced(name, object.metadata().annotations.as_ref()).collect(),
        None => Vec::new(),
    }
}
