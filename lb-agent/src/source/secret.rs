//! A Secret as it is kept: chain and key of its certificate once, as the bytes that the certificate shares, and
//! without their text, which is twice as long.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pem::Pem;
use rustls_pki_types::PrivateKeyDer;
use serde::{Serialize, Serializer};
use zeroize::Zeroize;

use super::certificate::{self, CertificateError};
use super::names;
use crate::model::{Chain, SecretBytes};

/// Those of its texts that are kept.
const KEPT: [&str; 4] = [names::TLS_CERTIFICATE, names::TLS_KEY, names::TLS_STAPLE, names::TLS_AUTHORITIES];

/// A Secret of which a certificate can be made, or it can be said why not.
#[derive(Clone, PartialEq)]
pub struct CertificateSecret {
    pub(super) metadata: ObjectMeta,
    content: Content,
}

#[derive(Clone, PartialEq)]
enum Content {
    /// Whether they fit is not known yet.
    Pair { chain: Chain, key: SecretBytes, staple: Option<Arc<[u8]>>, authorities: Option<Arc<[u8]>> },
    /// Of the type, but of its texts one is missing or damaged.
    Text(Texts),
    /// Of another type.
    Other { type_: Option<String>, authorities: Option<Arc<[u8]>> },
}

impl CertificateSecret {
    /// What is kept of a Secret with this metadata.
    pub(super) fn new(metadata: ObjectMeta, secret: Secret) -> Self {
        let mut texts = Texts(secret.data.unwrap_or_default());
        if secret.type_.as_deref() != Some(names::TLS_TYPE) {
            let authorities = authorities(&texts.0).map(Arc::from);
            return Self { metadata, content: Content::Other { type_: secret.type_, authorities } };
        }
        texts.keep();
        let content = match certificate::pair(&texts.0) {
            Ok((chain, key)) => {
                let (staple, authorities) = (staple(&texts.0), authorities(&texts.0));
                let (staple, authorities) = (staple.map(Arc::from), authorities.map(Arc::from));
                Content::Pair { chain, key, staple, authorities }
            }
            Err(_) => Content::Text(texts),
        };
        Self { metadata, content }
    }

    /// Chain and key, the leaf first.
    pub(super) fn pair(&self) -> Result<(Chain, SecretBytes), CertificateError> {
        match &self.content {
            Content::Pair { chain, key, .. } => Ok((chain.clone(), key.clone())),
            Content::Text(Texts(data)) => certificate::pair(data),
            Content::Other { type_, .. } => Err(CertificateError::WrongType {
                found: type_.clone().unwrap_or_else(|| "Opaque".to_owned()),
            }),
        }
    }

    /// The OCSP response, if it has one.
    pub(super) fn staple(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Pair { staple, .. } => staple.as_deref(),
            Content::Text(Texts(data)) => staple(data),
            Content::Other { .. } => None,
        }
    }

    /// The certificates of authorities, if it has some: in a Secret of any type.
    pub(super) fn authorities(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Pair { authorities, .. } | Content::Other { authorities, .. } => authorities.as_deref(),
            Content::Text(Texts(data)) => authorities(data),
        }
    }
}

/// A Secret's texts, of which some are secret: cleared when they go.
#[derive(Clone, PartialEq)]
struct Texts(BTreeMap<String, ByteString>);

impl Texts {
    /// Clears what is of no use.
    fn keep(&mut self) {
        let useless = self.0.iter_mut().filter(|(key, _)| !KEPT.contains(&key.as_str()));
        useless.for_each(|(_, text)| text.0.zeroize());
        self.0.retain(|key, _| KEPT.contains(&key.as_str()));
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.0.values_mut().for_each(|text| text.0.zeroize());
    }
}

fn staple(data: &BTreeMap<String, ByteString>) -> Option<&[u8]> {
    data.get(names::TLS_STAPLE).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

fn authorities(data: &BTreeMap<String, ByteString>) -> Option<&[u8]> {
    data.get(names::TLS_AUTHORITIES).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty())
}

/// As Kubernetes has it: what is kept of it comes back.
impl From<&CertificateSecret> for Secret {
    fn from(secret: &CertificateSecret) -> Self {
        let tls = || Some(names::TLS_TYPE.to_owned());
        let (type_, data) = match &secret.content {
            Content::Pair { chain, key, staple, authorities } => {
                let mut texts = texts(chain, key, staple.as_deref());
                texts.extend(authorities.as_deref().map(authorities_text));
                (tls(), Some(texts))
            }
            Content::Text(Texts(data)) => (tls(), Some(data.clone())),
            Content::Other { type_, authorities } => {
                (type_.clone(), authorities.as_deref().map(|pem| [authorities_text(pem)].into()))
            }
        };
        Self { metadata: secret.metadata.clone(), type_, data, ..Self::default() }
    }
}

fn authorities_text(pem: &[u8]) -> (String, ByteString) {
    (names::TLS_AUTHORITIES.to_owned(), ByteString(pem.to_vec()))
}

fn texts(chain: &[Box<[u8]>], key: &SecretBytes, staple: Option<&[u8]>) -> BTreeMap<String, ByteString> {
    let text = |tag: &str, der: &[u8]| {
        let block = Pem::new(tag, der);
        let text = pem::encode(&block).into_bytes();
        block.into_contents().zeroize();
        text
    };
    let tag = match PrivateKeyDer::try_from(&**key) {
        Ok(PrivateKeyDer::Sec1(_)) => "EC PRIVATE KEY",
        Ok(PrivateKeyDer::Pkcs1(_)) => "RSA PRIVATE KEY",
        _ => "PRIVATE KEY",
    };
    let chain = chain.iter().flat_map(|der| text("CERTIFICATE", der)).collect();
    let mut texts = BTreeMap::from([
        (names::TLS_CERTIFICATE.to_owned(), ByteString(chain)),
        (names::TLS_KEY.to_owned(), ByteString(text(tag, key))),
    ]);
    texts.extend(staple.map(|staple| (names::TLS_STAPLE.to_owned(), ByteString(staple.to_vec()))));
    texts
}

impl Serialize for CertificateSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut secret = Secret::from(self);
        let written = secret.serialize(serializer);
        // Cleared when they go.
        drop(secret.data.take().map(Texts));
        written
    }
}

impl fmt::Debug for CertificateSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateSecret").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(type_: Option<&str>, data: &[(&str, &str)]) -> CertificateSecret {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), ByteString((*text).into())));
        let secret =
            Secret { type_: type_.map(str::to_owned), data: Some(data.collect()), ..Secret::default() };
        CertificateSecret::new(ObjectMeta { name: Some("a".to_owned()), ..ObjectMeta::default() }, secret)
    }

    /// Whatever is kept, it comes back from what Kubernetes would have.
    #[track_caller]
    fn check(secret: &CertificateSecret) {
        let written = Secret::from(secret);
        let read = CertificateSecret::new(written.metadata.clone(), written);
        assert_eq!(*secret, read);
        assert_eq!(secret.pair(), read.pair());
        assert_eq!(secret.staple(), read.staple());
        assert_eq!(secret.authorities(), read.authorities());
    }

    #[test]
    fn nothing_is_lost() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
            let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            let params = rcgen::CertificateParams::new(["x.org".to_owned()]).expect("names");
            let made = params.self_signed(&key).expect("a certificate").pem();
            let text = [("tls.crt", made.repeat(2)), ("tls.key", key.serialize_pem())];
            let text = text.each_ref().map(|(key, text)| (*key, text.as_str()));
            let tls = secret(Some("kubernetes.io/tls"), &text);
            assert!(matches!(&tls.content, Content::Pair { chain, .. } if chain.len() == 2));
            check(&tls);
            let stapled = [text[0], text[1], ("tls.ocsp-staple", "bytes")];
            let stapled = secret(Some("kubernetes.io/tls"), &stapled);
            assert_eq!(stapled.staple(), Some(&b"bytes"[..]));
            check(&stapled);
            let with_authorities = [text[0], text[1], ("ca.crt", "authorities")];
            let with_authorities = secret(Some("kubernetes.io/tls"), &with_authorities);
            assert_eq!(with_authorities.authorities(), Some(&b"authorities"[..]));
            check(&with_authorities);
            let cut = secret(Some("kubernetes.io/tls"), &[text[0], ("tls.key", &text[1].1[..80])]);
            assert!(cut.pair().is_err());
            check(&cut);
        }
        check(&secret(Some("kubernetes.io/tls"), &[]));
        check(&secret(Some("Opaque"), &[("password", "x")]));
        let authorities = secret(Some("Opaque"), &[("password", "x"), ("ca.crt", "y")]);
        assert_eq!(authorities.authorities(), Some(&b"y"[..]));
        check(&authorities);
        check(&secret(None, &[]));
    }

    #[test]
    fn nothing_shows_in_logs() {
        let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let text =
            format!("{:?}", secret(Some("kubernetes.io/tls"), &[("tls.key", &key), ("other", "hidden")]));
        assert!(!text.contains(&key[40..60]) && !text.contains("hidden"), "{text}");
    }
}
