//! Which Secrets are of use: those that an Ingress of ours, or the operator, names. Of all others nothing is kept,
//! so that a cluster's private keys are not copied to every edge node.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::Ingress;

use crate::model::{Kind, ObjectRef, Problem};
use crate::source::translate::{Age, Classes};
use crate::source::{Index, Settings};

/// Secrets that are watched by name in one namespace, at most: each is a request that stays open.
pub(super) const MOST_NAMED: usize = 64;

/// How Secrets are read, and so which rights the agent needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SecretProfile {
    /// One watch of all Secrets with a certificate in the cluster.
    #[default]
    Cluster,
    /// One watch for each Secret that is of use, by its name: whoever owns a namespace decides.
    Named,
}

/// The Secrets that are of use, and for what.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_ingress: BTreeMap<ObjectRef, Uses>,
    users: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    /// Ingresses that changed since the last look; `None` for all.
    changed: Option<BTreeSet<ObjectRef>>,
}

/// What an Ingress names.
#[derive(PartialEq, Debug)]
struct Uses {
    age: Age,
    /// Secret and field.
    secrets: Vec<(ObjectRef, String)>,
}

impl Secrets {
    /// An object changed on which it may depend which Secrets are of use.
    pub(super) fn touch(&mut self, object: &ObjectRef) {
        match &mut self.changed {
            Some(changed) if object.kind == Kind::Ingress => {
                changed.insert(object.clone());
            }
            _ => self.touch_all(object.kind),
        }
    }

    /// All objects of a kind may have changed.
    pub(super) fn touch_all(&mut self, kind: Kind) {
        if matches!(kind, Kind::IngressClass | Kind::Ingress) {
            self.changed = None;
        }
    }

    /// Whether the Secret is of use.
    pub(super) fn wants(&self, secret: &ObjectRef) -> bool {
        self.users.contains_key(secret)
    }

    /// All that are of use.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &ObjectRef> {
        self.users.keys()
    }

    /// Looks at what changed: the Secrets that are of use now and were not, and those that no longer are.
    pub(super) fn refresh(&mut self, index: &Index, settings: &Settings) -> (Vec<ObjectRef>, Vec<ObjectRef>) {
        let changed = self.changed.replace(BTreeSet::new());
        if changed.as_ref().is_some_and(BTreeSet::is_empty) {
            return Default::default();
        }
        let classes = Classes::translate(index, settings, &mut Vec::new());
        let mut touched = BTreeSet::new();
        match changed {
            Some(ingresses) => {
                for name in ingresses {
                    let uses = index.ingress(&name).and_then(|ingress| uses(&name, ingress, &classes));
                    self.replace(name, uses, &mut touched);
                }
            }
            None => self.rebuild(index, settings, &classes, &mut touched),
        }
        touched.into_iter().partition(|secret| self.wants(secret))
    }

    fn rebuild(
        &mut self,
        index: &Index,
        settings: &Settings,
        classes: &Classes,
        touched: &mut BTreeSet<ObjectRef>,
    ) {
        let gone: Vec<_> =
            self.by_ingress.keys().filter(|name| index.ingress(name).is_none()).cloned().collect();
        for name in gone {
            self.replace(name, None, touched);
        }
        for (name, ingress) in index.ingresses() {
            self.replace(name.clone(), uses(name, ingress, classes), touched);
        }
        // The operator's own is of use whatever happens, as if it used itself.
        if let Some((namespace, name)) = &settings.default_certificate {
            let secret = ObjectRef::new(Kind::Secret, namespace.as_str(), name.as_str());
            if self.users.entry(secret.clone()).or_default().insert(secret.clone()) {
                touched.insert(secret);
            }
        }
    }

    fn replace(&mut self, name: ObjectRef, uses: Option<Uses>, touched: &mut BTreeSet<ObjectRef>) {
        if self.by_ingress.get(&name) == uses.as_ref() {
            return;
        }
        let old = self.by_ingress.remove(&name);
        for (secret, _) in old.iter().flat_map(|uses| &uses.secrets) {
            if let Some(users) = self.users.get_mut(secret) {
                users.remove(&name);
                if users.is_empty() {
                    self.users.remove(secret);
                    touched.insert(secret.clone());
                }
            }
        }
        for (secret, _) in uses.iter().flat_map(|uses| &uses.secrets) {
            let users = self.users.entry(secret.clone()).or_default();
            if users.is_empty() && !touched.remove(secret) {
                touched.insert(secret.clone());
            }
            users.insert(name.clone());
        }
        if let Some(uses) = uses {
            self.by_ingress.insert(name, uses);
        }
    }

    /// In profile `named`: those that are watched. Of too many in a namespace, those that the oldest Ingresses
    /// name, so that a new one takes nothing away from others.
    pub(super) fn watched(&self) -> BTreeSet<ObjectRef> {
        let mut by_namespace: BTreeMap<&str, Vec<&ObjectRef>> = BTreeMap::new();
        for secret in self.users.keys() {
            by_namespace.entry(&secret.namespace).or_default().push(secret);
        }
        for secrets in by_namespace.values_mut().filter(|secrets| secrets.len() > MOST_NAMED) {
            secrets.sort_by_cached_key(|secret| (self.age(secret), (*secret).clone()));
            secrets.truncate(MOST_NAMED);
        }
        by_namespace.into_values().flatten().cloned().collect()
    }

    /// `None` sorts first: the operator's own.
    fn age(&self, secret: &ObjectRef) -> Option<&Age> {
        let users = self.users.get(secret)?;
        if users.contains(secret) {
            return None;
        }
        users.iter().filter_map(|user| self.by_ingress.get(user)).map(|uses| &uses.age).min()
    }

    /// `message` at every place that names the Secret.
    pub(super) fn problems(&self, secret: &ObjectRef, message: &str) -> Vec<Problem> {
        let users = self.users.get(secret).into_iter().flatten();
        let at = |user: &ObjectRef| match self.by_ingress.get(user) {
            Some(uses) => {
                let fields = uses.secrets.iter().filter(|(named, _)| named == secret);
                fields.map(|(_, field)| Problem::error(user, field.as_str(), message)).collect()
            }
            None => vec![Problem::error(secret, "", message)],
        };
        users.flat_map(at).collect()
    }
}

/// What an Ingress of ours names; `None` if it is not ours, or names nothing.
fn uses(name: &ObjectRef, ingress: &Ingress, classes: &Classes) -> Option<Uses> {
    classes.of_ingress(name, ingress, &mut Vec::new())?;
    let sections = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()).enumerate();
    let named = sections.filter_map(|(at, section)| {
        let secret = section.secret_name.as_deref().filter(|secret| !secret.is_empty())?;
        Some((
            ObjectRef::new(Kind::Secret, name.namespace.as_str(), secret),
            format!("spec.tls[{at}].secretName"),
        ))
    });
    let secrets: Vec<_> = named.collect();
    (!secrets.is_empty()).then(|| Uses { age: Age::of(&ingress.metadata), secrets })
}
