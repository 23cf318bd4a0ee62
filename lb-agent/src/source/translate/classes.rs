//! IngressClasses -> which Ingresses are ours, and on which Services' listeners they answer.
//!
//! A class whose IngressParameters name Services answers on those only. All other classes of ours answer on every
//! VIP on which no class's named Service stands: so a class without parameters never shows an internal VIP's
//! routes to the world, nor the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::age::Age;
use super::parameters::Parameters;
use crate::model::{ObjectRef, Problem};
use crate::source::{Index, Settings, names};

/// The classes of ours, and what becomes of an Ingress that names none.
#[derive(PartialEq, Eq, Debug, Default)]
pub(in crate::source) struct Classes {
    ours: BTreeMap<String, Class>,
    others: BTreeSet<String>,
    unnamed: Option<String>,
    /// Whether the operator has named a certificate for classes without one.
    has_certificate: bool,
}

/// A class of ours.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Class {
    /// How old it is: the oldest of several that share listeners decides.
    pub(super) age: Age,
    /// What its parameters say.
    pub(super) parameters: Parameters,
    reach: Reach,
}

/// Where a class's routes answer.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reach {
    /// On VIPs on which nobody's named Service stands.
    Unclaimed,
    /// On the listeners of these Services.
    Named(BTreeSet<ObjectRef>),
    /// On none, not even where a listener answers for all classes.
    Nowhere,
}

impl Classes {
    /// All classes, ours with their reach.
    pub(in crate::source) fn translate(
        index: &Index,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let has_certificate = settings.default_certificate.is_some();
        let mut classes = Self { has_certificate, ..Self::default() };
        for (name, class) in index.ingress_classes() {
            if is_ours(class) {
                let mut class = Class::new(name, class, index, problems);
                class.parameters.allow_external_name.get_or_insert(settings.allow_external_name);
                classes.ours.insert(name.name.clone(), class);
            } else {
                classes.others.insert(name.name.clone());
            }
        }
        classes.unnamed = admitted(index).or_else(|| classes.watched(settings));
        classes
    }

    /// The class that an Ingress belongs to, if it is one of ours.
    pub(in crate::source) fn of_ingress(
        &self,
        name: &ObjectRef,
        ingress: &Ingress,
        problems: &mut Vec<Problem>,
    ) -> Option<&str> {
        let (field, class) = match (class_name(ingress), annotation(&ingress.metadata, names::LEGACY_CLASS)) {
            (Some(class), _) => ("spec.ingressClassName".to_owned(), class),
            (None, Some(class)) => (format!("metadata.annotations.{}", names::LEGACY_CLASS), class),
            (None, None) => match self.unnamed.as_deref() {
                Some(class) => (String::new(), class),
                None => return self.complain_of_no_class(name, problems),
            },
        };
        if let Some((ours, _)) = self.ours.get_key_value(class) {
            let Some((key, message)) = left_out(ingress) else { return Some(ours) };
            problems.push(Problem::error(name, format!("metadata.annotations.{key}"), message));
            return None;
        }
        // The annotation is older than IngressClass objects: a controller that it names need not have one.
        if class_name(ingress).is_some() && !self.others.contains(class) {
            let message = format!("there is no IngressClass {class:?}: nobody serves this Ingress");
            problems.push(Problem::warning(name, field, message));
        }
        None
    }

    /// Where other controllers are at work, one of them may serve it; where there is none, nobody does.
    fn complain_of_no_class(&self, name: &ObjectRef, problems: &mut Vec<Problem>) -> Option<&str> {
        if self.others.is_empty() {
            let message = "no class is named, and none is the default one: nobody serves this Ingress";
            problems.push(Problem::warning(name, "spec.ingressClassName", message));
        }
        None
    }

    /// Whether each Ingress belongs to the same class with both, may have the same backends, and needs a certificate as
    /// much.
    pub(super) fn assigns_as(&self, other: &Self) -> bool {
        fn ours(classes: &Classes) -> impl Iterator<Item = (&str, bool, bool)> {
            let names = classes.ours.keys().map(String::as_str);
            names.map(|name| (name, classes.allow_external_name(name), classes.has_certificate(name)))
        }
        ours(self).eq(ours(other)) && self.others == other.others && self.unnamed == other.unnamed
    }

    /// Whether routes of a class may lead to Services of type ExternalName.
    pub(super) fn allow_external_name(&self, class: &str) -> bool {
        self.ours.get(class).and_then(|class| class.parameters.allow_external_name).unwrap_or_default()
    }

    /// Whether a certificate is named for hosts of a class that have none.
    pub(super) fn has_certificate(&self, class: &str) -> bool {
        let of_class = self.ours.get(class).and_then(|class| class.parameters.certificate.as_ref());
        self.has_certificate || of_class.is_some()
    }

    /// Whether some class names the Service.
    pub(super) fn names(&self, service: &ObjectRef) -> bool {
        self.named().any(|named| named.contains(service))
    }

    /// All classes of ours, by name.
    pub(super) fn ours(&self) -> impl Iterator<Item = (&str, &Class)> {
        self.ours.iter().map(|(name, class)| (name.as_str(), class))
    }

    /// The default certificates of our classes: IngressParameters and Secret.
    pub(in crate::source) fn certificates(&self) -> impl Iterator<Item = (&ObjectRef, &ObjectRef)> {
        let parameters = self.ours.values().map(|class| &class.parameters);
        parameters.filter_map(|found| Some((found.name.as_deref()?, found.certificate.as_ref()?)))
    }

    /// Whether a class of ours has the Secret's certificate as its default.
    pub(super) fn name_certificate(&self, secret: &ObjectRef) -> bool {
        self.ours.values().any(|class| class.parameters.certificate.as_ref() == Some(secret))
    }

    /// Those that answer where there are no Services: all of ours that answer anywhere.
    pub(super) fn standalone(&self) -> BTreeSet<String> {
        let ours = self.ours.iter().filter(|(_, class)| class.reach != Reach::Nowhere);
        ours.map(|(name, _)| name.clone()).collect()
    }

    /// Those that name no Services: none of them keeps its routes to itself.
    pub(super) fn unclaimed(&self) -> BTreeSet<String> {
        let ours = self.ours.iter().filter(|(_, class)| class.reach == Reach::Unclaimed);
        ours.map(|(name, _)| name.clone()).collect()
    }

    /// The VIPs on which a Service stands that some class names, out of `(VIP, Service)` pairs.
    pub(super) fn claimed<'a>(
        &self,
        vips: impl Iterator<Item = (IpAddr, &'a ObjectRef)>,
    ) -> BTreeSet<IpAddr> {
        vips.filter(|(_, service)| self.names(service)).map(|(vip, _)| vip).collect()
    }

    /// The classes that answer on a Service's listener at a VIP that is claimed or not.
    pub(super) fn on(&self, service: &ObjectRef, is_claimed: bool) -> BTreeSet<String> {
        let answers = |class: &Class| match &class.reach {
            Reach::Unclaimed => !is_claimed,
            Reach::Named(services) => services.contains(service),
            Reach::Nowhere => false,
        };
        self.ours.iter().filter(|(_, class)| answers(class)).map(|(name, _)| name.clone()).collect()
    }

    fn named(&self) -> impl Iterator<Item = &BTreeSet<ObjectRef>> {
        self.ours.values().filter_map(|class| match &class.reach {
            Reach::Named(services) => Some(services),
            Reach::Unclaimed | Reach::Nowhere => None,
        })
    }

    /// With `watch_without_class`: the shipped class, or else the first of ours by name.
    fn watched(&self, settings: &Settings) -> Option<String> {
        let first = || self.ours.contains_key(names::CLASS).then_some(names::CLASS);
        let first = first().or_else(|| self.ours.keys().next().map(String::as_str));
        first.filter(|_| settings.watch_without_class).map(str::to_owned)
    }
}

fn is_ours(class: &IngressClass) -> bool {
    class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(names::CONTROLLER)
}

fn class_name(ingress: &Ingress) -> Option<&str> {
    ingress.spec.as_ref()?.ingress_class_name.as_deref()
}

/// The annotation for which an Ingress of ours is better not served than served without it, and why.
fn left_out(ingress: &Ingress) -> Option<(&'static str, &'static str)> {
    let has = |key| annotation(&ingress.metadata, key);
    if has(names::CANARY) == Some("true") {
        // An older one would take all the requests that it was to have a few of.
        return Some((
            names::CANARY,
            "canaries of ingress-nginx are not supported: this Ingress is left out",
        ));
    }
    let guard = names::GUARDS.into_iter().find(|key| has(key).is_some_and(|value| !value.is_empty()))?;
    Some((guard, "not supported yet: this Ingress is left out, for it would be open to everybody"))
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class that admission would fill in: the default one; of several the youngest, then the first by name.
fn admitted(index: &Index) -> Option<String> {
    let is_default = |class: &IngressClass| annotation(&class.metadata, names::DEFAULT_CLASS) == Some("true");
    let created = |class: &IngressClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let defaults = index.ingress_classes().filter(|(_, class)| is_default(class));
    defaults
        .max_by(|(one, a), (other, b)| created(a).cmp(&created(b)).then_with(|| other.name.cmp(&one.name)))
        .map(|(name, _)| name.name.clone())
}

impl Class {
    /// Parameters that cannot be read may have meant to keep routes private: they answer nowhere.
    fn new(name: &ObjectRef, class: &IngressClass, index: &Index, problems: &mut Vec<Problem>) -> Self {
        let age = Age::of(&class.metadata);
        match Parameters::of_class(class, index, problems) {
            Ok(parameters) => {
                let reach = parameters.services.clone().map_or(Reach::Unclaimed, Reach::Named);
                Self { age, parameters, reach }
            }
            Err(message) => {
                let message = format!("{message}: the class's routes answer nowhere");
                problems.push(Problem::error(name, "spec.parameters", message));
                Self { age, parameters: Parameters::default(), reach: Reach::Nowhere }
            }
        }
    }
}

#[cfg(test)]
mod tests;
