//! The explanation of a request for people.

mod treatment;

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::admin::live::utc;
use crate::model::{
    CertificateExplained, CertificateOffered, CertificateReason, CheckResult, CheckState, EndpointExplained,
    EndpointState, ListenerExplained, RequestExplained, RouteExplained, RouteReason, TlsExplained,
};

/// As wide as the longest first column.
const COLUMN: usize = 11;

impl fmt::Display for RequestExplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        let from = request.from.map(|from| format!(" from {from}")).unwrap_or_default();
        writeln!(f, "{} {} of host {:?}{from}:", request.method, request.path, request.host)?;
        if self.listeners.is_empty() {
            let at = request.to.map(|to| format!(" at {to}")).unwrap_or_default();
            line(f, "listener", &format!("none{at}: the connection is closed"))?;
        }
        for listener in &self.listeners {
            writeln!(f)?;
            listener.tell(f)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, about: &str, what: &str) -> fmt::Result {
    writeln!(f, "{about:<COLUMN$} {what}")
}

/// The first line says what they are about.
fn lines(f: &mut fmt::Formatter<'_>, about: &str, all: impl Iterator<Item = String>) -> fmt::Result {
    let abouts = std::iter::once(about).chain(std::iter::repeat(""));
    abouts.zip(all).try_for_each(|(about, what)| line(f, about, &what))
}

impl ListenerExplained {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let classes = match self.classes.join(", ") {
            none if none.is_empty() => "no class answers there".to_owned(),
            classes => format!("routes of class {classes}"),
        };
        let what = format!(
            "{} ({}), by {}; {classes}",
            addresses.join(", "),
            self.protocol,
            self.objects.join(", ")
        );
        line(f, "listener", &what)?;
        if let Some(certificate) = &self.certificate {
            lines(f, "certificate", certificate_words(certificate).into_iter())?;
        }
        if let Some(tls) = &self.tls {
            line(f, "TLS", &tls_words(tls))?;
        }
        if let Some(matched) = &self.matched {
            line(f, "matched as", &format!("host {:?}, path {}", matched.host, matched.path))?;
        }
        if let Some(winner) = &self.winner {
            line(f, "wins", &route_words(winner))?;
        }
        lines(f, "loses", self.losers.iter().map(route_words).chain(self.more_words()))?;
        if let Some(backend) = &self.backend {
            let unavailable = backend.unavailable.as_ref().map(|why| format!(": {why}"));
            let about = format!("{} ({})", backend.service, backend.protocol);
            line(f, "backend", &(about + &unavailable.unwrap_or_default()))?;
            lines(f, "endpoints", backend.endpoints.iter().map(endpoint_words))?;
            for (about, what) in backend.treatment.iter().flat_map(treatment::words) {
                line(f, about, &what)?;
            }
        }
        lines(f, "forwarded", self.forwarded.iter().cloned())?;
        if let Some(reply) = &self.on_http2 {
            let on_http2 = "a client that asked for that name and speaks HTTP/2 hears";
            line(f, "but", &format!("{on_http2} ({}): {}", reply.reason, reply.text))?;
        }
        line(f, "so", &self.conclusion())
    }

    fn more_words(&self) -> Option<String> {
        (self.more_losers > 0)
            .then(|| format!("and {} rules more of this host, whose paths do not match", self.more_losers))
    }

    fn conclusion(&self) -> String {
        match (&self.reply, &self.backend) {
            (Some(reply), _) => format!("the proxy answers by itself ({}): {}", reply.reason, reply.text),
            (None, Some(backend)) => match backend.endpoints.as_slice() {
                [one] => format!("it goes to {}", one.address),
                all => format!("it goes to one of {} endpoints", all.len()),
            },
            (None, None) => "nothing is known of it".to_owned(),
        }
    }
}

fn certificate_words(certificate: &CertificateExplained) -> Vec<String> {
    let asked = match certificate.sni.as_str() {
        "" => "a client that asks for no name".to_owned(),
        name => format!("a client that asks for {name}"),
    };
    let pattern = certificate.pattern.as_deref().unwrap_or_default();
    let why = match certificate.why {
        CertificateReason::Exact => format!("that of this very name, for {asked}"),
        CertificateReason::Wildcard => {
            format!("that of {pattern}, for {asked}: there is none of this very name")
        }
        CertificateReason::Default => format!("the default one, for {asked}: no TLS section names it"),
        CertificateReason::SelfSigned => {
            format!("the self-signed one, for {asked}: no TLS section names it, and there is no default")
        }
    };
    std::iter::once(why).chain(certificate.offered.iter().map(offered_words)).collect()
}

fn offered_words(offered: &CertificateOffered) -> String {
    let until = Duration::from_secs(u64::try_from(offered.not_after).unwrap_or_default());
    let until = UNIX_EPOCH.checked_add(until).map(utc).unwrap_or_default();
    let covers = if offered.covers { "" } else { "; it does NOT cover that name" };
    let CertificateOffered { secret, key, names, .. } = offered;
    format!("{secret} ({key}), for {}, valid until {until}{covers}", names.join(", "))
}

fn tls_words(tls: &TlsExplained) -> String {
    format!("{}, with {}", tls.versions.join(" and "), tls.cipher_suites.join(", "))
}

fn route_words(route: &RouteExplained) -> String {
    let what = match (&route.host, &route.path) {
        (Some(host), Some(path)) => format!("{path} of host {host}"),
        (Some(host), None) => format!("default backend of host {host}"),
        (None, _) => "default backend of the listener".to_owned(),
    };
    let backend = route.backend.as_ref().map(|backend| format!(", to {backend}")).unwrap_or_default();
    let why = match route.why {
        RouteReason::Rule => "of the rules that match, it is the most specific",
        RouteReason::HostDefault => "no rule of the host matches",
        RouteReason::ListenerDefault => "the host has nothing that matches",
        RouteReason::LessSpecificPath => "it matches, but is less specific",
        RouteReason::NotNeeded => "only for what no rule matches",
        RouteReason::LessSpecificHost => "it matches, but its host is less specific, and so not asked",
        RouteReason::Younger => "somebody else has the same host and path",
        RouteReason::OtherPath => "its path does not match",
    };
    let why = route.words.as_deref().unwrap_or(why);
    format!("{what} ({}{backend}): {why}", route.object)
}

fn endpoint_words(endpoint: &EndpointExplained) -> String {
    let Some(state) = endpoint.state else { return format!("{}: ready", endpoint.address) };
    let EndpointState { known_by, ejected_by, requests, idle, check } = state;
    let conduct = match ejected_by {
        0 => "ready".to_owned(),
        ejected => format!("set aside by {ejected} of {known_by} workers, for it failed"),
    };
    let load = match known_by {
        0 => "no worker has sent it a request".to_owned(),
        _ => format!("{requests} requests under way, {idle} idle connections"),
    };
    let check = check.map(check_words).map(|words| format!("; {words}")).unwrap_or_default();
    format!("{}: {conduct}{check}; {load}", endpoint.address)
}

fn check_words(check: CheckState) -> String {
    let last = match check.last {
        CheckResult::Unknown => return "its first health check is yet to come".to_owned(),
        CheckResult::Passed => "well".to_owned(),
        CheckResult::Connect => "it takes no connection".to_owned(),
        CheckResult::Broken => "what it answers is not HTTP".to_owned(),
        CheckResult::Status(status) => format!("status {status}"),
        CheckResult::TimeOut => "no answer in time".to_owned(),
    };
    let verdict = if check.is_failing { "FAILS" } else { "passes" };
    format!("it {verdict} its health checks (the last one: {last})")
}
