//! A certificate's key, as handshakes use it.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::time;
use crate::model::Certificate;

/// A key that is parsed for the first handshake that asks for it: of ten thousand, few are asked for, and a
/// parsed one takes several times the memory. The source has seen that it can be used.
pub(super) struct Key {
    certificate: Arc<Certificate>,
    parsed: OnceLock<Option<Parsed>>,
}

struct Parsed {
    plain: Arc<CertifiedKey>,
    /// With an OCSP response, and the seconds since the Unix epoch in which it counts.
    stapled: Option<(Arc<CertifiedKey>, RangeInclusive<i64>)>,
}

impl Key {
    pub(super) fn new(certificate: Arc<Certificate>) -> Self {
        Self { certificate, parsed: OnceLock::new() }
    }

    /// The leaf's bytes: what tells certificates apart.
    pub(super) fn leaf(&self) -> &[u8] {
        self.certificate.chain.first().map(Box::as_ref).unwrap_or_default()
    }

    /// For handshakes; `None` if the cryptography library refuses it after all.
    pub(super) fn plain(&self) -> Option<&Arc<CertifiedKey>> {
        self.parsed().map(|parsed| &parsed.plain)
    }

    /// The same with its OCSP response, as long as that counts.
    pub(super) fn stapled(&self) -> Option<&Arc<CertifiedKey>> {
        let (stapled, counts) = self.parsed()?.stapled.as_ref()?;
        counts.contains(&time::now()).then_some(stapled)
    }

    fn parsed(&self) -> Option<&Parsed> {
        let parse = || match parse(&self.certificate) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                tracing::warn!(secret = %self.certificate.secret, %error, "certificate cannot be used");
                None
            }
        };
        self.parsed.get_or_init(parse).as_ref()
    }
}

/// That chain and key belong together, the source has seen.
fn parse(certificate: &Certificate) -> Result<Parsed, rustls::Error> {
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let key = PrivateKeyDer::try_from(&*certificate.key)
        .map_err(|reason| rustls::Error::General(reason.to_owned()))?;
    let plain = CertifiedKey::new(chain, any_supported_type(&key)?);
    let stapled = certificate.staple.as_ref().map(|staple| {
        let stapled = CertifiedKey { ocsp: Some(staple.response.to_vec()), ..plain.clone() };
        (Arc::new(stapled), staple.from..=staple.until)
    });
    Ok(Parsed { plain: Arc::new(plain), stapled })
}
