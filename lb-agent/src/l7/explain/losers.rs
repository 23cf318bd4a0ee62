//! The routes that a request does not take, each with why.

use super::{Case, Place};
use crate::l7::router::Matched;
use crate::model::{
    Backend, Cause, Host, HostPattern, HostRoutes, ListenerExplained, ObjectRef, RouteExplained, RouteReason,
    Rule, contested_path,
};

/// Where no rule of the host matches, so many of them are told.
const MOST: usize = 8;

/// Fills them in.
pub(super) fn tell(
    case: &Case<'_>,
    pattern: Option<&HostPattern>,
    (host, path): (&Host, &str),
    winner: Option<&(Matched, Place)>,
    told: &mut ListenerExplained,
) {
    let table = &case.listener.routes;
    if let Some(pattern) = pattern
        && let Some(routes) = table.hosts.get(pattern)
    {
        younger(case, pattern, winner, told);
        of_host(pattern, routes, path, winner, told);
    }
    for (other, routes) in table.hosts.iter() {
        if Some(other) != pattern && other.matches(host) {
            less_specific(other, routes, path, told);
        }
    }
    if let Some(default) = &table.default_backend
        && winner.is_none_or(|(matched, _)| *matched != Matched::ListenerDefault)
    {
        let route = route(None, None, &default.object, &default.backend, RouteReason::NotNeeded);
        told.losers.push(route);
    }
}

/// Those that older ones kept out of the table: the objects' problems name them.
fn younger(
    case: &Case<'_>,
    pattern: &HostPattern,
    winner: Option<&(Matched, Place)>,
    told: &mut ListenerExplained,
) {
    let Some((_, Place { path: Some(path), object: winner, .. })) = winner else { return };
    let (about, name) = (contested_path(path, pattern) + " ", winner.to_string());
    let of_it = case.snapshot.problems.iter().filter(|problem| {
        let lost_to_it = problem.object.as_ref() == Some(&**winner) || problem.message.contains(&name);
        problem.cause == Cause::Conflict && problem.message.starts_with(&about) && lost_to_it
    });
    told.losers.extend(of_it.filter_map(|problem| {
        Some(RouteExplained {
            host: Some(pattern.to_string()),
            path: Some(path.to_string()),
            object: problem.object.as_ref()?.to_string(),
            backend: None,
            why: RouteReason::Younger,
            words: Some(format!("{}: {}", problem.field, problem.message)),
        })
    }));
}

fn of_host(
    pattern: &HostPattern,
    routes: &HostRoutes,
    path: &str,
    winner: Option<&(Matched, Place)>,
    told: &mut ListenerExplained,
) {
    let host = Some(pattern);
    let won = winner.and_then(|(_, place)| place.path.as_ref());
    let (matching, others): (Vec<_>, Vec<_>) =
        routes.rules.iter().filter(|rule| Some(&rule.path) != won).partition(|rule| rule.path.matches(path));
    let explained =
        |why| move |rule: &&Rule| route(host, Some(rule.path.to_string()), &rule.ingress, &rule.backend, why);
    told.losers.extend(matching.iter().map(explained(RouteReason::LessSpecificPath)));
    if let Some(default) = &routes.default_backend
        && won.is_some()
    {
        told.losers.push(route(host, None, &default.object, &default.backend, RouteReason::NotNeeded));
    }
    if won.is_none() {
        told.more_losers = others.len().saturating_sub(MOST);
        told.losers.extend(others.iter().take(MOST).map(explained(RouteReason::OtherPath)));
    }
}

/// What would answer if the pattern was asked.
fn less_specific(pattern: &HostPattern, routes: &HostRoutes, path: &str, told: &mut ListenerExplained) {
    let why = RouteReason::LessSpecificHost;
    let rule = routes.rules.iter().find(|rule| rule.path.matches(path));
    let rule =
        rule.map(|rule| route(Some(pattern), Some(rule.path.to_string()), &rule.ingress, &rule.backend, why));
    let default = || {
        let default = routes.default_backend.as_ref()?;
        Some(route(Some(pattern), None, &default.object, &default.backend, why))
    };
    told.losers.extend(rule.or_else(default));
}

fn route(
    host: Option<&HostPattern>,
    path: Option<String>,
    object: &ObjectRef,
    backend: &Backend,
    why: RouteReason,
) -> RouteExplained {
    RouteExplained {
        host: host.map(ToString::to_string),
        path,
        object: object.to_string(),
        backend: Some(backend.id.to_string()),
        why,
        words: None,
    }
}
