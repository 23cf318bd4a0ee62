//! A Secret of type `kubernetes.io/tls` -> a certificate whose key belongs to it.

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::names;
use crate::model::{Certificate, KeyKind, ObjectRef, PrivateKey};

/// Why no certificate can be had from a Secret. Nothing of the key's bytes is ever in it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum CertificateError {
    #[error("is of type {found:?}, a certificate needs {}", names::TLS_TYPE)]
    WrongType { found: String },
    #[error("the Secret has no {key:?}")]
    Missing { key: &'static str },
    #[error("holds no PEM certificate: {reason}")]
    Chain { reason: String },
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
            Self::Key { .. } | Self::UnusableKey | Self::KeyMismatch => format!("data.{}", names::TLS_KEY),
        }
    }
}

/// The certificate of a Secret.
pub(super) fn read(name: &ObjectRef, secret: &Secret) -> Result<Certificate, CertificateError> {
    let found = secret.type_.as_deref().unwrap_or("Opaque");
    if found != names::TLS_TYPE {
        return Err(CertificateError::WrongType { found: found.to_owned() });
    }
    let chain = chain(bytes(secret, names::TLS_CERTIFICATE)?)?;
    let key = PrivateKeyDer::from_pem_slice(bytes(secret, names::TLS_KEY)?)
        .map_err(|error| CertificateError::Key { reason: reason(&error) })?;
    let secret_der = PrivateKey(key.secret_der().to_vec());
    let leaf = Leaf::parse(&chain[0])?;
    Ok(Certificate {
        secret: name.clone(),
        key_kind: matching_kind(&chain, key)?,
        key: secret_der,
        dns_names: leaf.dns_names,
        not_before: leaf.not_before,
        not_after: leaf.not_after,
        chain: chain.into_iter().map(|der| der.to_vec()).collect(),
    })
}

fn bytes<'a>(secret: &'a Secret, key: &'static str) -> Result<&'a [u8], CertificateError> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value
        .map(|bytes| bytes.0.as_slice())
        .filter(|bytes| !bytes.is_empty())
        .ok_or(CertificateError::Missing { key })
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let failed = |error: pem::Error| CertificateError::Chain { reason: reason(&error) };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(failed)?;
    if chain.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(chain) }
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

fn matching_kind(
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
) -> Result<KeyKind, CertificateError> {
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| CertificateError::UnusableKey)?;
    let kind = match key.algorithm() {
        SignatureAlgorithm::RSA => KeyKind::Rsa,
        _ => KeyKind::Ecdsa,
    };
    match CertifiedKey::new(chain.to_vec(), key).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(kind),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::KeyMismatch),
        Err(error) => Err(CertificateError::Leaf { reason: error.to_string() }),
    }
}

/// What is read of the leaf.
struct Leaf {
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
        Ok(Self { dns_names: dns_names.collect(), not_before: begin.timestamp(), not_after: end.timestamp() })
    }
}
