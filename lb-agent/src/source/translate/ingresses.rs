//! The Ingresses as they were translated last, and what each of them depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::asked::Asked;
use super::backends::Backends;
use super::certificates::{self, HostCertificate};
use super::classes::Classes;
use super::hosts::{Hosts, Touched};
use super::ingress::{IngressRoutes, Reading};
use super::register::{Found, Register};
use crate::model::{BackendId, Certificate, Kind, ObjectRef};
use crate::source::Index;
use crate::source::index::secrets_of;

/// All Ingresses.
#[derive(Debug, Default)]
pub(super) struct Ingresses {
    known: BTreeMap<Arc<ObjectRef>, Known>,
    /// Their backends.
    pub(super) backends: Backends,
    /// Those of ours by host.
    pub(super) hosts: Hosts,
    /// Secrets, each with an Ingress that names it.
    secrets: BTreeSet<(ObjectRef, Arc<ObjectRef>)>,
    /// Last seconds before a certificate becomes valid and while it is, each with an Ingress that has it.
    ends: BTreeSet<(i64, Arc<ObjectRef>)>,
}

#[derive(Debug, Default)]
struct Known {
    /// Nothing, if it is not ours.
    routes: Option<Arc<IngressRoutes>>,
    secrets: Box<[ObjectRef]>,
    found: Found,
}

/// What an Ingress is translated with.
pub(super) struct Context<'a> {
    /// The objects.
    pub(super) index: &'a Index,
    /// Whose is whose.
    pub(super) classes: &'a Classes,
    /// Seconds since the Unix epoch.
    pub(super) now: i64,
    /// Where problems go.
    pub(super) register: &'a mut Register,
    /// What this changes.
    pub(super) touched: &'a mut Touched,
}

impl Ingresses {
    /// Translates an Ingress anew, or forgets one that is gone.
    pub(super) fn update(&mut self, name: &ObjectRef, context: &mut Context<'_>) {
        let index = context.index;
        let entry = self.known.remove_entry(name);
        let (name, mut known) = entry.unwrap_or_else(|| (Arc::new(name.clone()), Known::default()));
        self.unlink(&name, &known, context.touched);
        let before = known.routes.take();
        let mut found = Vec::new();
        if let Some(ingress) = index.ingress(&name)
            && let Some(class) = context.classes.of_ingress(&name, ingress, &mut found)
        {
            let allows_external_name = context.classes.allow_external_name(class);
            let asked = &Arc::new(Asked::by(&name, ingress, index, &mut found));
            let reading = Reading { name: &name, ingress, class, index, asked, allows_external_name };
            let routes = reading.routes(&mut self.backends, &mut found);
            let has_default = context.classes.has_certificate(class);
            let certificates =
                certificates::translate(&name, ingress, has_default, index, context.now, &mut found);
            known.routes = Some(Arc::new(IngressRoutes { certificates, ..routes }));
            known.secrets = secrets_of(&name, ingress).collect();
        } else {
            known.secrets = Box::default();
        }
        // Only now: backends that it names still need not be made again.
        self.release(&name, before.as_deref(), known.routes.as_deref(), context.register);
        self.backends.register(context.register, index);
        context.register.replace(&mut known.found, found, index);
        self.link(&name, &known, context.touched);
        if index.ingress(&name).is_some() {
            self.known.insert(name, known);
        } else {
            context.register.retire(known.found);
        }
    }

    /// The Ingresses that name a Secret.
    pub(super) fn users_of(&self, secret: &ObjectRef) -> impl Iterator<Item = &Arc<ObjectRef>> {
        let first = (secret.clone(), Arc::new(ObjectRef::new(Kind::Node, "", "")));
        let secret = secret.clone();
        self.secrets.range(first..).take_while(move |(named, _)| *named == secret).map(|(_, user)| user)
    }

    /// Whether an Ingress of ours names the Secret.
    pub(super) fn name_secret(&self, secret: &ObjectRef) -> bool {
        self.users_of(secret).next().is_some()
    }

    /// The Ingresses with a certificate that was still valid at one of two times, and not at the other.
    pub(super) fn ending_between(&self, one: i64, other: i64) -> impl Iterator<Item = &Arc<ObjectRef>> {
        let first = |end: i64| (end, Arc::new(ObjectRef::new(Kind::Node, "", "")));
        let (from, to) = (one.min(other), one.max(other));
        let ends = self.ends.range((Bound::Included(first(from)), Bound::Excluded(first(to))));
        ends.map(|(_, user)| user)
    }

    /// The class of an Ingress of ours.
    pub(super) fn class_of(&self, name: &ObjectRef) -> Option<&str> {
        Some(&self.known.get(name)?.routes.as_ref()?.class)
    }

    fn unlink(&mut self, name: &Arc<ObjectRef>, known: &Known, touched: &mut Touched) {
        for secret in &known.secrets {
            self.secrets.remove(&(secret.clone(), Arc::clone(name)));
        }
        let Some(routes) = &known.routes else { return };
        touched.add(routes);
        self.hosts.remove(routes);
        for end in routes.certificates.iter().flat_map(ends) {
            self.ends.remove(&(end, Arc::clone(name)));
        }
    }

    fn link(&mut self, name: &Arc<ObjectRef>, known: &Known, touched: &mut Touched) {
        for secret in &known.secrets {
            self.secrets.insert((secret.clone(), Arc::clone(name)));
        }
        let Some(routes) = &known.routes else { return };
        touched.add(routes);
        self.hosts.insert(routes);
        for end in routes.certificates.iter().flat_map(ends) {
            self.ends.insert((end, Arc::clone(name)));
        }
    }

    fn release(
        &mut self,
        name: &ObjectRef,
        before: Option<&IngressRoutes>,
        after: Option<&IngressRoutes>,
        register: &mut Register,
    ) {
        let ids = |routes: Option<&IngressRoutes>| -> BTreeSet<BackendId> {
            routes.into_iter().flat_map(IngressRoutes::backends).map(|backend| backend.id.clone()).collect()
        };
        for id in ids(before).difference(&ids(after)) {
            self.backends.release(name, id, register);
        }
    }
}

/// After each of these seconds something else is to be said of the certificate.
fn ends(wanted: &HostCertificate) -> impl Iterator<Item = i64> {
    let Certificate { not_before, not_after, staple, .. } = &*wanted.certificate;
    let validity = staple.iter().map(|staple| (staple.from, staple.until)).chain([(*not_before, *not_after)]);
    validity.flat_map(|(from, until)| [from.saturating_sub(1), until])
}
