//! What becomes of a request, and why: by the very steps that requests go through (`settle`, `Router`, `ByHost`, `headers`),
//! over a snapshot that need not be the live one. Nothing is sent.

mod losers;
mod treatment;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Request};
use thiserror::Error;

use super::by_host::ByHost;
use super::forwarded::Origin;
use super::limits::Limits;
use super::reply::Reply;
use super::router::{Leads, Matched, Router};
use super::settle::settle;
use super::tls::{Tickets, Tls};
use super::trust::Trust;
use super::{authority, forward, headers};
use crate::model::{
    Backend, BackendExplained, Certificate, CertificateExplained, CertificateOffered, CertificateReason,
    EndpointExplained, Host, HostPattern, KeyKind, Listener, ListenerExplained, ListenerProtocol, MatchedAs,
    ObjectRef, PathRule, ReplyExplained, RequestAsked, RequestExplained, RouteExplained, RouteReason,
    RouteTable, Snapshot, TlsExplained, TlsPolicy, TlsVersion,
};

/// What cannot be a request.
#[derive(Debug, Error)]
#[error("that is no HTTP request: {0}")]
pub struct NoRequest(#[from] http::Error);

/// Says what becomes of a request in this state, with these proxies in front of us and these limits. What is known of
/// endpoints is not filled in.
///
/// # Errors
/// `NoRequest` if no client can send it.
pub fn explain(
    snapshot: &Snapshot,
    request: &RequestAsked,
    (trust, limits): (&Trust, &Limits),
) -> Result<RequestExplained, NoRequest> {
    let parts = parts(request)?;
    let wanted = snapshot.listeners.iter().filter(|(at, _)| request.to.is_none_or(|to| to == **at));
    let mut groups: Vec<(SocketAddr, &Listener, ListenerExplained)> = Vec::new();
    for (&address, listener) in wanted {
        let same = groups.iter_mut().find(|(_, known, _)| {
            Arc::ptr_eq(&known.routes, &listener.routes) && known.protocol == listener.protocol
        });
        match same {
            Some((_, _, group)) => add(group, address, listener),
            None => {
                let case = Case { snapshot, request, listener, address, trust, limits };
                groups.push((address, listener, case.explain(parts.clone())));
            }
        }
    }
    Ok(RequestExplained {
        request: request.clone(),
        generation: snapshot.generation,
        listeners: groups.into_iter().map(|(_, _, group)| group).collect(),
    })
}

fn add(group: &mut ListenerExplained, address: SocketAddr, listener: &Listener) {
    group.addresses.push(address);
    let object = listener.object.to_string();
    if !group.objects.contains(&object) {
        group.objects.push(object);
    }
}

/// As HTTP/1.1 has it.
fn parts(request: &RequestAsked) -> Result<Parts, http::Error> {
    let mut made = Request::builder()
        .method(request.method.as_str())
        .uri(request.path.as_str())
        .header(HOST, &request.host);
    for (name, value) in &request.headers {
        made = made.header(name, value);
    }
    Ok(made.body(())?.into_parts().0)
}

/// A request at a listener.
struct Case<'a> {
    snapshot: &'a Snapshot,
    request: &'a RequestAsked,
    listener: &'a Listener,
    address: SocketAddr,
    trust: &'a Trust,
    limits: &'a Limits,
}

/// Where a route leads, with its names.
#[derive(Clone)]
struct Place {
    backend: Arc<Backend>,
    object: Arc<ObjectRef>,
    path: Option<PathRule>,
}

impl From<Leads<'_>> for Place {
    fn from(leads: Leads<'_>) -> Self {
        Self { backend: leads.backend.clone(), object: leads.object.clone(), path: leads.path.cloned() }
    }
}

impl Case<'_> {
    fn explain(&self, mut parts: Parts) -> ListenerExplained {
        let Listener { protocol, classes, object, .. } = self.listener;
        let is_tls = *protocol == ListenerProtocol::Https;
        let mut told = ListenerExplained {
            addresses: vec![self.address],
            protocol: protocol.scheme().to_owned(),
            objects: vec![object.to_string()],
            classes: classes.iter().cloned().collect(),
            certificate: is_tls.then(|| self.certificate()),
            tls: is_tls.then(|| tls_explained(self.listener.routes.tls)),
            on_http2: None,
            reply: None,
            matched: None,
            winner: None,
            losers: Vec::new(),
            more_losers: 0,
            backend: None,
            forwarded: Vec::new(),
        };
        if let Err(reply) = self.follow(&mut parts, &mut told) {
            told.reply = Some(reply_explained(reply));
        }
        told
    }

    fn follow(&self, parts: &mut Parts, told: &mut ListenerExplained) -> Result<(), Reply> {
        settle(parts)?;
        let host = Host::from_authority(authority::of(&parts.headers));
        let path = parts.uri.path().to_owned();
        if self.is_misdirected(&host) {
            told.on_http2 = Some(reply_explained(Reply::Misdirected));
        }
        told.matched = Some(MatchedAs { host: host.as_str().to_owned(), path: path.clone() });
        let table = &*self.listener.routes;
        let pattern = pattern_of(table, &host);
        let router = Router::compile(table, |leads| Place::from(leads));
        let found = router.lead(host.as_str(), &path, |one, other| one.backend == other.backend);
        let winner = found.as_ref().ok().map(|(matched, place)| (*matched, (*place).clone()));
        losers::tell(self, pattern, (&host, &path), winner.as_ref(), told);
        let (matched, place) = found?;
        told.winner = Some(winner_explained(matched, place, pattern));
        told.backend = Some(backend_explained(&place.backend));
        place.backend.endpoints.as_ref().map_err(|why| Reply::from(*why))?;
        told.forwarded = self.forwarded(parts);
        if let Some(backend) = &mut told.backend {
            let is_tls = self.listener.protocol == ListenerProtocol::Https;
            let rule = place.path.as_ref();
            backend.treatment = Some(treatment::explained(&place.backend, rule, parts, is_tls, self.limits));
        }
        Ok(())
    }

    fn forwarded(&self, parts: &mut Parts) -> Vec<String> {
        let is_websocket = headers::wants_websocket(&parts.headers);
        let from = self.request.from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let origin = Origin::new(from, self.address, self.listener.protocol, self.trust);
        headers::prepare_request(parts, &origin, self.trust);
        origin.tell(&mut parts.headers);
        forward::into_origin_form(parts);
        if is_websocket {
            headers::set_websocket(&mut parts.headers);
        }
        let line = format!("{} {} HTTP/1.1", parts.method, parts.uri);
        let is_anyone = self.request.from.is_none();
        let told = header_lines(&parts.headers).map(|header| match is_anyone {
            true => header.replace(&from.to_string(), "THE CLIENT'S ADDRESS"),
            false => header,
        });
        std::iter::once(line).chain(told).collect()
    }

    /// Whether a client that speaks HTTP/2 and asked for that name has to connect anew for this host.
    fn is_misdirected(&self, host: &Host) -> bool {
        let asked_for = self.asked_for();
        let is_tls = self.listener.protocol == ListenerProtocol::Https;
        if !is_tls || asked_for.is_empty() || asked_for == host.as_str() {
            return false;
        }
        let tls = Tickets::random().map_err(|_| ()).and_then(|tickets| Tls::new(tickets).map_err(|_| ()));
        // Without random numbers there are no handshakes either.
        tls.is_ok_and(|mut tls| !tls.index(&self.listener.routes).are_one(&asked_for, host.as_str()))
    }

    /// The name in the client's handshake: that of the host, as clients do, unless another one is given.
    fn asked_for(&self) -> Cow<'_, str> {
        Host::normalise(self.request.sni.as_deref().unwrap_or(&self.request.host))
    }

    fn certificate(&self) -> CertificateExplained {
        let name = self.asked_for();
        let mut index = ByHost::default();
        for (pattern, chosen) in self.listener.routes.certificates.iter() {
            index.set(pattern, Some((pattern, chosen)));
        }
        let found = index.get(&name);
        let why = match found {
            Some((HostPattern::Precise(_), _)) => CertificateReason::Exact,
            Some((HostPattern::Wildcard(_), _)) => CertificateReason::Wildcard,
            Some((HostPattern::Any, _)) => CertificateReason::Default,
            None => CertificateReason::SelfSigned,
        };
        let offered = found.iter().flat_map(|(_, chosen)| chosen.iter());
        CertificateExplained {
            sni: name.clone().into_owned(),
            why,
            pattern: found.map(|(pattern, _)| pattern.to_string()),
            offered: offered.map(|certificate| offered_explained(certificate, &name)).collect(),
        }
    }
}

/// The pattern whose routes alone are asked.
fn pattern_of<'a>(table: &'a RouteTable, host: &Host) -> Option<&'a HostPattern> {
    let mut index = ByHost::default();
    for pattern in table.hosts.keys() {
        index.set(pattern, Some(pattern));
    }
    index.get(host.as_str()).copied()
}

fn header_lines(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
}

fn offered_explained(certificate: &Certificate, name: &str) -> CertificateOffered {
    let host = Host::from_authority(name);
    let covers = |pattern: &String| HostPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&host));
    CertificateOffered {
        secret: certificate.secret.to_string(),
        key: match certificate.key_kind {
            KeyKind::Ecdsa => "ecdsa",
            KeyKind::Rsa => "rsa",
        }
        .to_owned(),
        covers: certificate.dns_names.iter().any(covers),
        names: certificate.dns_names.clone(),
        not_after: certificate.not_after,
    }
}

fn winner_explained(matched: Matched, place: &Place, pattern: Option<&HostPattern>) -> RouteExplained {
    let why = match matched {
        Matched::Rule => RouteReason::Rule,
        Matched::HostDefault => RouteReason::HostDefault,
        Matched::ListenerDefault => RouteReason::ListenerDefault,
    };
    let pattern = pattern.filter(|_| matched != Matched::ListenerDefault);
    RouteExplained {
        host: pattern.map(ToString::to_string),
        path: place.path.as_ref().map(ToString::to_string),
        object: place.object.to_string(),
        backend: Some(place.backend.id.to_string()),
        why,
        words: None,
    }
}

fn backend_explained(backend: &Backend) -> BackendExplained {
    let endpoints = backend.endpoints.as_deref().unwrap_or_default();
    BackendExplained {
        service: backend.id.to_string(),
        protocol: backend.protocol.name().to_owned(),
        unavailable: backend.endpoints.as_ref().err().map(|why| why.words().to_owned()),
        endpoints: endpoints.iter().map(|&address| EndpointExplained { address, state: None }).collect(),
        treatment: None,
    }
}

fn tls_explained(policy: TlsPolicy) -> TlsExplained {
    let versions = TlsVersion::ALL.into_iter().filter(|version| policy.offers(*version));
    TlsExplained {
        versions: versions.map(|version| version.label().to_owned()).collect(),
        cipher_suites: policy.suites().map(|suite| suite.name().to_owned()).collect(),
    }
}

fn reply_explained(reply: Reply) -> ReplyExplained {
    ReplyExplained {
        status: reply.status().as_u16(),
        reason: reply.label().to_owned(),
        text: reply.text().trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests;
