//! The objects as they are now: the one structure that every source feeds and that translation reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use super::Object;
use super::certificate::{self, CertificateError};
use crate::api::{EdgeMembership, IngressParameters};
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
    /// What is to be kept when another version takes its place.
    fn good_certificate(&self) -> Option<Arc<Certificate>> {
        let own = self.certificate.get().and_then(|read| read.as_ref().ok());
        own.or(self.last_good.as_ref()).cloned()
    }
}

impl Index {
    /// Adds the object, or replaces the one with its name; says whether anything changed.
    pub fn apply(&mut self, object: Object, origin: Origin) -> bool {
        let mut entry = Entry { object, origin, certificate: OnceLock::new(), last_good: None };
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
                entry.last_good = present.get().good_certificate();
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

    /// The object as it was applied last, and where it was read from.
    #[must_use]
    pub fn entry(&self, object: &ObjectRef) -> Option<(&Object, &Origin)> {
        self.entries.get(object).map(|entry| (&entry.object, &entry.origin))
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

    /// The history of memberships; objects of other names mean nothing.
    pub(super) fn edge_membership(&self) -> Option<(&ObjectRef, &EdgeMembership)> {
        let name = ObjectRef::new(Kind::EdgeMembership, "", EdgeMembership::NAME);
        let (name, entry) = self.entries.get_key_value(&name)?;
        match &entry.object {
            Object::EdgeMembership(membership) => Some((name, membership)),
            _ => None,
        }
    }

    /// The certificate in a Secret; `None` if there is no such Secret.
    pub(super) fn certificate(&self, secret: &ObjectRef) -> Option<Result<&Arc<Certificate>, Unusable<'_>>> {
        let entry = self.entries.get(secret)?;
        let Object::Secret(object) = &entry.object else { return None };
        let read = || certificate::read(secret, object).map(Arc::new);
        let unusable = |error| Unusable { error, last_good: entry.last_good.as_ref() };
        Some(entry.certificate.get_or_init(read).as_ref().map_err(unusable))
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

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::source::files::parse_text;
    use crate::source::{Settings, translate};

    /// One version of one of a few objects, most of which refer to each other.
    fn object(which: usize, version: usize) -> Object {
        let name = version % 3;
        let text = match which % 10 {
            0 => "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: edgelb}, spec: {controller: edgelb.dev/ingress}}".to_owned(),
            1 => format!("{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: private}}, spec: {{controller: edgelb.dev/ingress, parameters: {{apiGroup: edgelb.dev, kind: IngressParameters, name: p{name}}}}}}}"),
            2 => format!("{{apiVersion: edgelb.dev/v1alpha1, kind: IngressParameters, metadata: {{name: p0}}, spec: {{services: [{{namespace: default, name: s{name}}}]}}}}"),
            3 | 4 => format!("{{apiVersion: v1, kind: Service, metadata: {{name: s{name}, annotations: {{edgelb.dev/vips: 203.0.113.{name}}}}}, spec: {{type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{{port: 80}}, {{port: {version}}}]}}}}"),
            5 => format!("{{apiVersion: v1, kind: Service, metadata: {{name: b{name}}}, spec: {{ports: [{{port: {}}}]}}}}", 80 + version % 2),
            6 => format!("{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: e{}, labels: {{kubernetes.io/service-name: b{name}}}}}, ports: [{{port: 8080}}], endpoints: [{{addresses: [192.0.2.{version}]}}]}}", version % 2),
            7 => format!("{{apiVersion: v1, kind: Node, metadata: {{name: n{name}, labels: {{edgelb.dev/edge: 'true'}}}}, status: {{addresses: [{{type: InternalIP, address: 198.51.100.{}}}]}}}}", version % 5),
            8 => format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: i{name}}}, spec: {{ingressClassName: edgelb, rules: [{{host: x{}.org, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: b{name}, port: {{number: 80}}}}}}}}]}}}}]}}}}", version % 2),
            _ => format!("{{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {{name: j{name}}}, spec: {{ingressClassName: private, defaultBackend: {{service: {{name: b{name}, port: {{number: 80}}}}}}, tls: [{{secretName: t}}]}}}}"),
        };
        let (mut objects, problems) = parse_text(Path::new("test.yaml"), &text);
        assert!(problems.is_empty(), "{problems:?}");
        objects.remove(0).0
    }

    fn origin(line: usize) -> Origin {
        Origin::File { path: PathBuf::from("test.yaml"), line }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Apply(usize, usize),
        Delete(usize, usize),
        Reset(Kind, Vec<(usize, usize)>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let object = || (0..10_usize, 1..12_usize);
        let step = prop_oneof![
            6 => object().prop_map(|(which, version)| Step::Apply(which, version)),
            2 => object().prop_map(|(which, version)| Step::Delete(which, version)),
            1 => (proptest::sample::select(&Kind::ALL), proptest::collection::vec(object(), 0..12))
                .prop_map(|(kind, objects)| Step::Reset(kind, objects)),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happened before, the state is that of the objects that are left: nothing of others stays.
        #[test]
        fn a_history_leads_where_its_end_leads(steps in steps()) {
            let mut index = Index::default();
            let mut expected: BTreeMap<ObjectRef, (Object, Origin)> = BTreeMap::new();
            for (line, step) in steps.into_iter().enumerate() {
                let before: Vec<_> = expected.clone().into_iter().collect();
                let changed = match step {
                    Step::Apply(which, version) => {
                        let object = object(which, version);
                        expected.insert(object.reference(), (object.clone(), origin(line)));
                        index.apply(object, origin(line))
                    }
                    Step::Delete(which, version) => {
                        let name = object(which, version).reference();
                        expected.remove(&name);
                        index.delete(&name)
                    }
                    Step::Reset(kind, objects) => {
                        expected.retain(|name, _| name.kind != kind);
                        let objects: Vec<_> = objects.into_iter().map(|(which, version)| object(which, version)).collect();
                        for object in objects.iter().filter(|object| object.kind() == kind) {
                            expected.insert(object.reference(), (object.clone(), origin(line)));
                        }
                        index.reset(kind, objects.into_iter().map(|object| (object, origin(line))))
                    }
                };
                // A reset may list an object twice and so change it back and forth.
                prop_assert!(changed || before == expected.clone().into_iter().collect::<Vec<_>>());
            }
            let mut rebuilt = Index::default();
            for (object, origin) in expected.into_values() {
                rebuilt.apply(object, origin);
            }
            let settings = Settings { watch_without_class: true, ..Settings::default() };
            prop_assert_eq!(translate(&index, &settings, 0), translate(&rebuilt, &settings, 0));
        }
    }

    #[test]
    fn what_changes_nothing_is_no_change() {
        let mut index = Index::default();
        assert!(index.apply(object(0, 1), origin(1)));
        assert!(!index.apply(object(0, 1), origin(1)));
        assert!(index.apply(object(0, 1), origin(2)), "problems name the place");
        assert!(!index.reset(Kind::IngressClass, [(object(0, 1), origin(2))]));
        assert!(!index.reset(Kind::Node, []));
        assert!(
            index.reset(Kind::IngressClass, [(object(7, 1), origin(3))]),
            "a Node is not taken, the class is gone"
        );
        assert_eq!((index.count(Kind::IngressClass), index.count(Kind::Node)), (0, 0));
        assert!(!index.delete(&object(0, 1).reference()));
    }
}
