//! The index -> a snapshot: pure, and complete whatever is wrong with single objects. Each file turns one kind of
//! object into its part of the state and says what is wrong with it.

mod age;
mod backends;
mod certificates;
mod classes;
mod history;
mod ingress;
mod listeners;
mod members;
mod merge;
mod ports;
mod services;
mod vips;

#[cfg(test)]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::age::Age;
use self::backends::Backends;
use self::classes::Classes;
use self::ingress::IngressRoutes;
use super::{Index, Membership, Settings};
use crate::model::{Problem, RouteTable, Snapshot};

/// The state that the objects ask for, with all that is wrong with them. Generation 0: its number is given
/// where it is published. `now` (seconds since the Unix epoch) only decides which certificates have expired.
#[must_use]
pub fn translate(index: &Index, settings: &Settings, now: i64) -> Snapshot {
    let mut problems = Vec::new();
    let (membership, members) = match settings.membership {
        Membership::Nodes => (0, members::translate(index, &mut problems)),
        Membership::History => history::translate(index, &mut problems),
    };
    let services = services::translate(index, &mut problems);
    let classes = Classes::translate(index, settings, &mut problems);
    let ingresses = ingresses(index, &classes, now, &mut problems);
    let fallback = certificates::default(index, settings, now, &mut problems);

    let mut tables: BTreeMap<BTreeSet<String>, Arc<RouteTable>> = BTreeMap::new();
    let mut table = |classes: &BTreeSet<String>, problems: &mut Vec<Problem>| {
        let merged = || Arc::new(merge::merge(&ingresses, classes, fallback.as_ref(), problems));
        Arc::clone(tables.entry(classes.clone()).or_insert_with(merged))
    };
    let listeners = listeners::translate(&services, &classes, settings, &mut problems, &mut table);

    Snapshot {
        generation: 0,
        membership,
        members,
        vips: services.vips,
        services: services.services,
        listeners,
        problems: complete(problems, index),
    }
}

/// The routes of our Ingresses, the oldest first.
fn ingresses(index: &Index, classes: &Classes, now: i64, problems: &mut Vec<Problem>) -> Vec<IngressRoutes> {
    let mut backends = Backends::new(index);
    let mut ours: Vec<(Age, IngressRoutes)> = Vec::new();
    for (name, ingress) in index.ingresses() {
        if let Some(class) = classes.of_ingress(name, ingress, problems) {
            let routes = ingress::translate(name, ingress, class, &mut backends, problems);
            let certificates = certificates::translate(name, ingress, index, now, problems);
            ours.push((Age::of(&ingress.metadata), IngressRoutes { certificates, ..routes }));
        }
    }
    problems.append(&mut backends.problems);
    ours.sort_by(|(one, _), (other, _)| one.cmp(other));
    ours.into_iter().map(|(_, routes)| routes).collect()
}

/// Problems with the places that their objects were read from: sorted, each once.
fn complete(mut problems: Vec<Problem>, index: &Index) -> Vec<Problem> {
    for problem in &mut problems {
        problem.origin = problem.object.as_ref().and_then(|object| index.origin(object)).cloned();
    }
    problems.sort();
    problems.dedup();
    problems
}
