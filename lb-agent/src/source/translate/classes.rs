//! IngressClasses -> which Ingresses are ours, and on which Services' listeners they answer.
//!
//! A class whose IngressParameters name Services answers on those only. All other classes of ours answer on every
//! VIP on which no class's named Service stands: so a class without parameters never shows an internal VIP's
//! routes to the world, nor the other way round.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressClassParametersReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::model::{Kind, ObjectRef, Problem};
use crate::source::{Index, Settings, names};

/// The classes of ours, and what becomes of an Ingress that names none.
#[derive(Debug, Default)]
pub(super) struct Classes {
    ours: BTreeMap<String, Reach>,
    others: BTreeSet<String>,
    unnamed: Option<String>,
}

/// Where a class's routes answer.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Reach {
    /// On VIPs on which nobody's named Service stands.
    Unclaimed,
    /// On the listeners of these Services.
    Named(BTreeSet<ObjectRef>),
}

impl Classes {
    /// All classes, ours with their reach.
    pub(super) fn translate(index: &Index, settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let mut classes = Self::default();
        for (name, class) in index.ingress_classes() {
            if is_ours(class) {
                classes.ours.insert(name.name.clone(), reach(name, class, index, problems));
            } else {
                classes.others.insert(name.name.clone());
            }
        }
        classes.unnamed = admitted(index).or_else(|| classes.watched(settings));
        classes
    }

    /// The class that an Ingress belongs to, if it is one of ours.
    pub(super) fn of_ingress(
        &self,
        name: &ObjectRef,
        ingress: &Ingress,
        problems: &mut Vec<Problem>,
    ) -> Option<&str> {
        let (field, class) = match (class_name(ingress), annotation(&ingress.metadata, names::LEGACY_CLASS)) {
            (Some(class), _) => ("spec.ingressClassName".to_owned(), class),
            (None, Some(class)) => (format!("metadata.annotations.{}", names::LEGACY_CLASS), class),
            (None, None) => (String::new(), self.unnamed.as_deref()?),
        };
        if let Some((ours, _)) = self.ours.get_key_value(class) {
            return Some(ours);
        }
        if !self.others.contains(class) {
            let message = format!("there is no IngressClass {class:?}: nobody serves this Ingress");
            problems.push(Problem::warning(name, field, message));
        }
        None
    }

    /// The names of all classes of ours.
    pub(super) fn all(&self) -> BTreeSet<String> {
        self.ours.keys().cloned().collect()
    }

    /// The VIPs on which a Service stands that some class names, out of `(VIP, Service)` pairs.
    pub(super) fn claimed<'a>(
        &self,
        vips: impl Iterator<Item = (IpAddr, &'a ObjectRef)>,
    ) -> BTreeSet<IpAddr> {
        vips.filter(|(_, service)| self.named().any(|named| named.contains(service)))
            .map(|(vip, _)| vip)
            .collect()
    }

    /// The classes that answer on a Service's listener at a VIP that is claimed or not.
    pub(super) fn on(&self, service: &ObjectRef, is_claimed: bool) -> BTreeSet<String> {
        let answers = |reach: &Reach| match reach {
            Reach::Unclaimed => !is_claimed,
            Reach::Named(services) => services.contains(service),
        };
        self.ours.iter().filter(|(_, reach)| answers(reach)).map(|(name, _)| name.clone()).collect()
    }

    fn named(&self) -> impl Iterator<Item = &BTreeSet<ObjectRef>> {
        self.ours.values().filter_map(|reach| match reach {
            Reach::Named(services) => Some(services),
            Reach::Unclaimed => None,
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

/// Where a class of ours answers. Parameters that cannot be read may have meant to keep routes private: nowhere.
fn reach(name: &ObjectRef, class: &IngressClass, index: &Index, problems: &mut Vec<Problem>) -> Reach {
    let Some(parameters) = class.spec.as_ref().and_then(|spec| spec.parameters.as_ref()) else {
        return Reach::Unclaimed;
    };
    match services(parameters, index) {
        Ok(None) => Reach::Unclaimed,
        Ok(Some(services)) => {
            for service in services.iter().filter(|service| index.service(service).is_none()) {
                let parameters = ObjectRef::new(Kind::IngressParameters, "", parameters.name.as_str());
                problems.push(Problem::error(
                    &parameters,
                    "spec.services",
                    format!("{service} does not exist"),
                ));
            }
            Reach::Named(services)
        }
        Err(message) => {
            let message = format!("{message}: the class's routes answer nowhere");
            problems.push(Problem::error(name, "spec.parameters", message));
            Reach::Named(BTreeSet::new())
        }
    }
}

fn services(
    reference: &IngressClassParametersReference,
    index: &Index,
) -> Result<Option<BTreeSet<ObjectRef>>, String> {
    let kind = Kind::IngressParameters.as_str();
    if reference.api_group.as_deref() != Some(names::GROUP) || reference.kind != kind {
        return Err(format!("only {kind} of the group {} can be named here", names::GROUP));
    }
    if reference.scope.as_deref() == Some("Namespace") {
        return Err(format!("{kind} are cluster-scoped: leave out scope and namespace"));
    }
    let parameters = index.ingress_parameters(&reference.name);
    let parameters = parameters.ok_or_else(|| format!("there are no {kind} {:?}", reference.name))?;
    let named = |service: &crate::source::ServiceRef| {
        ObjectRef::new(Kind::Service, service.namespace.as_str(), service.name.as_str())
    };
    Ok(parameters.spec.services.as_ref().map(|services| services.iter().map(named).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ListenerProtocol;
    use crate::source::translate::fixture::{assert_complaints, snapshot};

    /// Two VIPs: `public` at .10, `private` at .20 (port 80) and, by another Service, .20 (port 443).
    const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: public, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.10}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: private, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: private-tls, namespace: edge, annotations: {edgelb.dev/vips: 203.0.113.20}}
spec: {type: LoadBalancer, loadBalancerClass: edgelb.dev/ingress, ports: [{port: 443}]}
";

    const PARAMETERS: &str = "---
apiVersion: edgelb.dev/v1alpha1
kind: IngressParameters
metadata: {name: private}
spec: {services: [{namespace: edge, name: private}]}
";

    fn class(name: &str, annotation: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\n\
             metadata: {{name: {name}, annotations: {{{annotation}}}}}\nspec: {{controller: edgelb.dev/ingress, {spec}}}\n"
        )
    }

    const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class: 'true'";

    fn with_parameters(group: &str, kind: &str, name: &str) -> String {
        format!("parameters: {{apiGroup: {group}, kind: {kind}, name: {name}}}")
    }

    /// The classes on each listener, in order of their addresses.
    #[track_caller]
    fn check_reach(yaml: &str, expected: [&[&str]; 3], problems: &[&str]) {
        let snapshot = snapshot(&format!("{SERVICES}{yaml}"), &Settings::default());
        let found: Vec<Vec<&str>> = snapshot
            .listeners
            .values()
            .map(|listener| listener.classes.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(found, expected);
        assert_complaints(&snapshot, problems);
    }

    #[test]
    fn classes_without_parameters_have_all_vips() {
        check_reach(&class("edgelb", "", ""), [&["edgelb"], &["edgelb"], &["edgelb"]], &[]);
        let both = class("edgelb", "", "") + &class("nginx", "", "");
        check_reach(&both, [&["edgelb", "nginx"], &["edgelb", "nginx"], &["edgelb", "nginx"]], &[]);
    }

    #[test]
    fn named_services_answer_their_classes_only_and_their_vips_no_other() {
        let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
        check_reach(
            &(class("edgelb", "", "") + &private + PARAMETERS),
            [&["edgelb"], &["private"], &[]],
            &["Service edge/private-tls: no IngressClass answers on 203.0.113.20:443"],
        );
    }

    #[test]
    fn parameters_that_cannot_be_read_answer_nowhere() {
        for (group, kind, name, problem) in [
            ("edgelb.dev", "IngressParameters", "missing", "there are no IngressParameters \"missing\""),
            ("other.dev", "IngressParameters", "private", "only IngressParameters of the group edgelb.dev"),
            ("edgelb.dev", "Other", "private", "only IngressParameters of the group edgelb.dev"),
        ] {
            let broken = class("broken", "", &with_parameters(group, kind, name));
            let problem = format!("IngressClass broken: spec.parameters: {problem}");
            check_reach(
                &(class("edgelb", "", "") + &broken + PARAMETERS),
                [&["edgelb"], &["edgelb"], &["edgelb"]],
                &[&problem],
            );
        }
        let missing = PARAMETERS.replace("name: private}]", "name: nobody}]");
        let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
        check_reach(
            &(class("edgelb", "", "") + &private + &missing),
            [&["edgelb"], &["edgelb"], &["edgelb"]],
            &["IngressParameters private: spec.services: Service edge/nobody does not exist"],
        );
    }

    #[test]
    fn listeners_without_a_class_are_told_of() {
        let problem = "no IngressClass answers on";
        check_reach("", [&[], &[], &[]], &[problem, problem, problem]);
    }

    #[test]
    fn standalone_listeners_answer_all_classes_of_ours() {
        let address: std::net::SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        let settings = Settings {
            standalone: BTreeMap::from([(address, ListenerProtocol::Http)]),
            ..Settings::default()
        };
        let private = class("private", "", &with_parameters("edgelb.dev", "IngressParameters", "private"));
        let yaml = SERVICES.to_owned() + &class("edgelb", "", "") + &private + PARAMETERS;
        let snapshot = snapshot(&yaml, &settings);
        let listener = &snapshot.listeners[&address];
        assert_eq!(listener.classes, BTreeSet::from(["edgelb".to_owned(), "private".to_owned()]));
        assert!(!snapshot.services.keys().any(|service| service.port == 8080), "it is no VIP's port");
    }

    /// Whether an Ingress with this metadata and spec is served, by its default backend's presence.
    #[track_caller]
    fn check_class(
        classes: &str,
        metadata: &str,
        spec: &str,
        settings: &Settings,
        expected: bool,
        problems: &[&str],
    ) {
        let ingress = format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web, {metadata}}}\n\
             spec: {{{spec} defaultBackend: {{service: {{name: a, port: {{number: 80}}}}}}}}\n"
        );
        let backend =
            "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
        let snapshot = snapshot(&format!("{SERVICES}{classes}{ingress}{backend}"), settings);
        let is_served = snapshot.listeners.values().any(|listener| listener.routes.default_backend.is_some());
        assert_eq!(is_served, expected, "{metadata} {spec}");
        assert_complaints(&snapshot, problems);
    }

    #[test]
    fn ingresses_belong_to_the_class_they_name() {
        let settings = Settings::default();
        let classes = class("edgelb", "", "")
            + "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: other}\nspec: {controller: x}\n";
        let check = |metadata, spec, expected, problems: &[&str]| {
            check_class(&classes, metadata, spec, &settings, expected, problems);
        };
        check("", "ingressClassName: edgelb,", true, &[]);
        check("", "ingressClassName: other,", false, &[]);
        check("annotations: {kubernetes.io/ingress.class: edgelb}", "", true, &[]);
        check("annotations: {kubernetes.io/ingress.class: other}", "", false, &[]);
        check("annotations: {kubernetes.io/ingress.class: other}", "ingressClassName: edgelb,", true, &[]);
        check("", "", false, &[]);
        let missing =
            "warning: Ingress default/web: spec.ingressClassName: there is no IngressClass \"edgelib\"";
        check("", "ingressClassName: edgelib,", false, &[missing]);
    }

    #[test]
    fn ingresses_without_a_class_get_the_default_one_or_none() {
        let (plain, watching) =
            (Settings::default(), Settings { watch_without_class: true, ..Settings::default() });
        let other_default = "---\napiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: aaa\n  \
             annotations: {ingressclass.kubernetes.io/is-default-class: 'true'}\nspec: {controller: x}\n";
        let (ours, default) = (class("edgelb", "", ""), class("edgelb", DEFAULT, ""));
        check_class(&ours, "", "", &plain, false, &[]);
        check_class(&ours, "", "", &watching, true, &[]);
        check_class(&default, "", "", &plain, true, &[]);
        check_class(&class("nginx", "", ""), "", "", &watching, true, &[]);
        // Admission takes the youngest default class, or else the first by name.
        check_class(&format!("{default}{other_default}"), "", "", &plain, false, &[]);
        let young =
            default.replace("name: edgelb", "name: edgelb, creationTimestamp: '2024-01-01T00:00:00Z'");
        check_class(&format!("{young}{other_default}"), "", "", &plain, true, &[]);
    }
}
