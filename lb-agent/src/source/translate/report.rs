//! What the cluster is told about its objects: the addresses of Services and Ingresses of ours beside those that
//! their status lists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Translator;
use crate::model::{ObjectRef, Published, Report};
use crate::source::{Index, strip};

/// What `ipMode` says of our VIPs: packets to them reach pods through a proxy, so that the nodes of a cluster must
/// not take them themselves.
const IP_MODE: &str = "Proxy";

/// The addresses that an object's status lists.
#[derive(PartialEq, Eq, Debug)]
enum Listed {
    /// These, each just as we write it.
    Plain(Vec<IpAddr>),
    /// Others beside them, or written otherwise.
    Otherwise,
}

impl Translator {
    /// What owners of objects should hear of the state that was translated last. Looks at every Service and every
    /// Ingress: a matter of milliseconds.
    #[must_use]
    pub fn report(&self, index: &Index) -> Report {
        let problems = self.problems();
        let uid = |object: &ObjectRef| Some((object.clone(), index.entry(object)?.0.metadata().uid.clone()?));
        Report {
            addresses: self.of_services(index).chain(self.of_ingresses(index)).collect(),
            uids: problems.iter().filter_map(|problem| uid(problem.object.as_ref()?)).collect(),
            problems: problems.iter().cloned().collect(),
        }
    }

    fn of_services<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = (ObjectRef, Published)> + 'a {
        index.services().filter_map(move |(name, service)| {
            let wanted = self.services.ours.get(name).and_then(Option::as_ref);
            let wanted = wanted.map(|vips| vips.iter().copied().collect());
            Some((name.clone(), published(wanted, &in_service(service), &service.metadata)?))
        })
    }

    fn of_ingresses<'a>(&'a self, index: &'a Index) -> impl Iterator<Item = (ObjectRef, Published)> + 'a {
        let addresses = self.addresses();
        index.ingresses().filter_map(move |(name, ingress)| {
            let class = self.ingresses.class_of(name);
            let wanted = class.map(|class| addresses.get(class).cloned().unwrap_or_default());
            Some((name.clone(), published(wanted, &in_ingress(ingress), &ingress.metadata)?))
        })
    }

    /// The VIPs on which each class answers.
    fn addresses(&self) -> BTreeMap<&str, Arc<[IpAddr]>> {
        let mut addresses: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        // Sockets that the command line names are no VIPs.
        let at_vips = self.listeners.iter().filter(|(at, _)| self.services.vips.contains(&at.ip()));
        for (at, listener) in at_vips {
            for class in &listener.classes {
                addresses.entry(class).or_default().insert(at.ip());
            }
        }
        addresses.into_iter().map(|(class, vips)| (class, vips.into_iter().collect())).collect()
    }
}

/// What is to be written into the status of an object that should list `wanted`, whoever wrote there; of one that is not
/// ours, nothing, but that what we wrote while it was is given up.
fn published(wanted: Option<Arc<[IpAddr]>>, listed: &Listed, metadata: &ObjectMeta) -> Option<Published> {
    let is = |addresses: &[IpAddr]| matches!(listed, Listed::Plain(found) if found == addresses);
    match wanted {
        Some(wanted) => Some(Published { is_current: is(&wanted), wanted: Some(wanted) }),
        None => strip::is_status_ours(metadata).then_some(Published { wanted: None, is_current: false }),
    }
}

fn in_service(service: &Service) -> Listed {
    let listed = service.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let entries = listed.into_iter().flatten().map(|entry| {
        let ip = entry.ip.as_deref().filter(|_| entry.ip_mode.as_deref() == Some(IP_MODE));
        (ip, entry.hostname.as_deref())
    });
    listed_of(entries)
}

fn in_ingress(ingress: &Ingress) -> Listed {
    let listed = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    listed_of(listed.into_iter().flatten().map(|entry| (entry.ip.as_deref(), entry.hostname.as_deref())))
}

fn listed_of<'a>(entries: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> Listed {
    let ours = |(ip, hostname): (Option<&str>, Option<&str>)| {
        let is_ours = hostname.is_none_or(str::is_empty);
        ip.filter(|_| is_ours)?.parse().ok()
    };
    entries.map(ours).collect::<Option<_>>().map_or(Listed::Otherwise, Listed::Plain)
}

#[cfg(test)]
mod tests;
