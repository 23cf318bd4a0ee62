//! The lab's certificate authority, and what it signs.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority; its certificate is in `tls/ca.pem` of the lab's folder, for `curl --cacert`.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_der: Vec<u8>,
}

/// A certificate with its key, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The leaf.
    pub chain: String,
    /// Its key, PKCS#8.
    pub key: String,
    /// The leaf in DER, to compare with what a server shows.
    pub der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(pem: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "edgelb lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        fs::write(pem, certificate.pem())?;
        Ok(Self { certificate_der: certificate.der().to_vec(), issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate in DER, for a client's root store.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.certificate_der
    }

    /// A certificate for DNS names and addresses.
    ///
    /// # Errors
    /// If a name is none.
    pub fn sign(&self, names: &[&str]) -> Result<Certificate> {
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
        })
    }
}
