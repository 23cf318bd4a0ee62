//! A Secret of type `kubernetes.io/tls` -> a certificate whose key belongs to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroize;

use super::names;
use super::secret::CertificateSecret;
use super::staple::{self, StapleError};
use crate::model::{Certificate, Chain, KeyKind, ObjectRef, SecretBytes};

/// Why no certificate can be had from a Secret. Nothing of the key's bytes is ever in it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum CertificateError {
    #[error("is of type {found:?}, a certificate needs {}", names::TLS_TYPE)]
    WrongType { found: String },
    #[error("the Secret has no {key:?}")]
    Missing { key: &'static str },
    #[error("holds no PEM certificate: {reason}")]
    Chain { reason: String },
    #[error("holds no PEM certificates of authorities: {reason}")]
    Authorities { reason: String },
    #[error("the leaf is not an X.509 certificate: {reason}")]
    Leaf { reason: String },
    #[error("holds no PEM private key: {reason}")]
    Key { reason: String },
    #[error("the key is of a kind that TLS cannot use, or damaged")]
    UnusableKey,
    #[error("the key does not belong to the certificate in tls.crt")]
    KeyMismatch,
}

impl CertificateError {
    /// The Secret's field that is to be mended.
    pub(super) fn field(&self) -> String {
        match self {
            Self::WrongType { .. } => "type".to_owned(),
            Self::Missing { key } => format!("data.{key}"),
            Self::Chain { .. } | Self::Leaf { .. } => format!("data.{}", names::TLS_CERTIFICATE),
            Self::Authorities { .. } => format!("data.{}", names::TLS_AUTHORITIES),
            Self::Key { .. } | Self::UnusableKey | Self::KeyMismatch => format!("data.{}", names::TLS_KEY),
        }
    }
}

/// What a Secret holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) certificate: Arc<Certificate>,
    /// Why its OCSP response is not shown, if it has one of no use.
    pub(super) staple_error: Option<StapleError>,
}

/// The certificate of a Secret.
pub(super) fn read(name: &ObjectRef, secret: &CertificateSecret) -> Result<Found, CertificateError> {
    let (chain, key) = secret.pair()?;
    let leaf = Leaf::parse(&chain[0])?;
    let staple = secret.staple().map(|response| staple::read(response, &leaf.serial)).transpose();
    let (staple, staple_error) = staple.map_or_else(|error| (None, Some(error)), |staple| (staple, None));
    let certificate = Certificate {
        secret: name.clone(),
        key_kind: matching_kind(&chain, &key)?,
        key,
        staple,
        dns_names: leaf.dns_names,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        chain,
    };
    Ok(Found { certificate: Arc::new(certificate), staple_error })
}

/// Chain and key out of a Secret's texts; the chain has a leaf at least.
pub(super) fn pair(data: &BTreeMap<String, ByteString>) -> Result<(Chain, SecretBytes), CertificateError> {
    let chain = chain(bytes(data, names::TLS_CERTIFICATE)?)?;
    let mut key = PrivateKeyDer::from_pem_slice(bytes(data, names::TLS_KEY)?)
        .map_err(|error| CertificateError::Key { reason: reason(&error) })?;
    let own = SecretBytes::from(key.secret_der());
    key.zeroize();
    Ok((chain, own))
}

/// The certificates of authorities in a Secret, at least one.
pub(super) fn authorities(secret: &CertificateSecret) -> Result<Chain, CertificateError> {
    let key = names::TLS_AUTHORITIES;
    let all = certificates(secret.authorities().ok_or(CertificateError::Missing { key })?);
    let all = all.map_err(|reason| CertificateError::Authorities { reason })?;
    for authority in all.iter() {
        X509Certificate::from_der(authority)
            .map_err(|error| CertificateError::Authorities { reason: error.to_string() })?;
    }
    Ok(all)
}

fn bytes<'a>(
    data: &'a BTreeMap<String, ByteString>,
    key: &'static str,
) -> Result<&'a [u8], CertificateError> {
    let value = data.get(key).map(|bytes| bytes.0.as_slice());
    value.filter(|bytes| !bytes.is_empty()).ok_or(CertificateError::Missing { key })
}

fn chain(pem: &[u8]) -> Result<Chain, CertificateError> {
    certificates(pem).map_err(|reason| CertificateError::Chain { reason })
}

/// At least one.
fn certificates(pem: &[u8]) -> Result<Chain, String> {
    let all: Vec<Box<[u8]>> = CertificateDer::pem_slice_iter(pem)
        .map(|der| der.map(|der| der.as_ref().into()))
        .collect::<Result<_, _>>()
        .map_err(|error| reason(&error))?;
    if all.is_empty() { Err(reason(&pem::Error::NoItemsFound)) } else { Ok(all.into()) }
}

/// A PEM error without the bytes that it quotes: they may be those of a key.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "nothing between BEGIN and END lines".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "the END line is missing".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".to_owned(),
        pem::Error::Base64Decode(_) => "the lines between BEGIN and END are not base64".to_owned(),
        _ => "not PEM".to_owned(),
    }
}

fn matching_kind(chain: &[Box<[u8]>], key: &SecretBytes) -> Result<KeyKind, CertificateError> {
    let key = PrivateKeyDer::try_from(&**key).map_err(|_| CertificateError::UnusableKey)?;
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| CertificateError::UnusableKey)?;
    let kind = match key.algorithm() {
        SignatureAlgorithm::RSA => KeyKind::Rsa,
        _ => KeyKind::Ecdsa,
    };
    let leaf = chain.first().map(|der| CertificateDer::from(der.to_vec()));
    match CertifiedKey::new(leaf.into_iter().collect(), key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(kind),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::KeyMismatch),
        Err(error) => Err(CertificateError::Leaf { reason: error.to_string() }),
    }
}

/// What is read of the leaf.
struct Leaf {
    serial: Vec<u8>,
    dns_names: Vec<String>,
    not_before: i64,
    not_after: i64,
}

impl Leaf {
    fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let failed = |reason: String| CertificateError::Leaf { reason };
        let (_, leaf) = X509Certificate::from_der(der).map_err(|error| failed(error.to_string()))?;
        let names = leaf.subject_alternative_name().map_err(|error| failed(error.to_string()))?;
        let dns_names =
            names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            });
        let (begin, end) = (leaf.validity().not_before, leaf.validity().not_after);
        Ok(Self {
            serial: leaf.raw_serial().to_vec(),
            dns_names: dns_names.collect(),
            not_before: begin.timestamp(),
            not_after: end.timestamp(),
        })
    }
}
