//! `spec.tls` -> certificates by host, with what deserves a look about them.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};
use k8s_openapi::jiff::Timestamp;

use super::classes::Classes;
use crate::model::{Certificate, HostPattern, Kind, ObjectRef, Problem, Staple};
use crate::source::index::{Unusable, secrets_of};
use crate::source::{Index, Settings, names};

/// The certificate that an Ingress wants for a host.
#[derive(Clone, Debug)]
pub(super) struct HostCertificate {
    /// The host, or `Any` for a section that names none.
    pub(super) host: HostPattern,
    /// The certificate.
    pub(super) certificate: Arc<Certificate>,
    /// The section, from 0.
    pub(super) section: usize,
}

impl HostCertificate {
    /// Where it stands: `spec.tls[0]`.
    pub(super) fn field(&self) -> String {
        field(self.section)
    }
}

fn field(section: usize) -> String {
    format!("spec.tls[{section}]")
}

/// The certificates of one Ingress. A section without a Secret leaves the choice to the default certificate, if its class
/// has one.
pub(super) fn translate(
    name: &ObjectRef,
    ingress: &Ingress,
    has_default: bool,
    index: &Index,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Vec<HostCertificate> {
    let sections = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()).enumerate();
    let mut certificates = Vec::new();
    for (at, section) in sections {
        let field = field(at);
        let Some(secret) = section.secret_name.as_deref().filter(|name| !name.is_empty()) else {
            let message = "names no Secret, and there is no default certificate: where no other Ingress has one for its \
                           hosts, clients get a self-signed one";
            problems.extend((!has_default).then(|| Problem::warning(name, field, message)));
            continue;
        };
        let secret = ObjectRef::new(Kind::Secret, name.namespace.as_str(), secret);
        let Some(certificate) = load(name, &format!("{field}.secretName"), &secret, index, now, problems)
        else {
            continue;
        };
        for host in hosts(name, &field, section, problems) {
            check_covers(name, &field, &host, &certificate, problems);
            certificates.push(HostCertificate { host, certificate: Arc::clone(&certificate), section: at });
        }
    }
    certificates.shrink_to_fit();
    certificates
}

/// So few are read as they are needed.
const FEW: usize = 64;

/// Reads the certificates that these Ingresses name on all processors, before they are needed: of ten thousand, the
/// keys are most of the work of the first translation.
pub(super) fn read_ahead(names: &[&ObjectRef], index: &Index, classes: &Classes) {
    if names.len() <= FEW {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(processors)) {
            scope.spawn(|| {
                for (name, ingress) in part.iter().filter_map(|name| Some((*name, index.ingress(name)?))) {
                    if classes.of_ingress(name, ingress, &mut Vec::new()).is_some() {
                        secrets_of(name, ingress).for_each(|secret| _ = index.certificate(&secret));
                    }
                }
            });
        }
    });
}

/// The operator's certificate for hosts that no section names.
pub(super) fn default(
    index: &Index,
    settings: &Settings,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    let (namespace, name) = settings.default_certificate.as_ref()?;
    let secret = ObjectRef::new(Kind::Secret, namespace.as_str(), name.as_str());
    match index.certificate(&secret) {
        None => {
            problems.push(Problem::error(&secret, "", "the default certificate's Secret does not exist"));
            None
        }
        Some(_) => load(&secret, "", &secret, index, now, problems),
    }
}

/// The certificate of a Secret that `user` names at `field`; both hear of it if there is none.
pub(super) fn load(
    user: &ObjectRef,
    field: &str,
    secret: &ObjectRef,
    index: &Index,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    match index.certificate(secret) {
        None => {
            problems.push(Problem::error(user, field, format!("{secret} does not exist")));
            None
        }
        Some(Err(Unusable { error, last_good })) => {
            let stays = last_good.map_or("", |_| "; its last good certificate stays in use");
            problems.push(Problem::error(secret, error.field(), format!("{error}{stays}")));
            if user != secret {
                let message = format!("{secret} holds no usable certificate: {error}{stays}");
                problems.push(Problem::error(user, field, message));
            }
            last_good.cloned()
        }
        Some(Ok(certificate)) => {
            let invalid = validity(certificate, now).map(|message| Problem::warning(user, field, message));
            problems.extend(invalid);
            problems.extend(of_staple(secret, certificate, index, now));
            Some(Arc::clone(certificate))
        }
    }
}

/// Why an OCSP response is not shown though the Secret has one. The certificate is served without it.
fn of_staple(secret: &ObjectRef, certificate: &Certificate, index: &Index, now: i64) -> Option<Problem> {
    let field = format!("data.{}", names::TLS_STAPLE);
    if let Some(error) = index.staple_error(secret) {
        return Some(Problem::error(secret, field, format!("{error}: handshakes go without it")));
    }
    let Staple { from, until, .. } = certificate.staple.as_ref()?;
    let message = match now {
        now if now > *until => format!("the OCSP response ended at {}", told(*until)),
        now if now < *from => format!("the OCSP response does not count before {}", told(*from)),
        _ => return None,
    };
    Some(Problem::warning(secret, field, format!("{message}: handshakes go without it")))
}

fn told(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| "a time far away".to_owned(), |time| time.to_string())
}

/// What a client would say of a certificate that is not valid at this time.
fn validity(certificate: &Certificate, now: i64) -> Option<String> {
    let Certificate { secret, not_before, not_after, .. } = certificate;
    if *not_after < now {
        return Some(format!("the certificate in {secret} expired at {}", told(*not_after)));
    }
    (*not_before > now).then(|| {
        format!("the certificate in {secret} is not valid before {}: clients refuse it", told(*not_before))
    })
}

fn hosts(
    name: &ObjectRef,
    field: &str,
    section: &IngressTLS,
    problems: &mut Vec<Problem>,
) -> Vec<HostPattern> {
    let listed = section.hosts.as_deref().unwrap_or_default();
    if listed.is_empty() {
        return vec![HostPattern::Any];
    }
    let mut hosts = Vec::new();
    for (at, host) in listed.iter().enumerate() {
        match HostPattern::parse(host) {
            Ok(HostPattern::Any) => {
                problems.push(Problem::error(name, format!("{field}.hosts[{at}]"), "the host is empty"));
            }
            Ok(host) => hosts.push(host),
            Err(error) => {
                problems.push(Problem::error(name, format!("{field}.hosts[{at}]"), error.to_string()))
            }
        }
    }
    hosts
}

fn check_covers(
    name: &ObjectRef,
    field: &str,
    host: &HostPattern,
    certificate: &Certificate,
    problems: &mut Vec<Problem>,
) {
    if !certificate.dns_names.iter().any(|dns_name| covers(dns_name, host)) {
        let names = certificate.dns_names.join(", ");
        let message =
            format!("the certificate in {} does not cover {host}, but only: {names}", certificate.secret);
        problems.push(Problem::warning(name, field, message));
    }
}

/// A name of a certificate covers a host if it is the same, or the wildcard for the host's first label.
fn covers(dns_name: &str, host: &HostPattern) -> bool {
    let wildcard = dns_name.strip_prefix("*.");
    match host {
        HostPattern::Any => true,
        HostPattern::Wildcard(parent) => wildcard == Some(parent),
        HostPattern::Precise(host) => {
            dns_name == host
                || (wildcard.is_some() && host.split_once('.').map(|(_, parent)| parent) == wildcard)
        }
    }
}

#[cfg(test)]
mod tests;
