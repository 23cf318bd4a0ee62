//! Which Secrets are of use: those that an Ingress or a class of ours, or the operator, names. Of all others nothing is kept,
//! so that a cluster's private keys are not copied to every edge node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::networking::v1::Ingress;

use crate::model::{Kind, ObjectRef, Origin, Problem};
use crate::source::index::{named_secrets, secrets_of};
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

/// The Secrets that are of use, and how many places name each.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    users: BTreeMap<Arc<ObjectRef>, u32>,
    by_ingress: BTreeMap<ObjectRef, Box<[Arc<ObjectRef>]>>,
    /// Those of IngressParameters.
    by_class: BTreeMap<ObjectRef, Arc<ObjectRef>>,
    classes: Classes,
    /// The operator's own.
    default: Option<ObjectRef>,
    /// Ingresses that changed since the last look; `None` for all.
    changed: Option<BTreeSet<ObjectRef>>,
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
        if matches!(kind, Kind::IngressClass | Kind::IngressParameters | Kind::Ingress) {
            self.changed = None;
        }
    }

    /// Whether the Secret is of use.
    pub(super) fn wants(&self, secret: &ObjectRef) -> bool {
        self.users.contains_key(secret)
    }

    /// All that are of use.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &ObjectRef> {
        self.users.keys().map(Arc::as_ref)
    }

    /// Looks at what changed: the Secrets that are of use now and were not, and those that no longer are.
    pub(super) fn refresh(&mut self, index: &Index, settings: &Settings) -> (Vec<ObjectRef>, Vec<ObjectRef>) {
        let changed = self.changed.replace(BTreeSet::new());
        if changed.as_ref().is_some_and(BTreeSet::is_empty) {
            return Default::default();
        }
        let mut touched = BTreeSet::new();
        match changed {
            Some(ingresses) => {
                for name in ingresses {
                    let secrets = index.ingress(&name).map(|ingress| self.named_by(&name, ingress));
                    self.replace(&name, secrets.unwrap_or_default(), &mut touched);
                }
            }
            None => self.rebuild(index, settings, &mut touched),
        }
        touched.into_iter().partition(|secret| self.wants(secret))
    }

    fn rebuild(&mut self, index: &Index, settings: &Settings, touched: &mut BTreeSet<ObjectRef>) {
        self.classes = Classes::translate(index, settings, &mut Vec::new());
        let gone = self.by_ingress.keys().filter(|name| index.ingress(name).is_none());
        for name in gone.cloned().collect::<Vec<_>>() {
            self.replace(&name, Vec::new(), touched);
        }
        for (name, ingress) in index.ingresses() {
            self.replace(name, self.named_by(name, ingress), touched);
        }
        let named: BTreeMap<ObjectRef, ObjectRef> =
            self.classes.certificates().map(|(by, secret)| (by.clone(), secret.clone())).collect();
        let new = named.into_iter().map(|(by, secret)| (by, self.enter(secret, touched))).collect();
        let old = std::mem::replace(&mut self.by_class, new);
        old.into_values().for_each(|secret| self.leave(&secret, touched));
        if let (None, Some((namespace, name))) = (&self.default, &settings.default_certificate) {
            let secret = ObjectRef::new(Kind::Secret, namespace.as_str(), name.as_str());
            *self.users.entry(Arc::new(secret.clone())).or_default() += 1;
            touched.insert(secret.clone());
            self.default = Some(secret);
        }
    }

    fn replace(&mut self, name: &ObjectRef, secrets: Vec<ObjectRef>, touched: &mut BTreeSet<ObjectRef>) {
        let old = self.by_ingress.get(name).map(Box::as_ref).unwrap_or_default();
        if old.iter().map(Arc::as_ref).eq(&secrets) {
            return;
        }
        let new: Box<[_]> = secrets.into_iter().map(|secret| self.enter(secret, touched)).collect();
        let old = if new.is_empty() {
            self.by_ingress.remove(name)
        } else {
            self.by_ingress.insert(name.clone(), new)
        };
        old.into_iter().flatten().for_each(|secret| self.leave(&secret, touched));
    }

    fn enter(&mut self, secret: ObjectRef, touched: &mut BTreeSet<ObjectRef>) -> Arc<ObjectRef> {
        let secret = match self.users.get_key_value(&secret) {
            Some((known, _)) => Arc::clone(known),
            None => {
                touched.insert(secret.clone());
                Arc::new(secret)
            }
        };
        *self.users.entry(Arc::clone(&secret)).or_default() += 1;
        secret
    }

    fn leave(&mut self, secret: &Arc<ObjectRef>, touched: &mut BTreeSet<ObjectRef>) {
        let Some(users) = self.users.get_mut(secret) else { return };
        *users -= 1;
        if *users == 0 {
            self.users.remove(secret);
            touched.insert(ObjectRef::clone(secret));
        }
    }

    /// What an Ingress names, if it is ours.
    fn named_by(&self, name: &ObjectRef, ingress: &Ingress) -> Vec<ObjectRef> {
        match self.classes.of_ingress(name, ingress, &mut Vec::new()) {
            Some(_) => secrets_of(name, ingress).collect(),
            None => Vec::new(),
        }
    }

    /// In profile `named`: those that are watched. Of too many in a namespace, those that the oldest Ingresses
    /// name, so that a new one takes nothing away from others.
    pub(super) fn watched(&self, index: &Index) -> BTreeSet<ObjectRef> {
        let mut by_namespace: BTreeMap<&str, Vec<&ObjectRef>> = BTreeMap::new();
        for secret in self.wanted() {
            by_namespace.entry(&secret.namespace).or_default().push(secret);
        }
        if by_namespace.values().any(|secrets| secrets.len() > MOST_NAMED) {
            let ages = self.ages(index);
            for secrets in by_namespace.values_mut() {
                // Those of the operator and of classes have no age, and come first.
                secrets.sort_by_key(|secret| (ages.get(*secret), *secret));
                secrets.truncate(MOST_NAMED);
            }
        }
        by_namespace.into_values().flatten().cloned().collect()
    }

    /// Of each Secret, the age of the oldest Ingress that names it.
    fn ages(&self, index: &Index) -> BTreeMap<Arc<ObjectRef>, Age> {
        let mut ages = BTreeMap::new();
        for (ingress, secrets) in &self.by_ingress {
            let Some(ingress) = index.ingress(ingress) else { continue };
            let is_default = |secret: &Arc<ObjectRef>| {
                self.default.as_ref() == Some(secret) || self.by_class.values().any(|own| own == secret)
            };
            for secret in secrets.iter().filter(|secret| !is_default(secret)) {
                let age = Age::of(&ingress.metadata);
                let oldest = ages.entry(Arc::clone(secret)).or_insert_with(|| age.clone());
                *oldest = age.min(oldest.clone());
            }
        }
        ages
    }

    /// What is wrong with reading Secrets, by Secret: at every place that names it.
    pub(super) fn problems(&self, index: &Index, troubles: &BTreeMap<&ObjectRef, String>) -> Vec<Problem> {
        if troubles.is_empty() {
            return Vec::new();
        }
        let users = self
            .by_ingress
            .iter()
            .filter(|(_, secrets)| secrets.iter().any(|secret| troubles.contains_key(secret.as_ref())));
        let at_users = users.filter_map(|(name, _)| Some((name, index.ingress(name)?)));
        let at_users = at_users.flat_map(|(name, ingress)| {
            let at =
                |(secret, field): (ObjectRef, String)| Some(problem(name, &field, troubles.get(&secret)?));
            named_secrets(name, ingress).filter_map(at)
        });
        let default = self.default.as_ref();
        let at_default = default.and_then(|secret| Some(problem(secret, "", troubles.get(secret)?)));
        let at_classes = self.by_class.iter().filter_map(|(by, secret)| {
            Some(problem(by, "spec.defaultCertificate", troubles.get(secret.as_ref())?))
        });
        at_users.chain(at_classes).chain(at_default).collect()
    }
}

fn problem(object: &ObjectRef, field: &str, message: &str) -> Problem {
    Problem { origin: Some(Origin::Api), ..Problem::error(object, field, message) }
}
