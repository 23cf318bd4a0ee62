//! The objects as they are now: the one structure that every source feeds and that translation reads.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::certificate::{self, CertificateError};
use super::changes::Changes;
use super::last_good::LastGood;
use super::staple::StapleError;
use super::translate::backend_secrets;
use super::{Answer, Answers, Object, names};
use crate::api::{EdgeMembership, IngressParameters, Nonsense};
use crate::model::{Certificate, Chain, Kind, ObjectRef, Origin};

/// Objects by name, each with the place that it was read from.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<ObjectRef, Entry>,
    /// EndpointSlices by the name of their Service, whether it exists or not.
    slices: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    /// How many times Ingresses and IngressParameters, of whatever class, name a Secret.
    secrets: BTreeMap<ObjectRef, usize>,
    /// What the names of Services of type ExternalName stand for.
    answers: Answers,
    history: LastGood,
    changes: Changes,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    origin: Origin,
    /// Of a Secret, parsed when first asked for: most Secrets of a cluster are never asked for.
    certificate: OnceLock<Result<certificate::Found, CertificateError>>,
    /// What the Secret held before, if that was in use: it stays so until there is a better one.
    last_good: Option<Arc<Certificate>>,
}

/// Why a Secret's certificate cannot be used, and the one before it, which can.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unusable<'a> {
    /// What is wrong with the Secret as it is now.
    pub(super) error: &'a CertificateError,
    /// Its last good certificate.
    pub(super) last_good: Option<&'a Arc<Certificate>>,
}

impl Entry {
    /// What a Secret of this name holds.
    fn found(&self, secret: &ObjectRef) -> Option<&Result<certificate::Found, CertificateError>> {
        let Object::Secret(object) = &self.object else { return None };
        Some(self.certificate.get_or_init(|| certificate::read(secret, object)))
    }

    /// What is to be kept when another version takes its place.
    fn good_certificate(&self) -> Option<Arc<Certificate>> {
        let own = self.certificate.get().and_then(|read| read.as_ref().ok());
        own.map(|found| &found.certificate).or(self.last_good.as_ref()).cloned()
    }
}

impl Index {
    /// Adds the object, or replaces the one with its name; says whether that can change the state. What an object
    /// tells of itself in its status alone cannot.
    pub fn apply(&mut self, object: Object, origin: Origin) -> bool {
        let name = object.reference();
        if let Object::EdgeMembership(history) = &object {
            self.history.take(history);
        }
        let mut entry = Entry { object, origin, certificate: OnceLock::new(), last_good: None };
        match self.entries.entry(name.clone()) {
            MapEntry::Occupied(mut present) if present.get().object.says_the_same(&entry.object) => {
                let present = present.get_mut();
                present.object = entry.object;
                if present.origin == entry.origin {
                    return false;
                }
                present.origin = entry.origin;
            }
            MapEntry::Occupied(mut present) => {
                entry.last_good = present.get().good_certificate();
                let before = present.insert(entry);
                self.unlink(&name, &before.object);
                self.link(&name);
            }
            MapEntry::Vacant(vacant) => {
                vacant.insert(entry);
                self.link(&name);
            }
        }
        self.note(name);
        true
    }

    /// Removes the object; says whether it was there.
    pub fn delete(&mut self, object: &ObjectRef) -> bool {
        let Some(entry) = self.entries.remove(object) else { return false };
        self.unlink(object, &entry.object);
        self.note(object.clone());
        true
    }

    /// Makes `objects` all there is of `kind`, as after a new list; says whether anything changed.
    /// Objects of other kinds are not taken.
    pub fn reset(&mut self, kind: Kind, objects: impl IntoIterator<Item = (Object, Origin)>) -> bool {
        let mut gone: Vec<ObjectRef> = self.range(kind).map(|(object, _)| object.clone()).collect();
        gone.sort_unstable();
        let mut changed = false;
        for (object, origin) in objects.into_iter().filter(|(object, _)| object.kind() == kind) {
            if let Ok(at) = gone.binary_search(&object.reference()) {
                gone.remove(at);
            }
            changed |= self.apply(object, origin);
        }
        gone.iter().fold(changed, |changed, object| self.delete(object) || changed)
    }

    /// The object as it was applied last, and where it was read from.
    #[must_use]
    pub fn entry(&self, object: &ObjectRef) -> Option<(&Object, &Origin)> {
        self.entries.get(object).map(|entry| (&entry.object, &entry.origin))
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// All there is, as if it were new.
    #[must_use]
    pub fn everything(&self) -> Changes {
        Changes {
            objects: self.entries.keys().cloned().collect(),
            services: self.slices.keys().cloned().collect(),
            names: self.answers.keys().cloned().collect(),
        }
    }

    /// Makes these all that is known of DNS names.
    pub fn take_answers(&mut self, answers: &Answers) {
        let names: BTreeSet<&String> = self.answers.keys().chain(answers.keys()).collect();
        let changed = names.into_iter().filter(|name| self.answers.get(*name) != answers.get(*name));
        self.changes.names.extend(changed.cloned());
        self.answers.clone_from(answers);
    }

    /// What is known of a DNS name.
    pub(super) fn answer(&self, name: &str) -> Option<&Answer> {
        self.answers.get(name)
    }

    /// Whether anything changed since `take_changes`.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether an Ingress, of whatever class, names the Secret in a section of `spec.tls`, or IngressParameters do
    /// as a default.
    #[must_use]
    pub fn is_referenced(&self, secret: &ObjectRef) -> bool {
        self.secrets.contains_key(secret)
    }

    /// Where the object was read from.
    #[must_use]
    pub fn origin(&self, object: &ObjectRef) -> Option<&Origin> {
        self.entries.get(object).map(|entry| &entry.origin)
    }

    /// All objects, by kind and name.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.entries.values().map(|entry| &entry.object)
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.range(kind).count()
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = (&ObjectRef, &Node)> {
        self.each(Kind::Node, |object| match object {
            Object::Node(node) => Some(node),
            _ => None,
        })
    }

    pub(super) fn node(&self, name: &str) -> Option<&Node> {
        match &self.entries.get(&ObjectRef::new(Kind::Node, "", name))?.object {
            Object::Node(node) => Some(node),
            _ => None,
        }
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&ObjectRef, &Service)> {
        self.each(Kind::Service, service)
    }

    pub(super) fn service(&self, object: &ObjectRef) -> Option<&Service> {
        self.entries.get(object).and_then(|entry| service(&entry.object)).map(Arc::as_ref)
    }

    pub(super) fn endpoint_slice(&self, name: &ObjectRef) -> Option<&EndpointSlice> {
        slice(&self.entries.get(name)?.object)
    }

    /// The EndpointSlices of a Service, by name.
    pub(super) fn slices_of(
        &self,
        service: &ObjectRef,
    ) -> impl Iterator<Item = (&ObjectRef, &EndpointSlice)> {
        let names = self.slices.get(service).into_iter().flatten();
        names.filter_map(|name| Some((name, self.endpoint_slice(name)?)))
    }

    pub(super) fn ingress_classes(&self) -> impl Iterator<Item = (&ObjectRef, &IngressClass)> {
        self.each(Kind::IngressClass, |object| match object {
            Object::IngressClass(class) => Some(class),
            _ => None,
        })
    }

    pub(super) fn ingresses(&self) -> impl Iterator<Item = (&ObjectRef, &Ingress)> {
        self.each(Kind::Ingress, |object| match object {
            Object::Ingress(ingress) => Some(ingress),
            _ => None,
        })
    }

    pub(super) fn ingress(&self, name: &ObjectRef) -> Option<&Ingress> {
        ingress(&self.entries.get(name)?.object)
    }

    pub(super) fn ingress_parameters(&self, name: &str) -> Option<&IngressParameters> {
        match &self.entries.get(&ObjectRef::new(Kind::IngressParameters, "", name))?.object {
            Object::IngressParameters(parameters) => Some(parameters),
            _ => None,
        }
    }

    /// The last good history of memberships.
    pub(super) fn history(&self) -> Option<&Arc<EdgeMembership>> {
        self.history.object()
    }

    /// What is wrong with the history as it is now, if that is why another one is the last good one.
    pub(super) fn nonsense(&self) -> Option<&Nonsense> {
        self.history.nonsense()
    }

    /// Goes on with the last good history that another index had, as long as there is none here.
    pub(super) fn inherit_history(&mut self, other: &Self) {
        if self.history.inherit(&other.history) {
            self.note(LastGood::name());
        }
    }

    /// The certificate in a Secret; `None` if there is no such Secret.
    pub(super) fn certificate(&self, secret: &ObjectRef) -> Option<Result<&Arc<Certificate>, Unusable<'_>>> {
        let entry = self.entries.get(secret)?;
        let unusable = |error| Unusable { error, last_good: entry.last_good.as_ref() };
        Some(entry.found(secret)?.as_ref().map(|found| &found.certificate).map_err(unusable))
    }

    /// The certificates of authorities in a Secret; `None` if there is no such Secret.
    pub(super) fn authorities(&self, secret: &ObjectRef) -> Option<Result<Chain, CertificateError>> {
        let Object::Secret(object) = &self.entries.get(secret)?.object else { return None };
        Some(certificate::authorities(object))
    }

    /// Why the OCSP response in a Secret with a certificate is not shown, if it has one of no use.
    pub(super) fn staple_error(&self, secret: &ObjectRef) -> Option<&StapleError> {
        let found = self.entries.get(secret)?.found(secret)?;
        found.as_ref().ok()?.staple_error.as_ref()
    }

    /// Remembers what an object that came is needed for.
    fn link(&mut self, name: &ObjectRef) {
        let Some(entry) = self.entries.get(name) else { return };
        if let Some(service) = slice(&entry.object).and_then(|slice| service_of(name, slice)) {
            self.slices.entry(service).or_default().insert(name.clone());
        }
        for secret in named_by(name, &entry.object) {
            *self.secrets.entry(secret).or_default() += 1;
        }
    }

    /// Forgets what an object that went was needed for.
    fn unlink(&mut self, name: &ObjectRef, object: &Object) {
        if let Some(service) = slice(object).and_then(|slice| service_of(name, slice)) {
            if let MapEntry::Occupied(mut slices) = self.slices.entry(service.clone()) {
                slices.get_mut().remove(name);
                if slices.get().is_empty() {
                    slices.remove();
                }
            }
            self.changes.services.insert(service);
        }
        for secret in named_by(name, object) {
            if let MapEntry::Occupied(mut uses) = self.secrets.entry(secret) {
                *uses.get_mut() -= 1;
                if *uses.get() == 0 {
                    uses.remove();
                }
            }
        }
    }

    fn note(&mut self, name: ObjectRef) {
        if let Some(service) = self.endpoint_slice(&name).and_then(|slice| service_of(&name, slice)) {
            self.changes.services.insert(service);
        }
        self.changes.objects.insert(name);
    }

    fn range(&self, kind: Kind) -> impl Iterator<Item = (&ObjectRef, &Entry)> {
        let first = ObjectRef::new(kind, "", "");
        self.entries.range(first..).take_while(move |(object, _)| object.kind == kind)
    }

    fn each<'a, T: 'a>(
        &'a self,
        kind: Kind,
        pick: fn(&'a Object) -> Option<&'a Arc<T>>,
    ) -> impl Iterator<Item = (&'a ObjectRef, &'a T)> {
        self.range(kind).filter_map(move |(name, entry)| Some((name, pick(&entry.object)?.as_ref())))
    }
}

fn service(object: &Object) -> Option<&Arc<Service>> {
    match object {
        Object::Service(service) => Some(service),
        _ => None,
    }
}

fn slice(object: &Object) -> Option<&EndpointSlice> {
    match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    }
}

fn ingress(object: &Object) -> Option<&Ingress> {
    match object {
        Object::Ingress(ingress) => Some(ingress),
        _ => None,
    }
}

/// The Secrets that an object names.
fn named_by(name: &ObjectRef, object: &Object) -> Vec<ObjectRef> {
    match object {
        Object::Ingress(ingress) => secrets_of(name, ingress).collect(),
        Object::IngressParameters(parameters) => {
            let secret = parameters.spec.default_certificate.as_ref();
            let secret = secret
                .map(|secret| ObjectRef::new(Kind::Secret, secret.namespace.as_str(), secret.name.as_str()));
            secret.into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// The Service that a slice belongs to.
fn service_of(name: &ObjectRef, slice: &EndpointSlice) -> Option<ObjectRef> {
    let service = slice.metadata.labels.as_ref()?.get(names::SERVICE_NAME)?;
    Some(ObjectRef::new(Kind::Service, name.namespace.as_str(), service.as_str()))
}

/// The Secrets that an Ingress names, all of its own namespace: in the sections of `spec.tls`, and for its endpoints.
pub(super) fn secrets_of(name: &ObjectRef, ingress: &Ingress) -> impl Iterator<Item = ObjectRef> {
    named_secrets(name, ingress).map(|(secret, _)| secret)
}

/// The same, each with the field.
pub(super) fn named_secrets(
    name: &ObjectRef,
    ingress: &Ingress,
) -> impl Iterator<Item = (ObjectRef, String)> {
    let sections = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()).enumerate();
    let named = sections.filter_map(|(at, section)| {
        let secret = section.secret_name.as_deref().filter(|secret| !secret.is_empty())?;
        let secret = ObjectRef::new(Kind::Secret, name.namespace.as_str(), secret);
        Some((secret, format!("spec.tls[{at}].secretName")))
    });
    named.chain(backend_secrets(name, ingress))
}

#[cfg(test)]
mod tests;
