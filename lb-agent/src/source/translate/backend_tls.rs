//! Annotations of an Ingress -> how endpoints are to prove who they are, and what they are shown: ours, or those of
//! ingress-nginx. What cannot be had is never taken for what need not be verified: requests get 503.

use k8s_openapi::api::networking::v1::Ingress;
use rustls_pki_types::ServerName;

use super::listed::Listed;
use super::sticky::truth;
use crate::model::{BackendTls, Chain, Identity, Kind, ObjectRef, Problem};
use crate::source::certificate::CertificateError;
use crate::source::index::Unusable;
use crate::source::{Index, names};

const KEYS: &str = "ca, client-certificate, server-name, verify";

/// What an Ingress asks for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum TlsChoice {
    /// Nothing: no certificate is verified, and none is shown.
    #[default]
    Usual,
    /// This.
    Such(Box<Terms>),
    /// What cannot be had.
    Unusable,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Terms {
    server_name: Option<String>,
    hides_name: bool,
    authorities: Option<Chain>,
    identity: Option<Identity>,
}

/// What an Ingress says.
struct Said<'a> {
    /// The annotation that names Secrets.
    key: &'static str,
    authorities: Option<&'a str>,
    identity: Option<&'a str>,
    /// Whether the Secret may have no certificate of ours.
    may_lack_identity: bool,
    server_name: Option<&'a str>,
    hides_name: bool,
}

/// What is wrong with an annotation.
type Wrong = (&'static str, String);

impl TlsChoice {
    /// By the annotations of an Ingress.
    pub(super) fn by(
        name: &ObjectRef,
        ingress: &Ingress,
        index: &Index,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let terms = match said(&name.namespace, ingress) {
            Ok(None) => return Self::Usual,
            Ok(Some(said)) => said.terms(&name.namespace, index),
            Err(wrong) => Err(wrong),
        };
        terms.map(Box::new).map_or_else(
            |(key, message)| {
                let message = format!("{message}: requests to endpoints over TLS get 503");
                problems.push(Problem::error(name, format!("metadata.annotations[{key}]"), message));
                Self::Unusable
            },
            Self::Such,
        )
    }

    /// The terms with this name where none is given; none where they cannot be had.
    pub(super) fn with(&self, server_name: impl FnOnce() -> String) -> Option<BackendTls> {
        match self {
            Self::Usual => Some(BackendTls::unverified(server_name())),
            Self::Such(terms) => Some(BackendTls {
                server_name: terms.server_name.clone().unwrap_or_else(server_name),
                hides_name: terms.hides_name,
                authorities: terms.authorities.clone(),
                identity: terms.identity.clone(),
            }),
            Self::Unusable => None,
        }
    }
}

/// The Secrets that an Ingress names, each with the field.
pub(in crate::source) fn secrets(name: &ObjectRef, ingress: &Ingress) -> Vec<(ObjectRef, String)> {
    let Ok(Some(said)) = said(&name.namespace, ingress) else { return Vec::new() };
    let mut all: Vec<&str> = said.authorities.into_iter().chain(said.identity).collect();
    all.dedup();
    let secret = |secret| ObjectRef::new(Kind::Secret, name.namespace.as_str(), secret);
    all.into_iter().map(|named| (secret(named), format!("metadata.annotations[{}]", said.key))).collect()
}

fn said<'a>(namespace: &str, ingress: &'a Ingress) -> Result<Option<Said<'a>>, Wrong> {
    let Some(annotations) = &ingress.metadata.annotations else { return Ok(None) };
    if let Some(text) = annotations.get(names::BACKEND_TLS) {
        return ours(text).map(Some).map_err(|wrong| (names::BACKEND_TLS, wrong));
    }
    let [secret, verify, server_name, sends_name] =
        names::PROXY_SSL.map(|key| annotations.get(key).map(|value| value.trim()));
    if [secret, verify, server_name, sends_name].iter().all(Option::is_none) {
        return Ok(None);
    }
    let [secret_key, verify_key, name_key, sends_key] = names::PROXY_SSL;
    let switch = |key, value: Option<&str>| match value {
        Some("on") => Ok(Some(true)),
        Some("off") => Ok(Some(false)),
        Some(other) => Err((key, format!("{other:?} is not on or off"))),
        None => Ok(None),
    };
    let verifies = switch(verify_key, verify)?.unwrap_or_default();
    let hides_name = switch(sends_key, sends_name)? == Some(false);
    let secret =
        secret.map(|text| own(text, namespace).ok_or_else(|| elsewhere(secret_key, text))).transpose()?;
    if verifies && secret.is_none() {
        return Err((verify_key, format!("{secret_key} is missing, which says what is to be trusted")));
    }
    let server_name =
        server_name.map(|text| host(text).ok_or_else(|| (name_key, no_name(text)))).transpose()?;
    let authorities = secret.filter(|_| verifies);
    Ok(Some(Said {
        key: secret_key,
        authorities,
        identity: secret,
        may_lack_identity: true,
        server_name,
        hides_name,
    }))
}

fn ours(text: &str) -> Result<Said<'_>, String> {
    let mut listed = Listed::read(text)?;
    let secret = |text| Some(text).filter(|text: &&str| !text.is_empty() && !text.contains('/'));
    let authorities = listed.parsed("ca", secret, "the name of a Secret of this namespace")?;
    let identity = listed.parsed("client-certificate", secret, "the name of a Secret of this namespace")?;
    let server_name = listed.parsed("server-name", host, "a host name")?;
    let switch = |text: &str| match text {
        "on" => Some(true),
        "off" => Some(false),
        other => truth(other),
    };
    let verifies = listed.parsed("verify", switch, "on or off")?;
    listed.end(KEYS)?;
    if verifies == Some(true) && authorities.is_none() {
        return Err("ca is missing, which says what is to be trusted".to_owned());
    }
    let authorities = authorities.filter(|_| verifies != Some(false));
    let key = names::BACKEND_TLS;
    Ok(Said { key, authorities, identity, may_lack_identity: false, server_name, hides_name: false })
}

/// A Secret of this namespace, named alone or with its namespace.
fn own<'a>(text: &'a str, namespace: &str) -> Option<&'a str> {
    match text.split_once('/') {
        None => Some(text),
        Some((place, secret)) => (place == namespace).then_some(secret),
    }
    .filter(|secret| !secret.is_empty())
}

fn elsewhere(key: &'static str, text: &str) -> Wrong {
    (key, format!("{text:?} is no Secret of this namespace"))
}

fn host(text: &str) -> Option<&str> {
    ServerName::try_from(text).is_ok().then_some(text)
}

fn no_name(text: &str) -> String {
    format!("{text:?} is not a host name")
}

impl Said<'_> {
    fn terms(&self, namespace: &str, index: &Index) -> Result<Terms, Wrong> {
        let secret = |name: &str| ObjectRef::new(Kind::Secret, namespace, name);
        let authorities = self.authorities.map(|name| {
            let secret = secret(name);
            let found = index.authorities(&secret).ok_or_else(|| self.missing(&secret))?;
            found.map_err(|error| self.unusable(&secret, &error))
        });
        let identity = self.identity.map(|name| self.identity(&secret(name), index));
        Ok(Terms {
            server_name: self.server_name.map(str::to_owned),
            hides_name: self.hides_name,
            authorities: authorities.transpose()?,
            identity: identity.transpose()?.flatten(),
        })
    }

    fn identity(&self, secret: &ObjectRef, index: &Index) -> Result<Option<Identity>, Wrong> {
        match index.certificate(secret) {
            Some(Ok(certificate)) => Ok(Some(Identity(certificate.clone()))),
            Some(Err(Unusable { error, .. })) if self.may_lack_identity && is_lack(error) => Ok(None),
            Some(Err(Unusable { error, .. })) => Err(self.unusable(secret, error)),
            None => Err(self.missing(secret)),
        }
    }

    fn missing(&self, secret: &ObjectRef) -> Wrong {
        (self.key, format!("{secret} does not exist"))
    }

    fn unusable(&self, secret: &ObjectRef, error: &CertificateError) -> Wrong {
        (self.key, format!("{secret}: {error}"))
    }
}

/// Whether a Secret has no certificate, rather than a bad one.
fn is_lack(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Missing { .. } | CertificateError::WrongType { .. })
}

#[cfg(test)]
mod tests;
