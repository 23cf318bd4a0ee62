//! The objects as they are now: the one structure that every source feeds and that translation reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::certificate::{self, CertificateError};
use super::{IngressParameters, Object};
use crate::model::{Certificate, Kind, ObjectRef, Origin};

/// Objects by name, each with the place that it was read from.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<ObjectRef, Entry>,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    origin: Origin,
    /// Of a Secret, parsed when first asked for: most Secrets of a cluster are never asked for.
    certificate: OnceLock<Result<Arc<Certificate>, CertificateError>>,
}

impl Index {
    /// Adds the object, or replaces the one with its name; says whether anything changed.
    pub fn apply(&mut self, object: Object, origin: Origin) -> bool {
        let entry = Entry { object, origin, certificate: OnceLock::new() };
        match self.entries.entry(entry.object.reference()) {
            MapEntry::Vacant(vacant) => {
                vacant.insert(entry);
                true
            }
            MapEntry::Occupied(mut present) if present.get().object == entry.object => {
                let moved = present.get().origin != entry.origin;
                present.get_mut().origin = entry.origin;
                moved
            }
            MapEntry::Occupied(mut present) => {
                present.insert(entry);
                true
            }
        }
    }

    /// Removes the object; says whether it was there.
    pub fn delete(&mut self, object: &ObjectRef) -> bool {
        self.entries.remove(object).is_some()
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

    /// Where the object was read from.
    #[must_use]
    pub fn origin(&self, object: &ObjectRef) -> Option<&Origin> {
        self.entries.get(object).map(|entry| &entry.origin)
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

    pub(super) fn services(&self) -> impl Iterator<Item = (&ObjectRef, &Service)> {
        self.each(Kind::Service, service)
    }

    pub(super) fn service(&self, object: &ObjectRef) -> Option<&Service> {
        self.entries.get(object).and_then(|entry| service(&entry.object)).map(Arc::as_ref)
    }

    pub(super) fn endpoint_slices(&self) -> impl Iterator<Item = (&ObjectRef, &EndpointSlice)> {
        self.each(Kind::EndpointSlice, |object| match object {
            Object::EndpointSlice(slice) => Some(slice),
            _ => None,
        })
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

    pub(super) fn ingress_parameters(&self, name: &str) -> Option<&IngressParameters> {
        match &self.entries.get(&ObjectRef::new(Kind::IngressParameters, "", name))?.object {
            Object::IngressParameters(parameters) => Some(parameters),
            _ => None,
        }
    }

    /// The certificate in a Secret; `None` if there is no such Secret.
    pub(super) fn certificate(
        &self,
        secret: &ObjectRef,
    ) -> Option<Result<&Arc<Certificate>, &CertificateError>> {
        let entry = self.entries.get(secret)?;
        let Object::Secret(object) = &entry.object else { return None };
        let read = || certificate::read(secret, object).map(Arc::new);
        Some(entry.certificate.get_or_init(read).as_ref())
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
