//! Why handshakes with endpoints fail, as metrics name it.

use std::io;

use rustls::{CertificateError, Error};

/// What a handshake ended with instead of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointTlsFailure {
    /// No authority that counts has signed its certificate.
    Untrusted,
    /// Its certificate is for another name.
    Name,
    /// Its certificate does not count any more, or not yet.
    Expired,
    /// Something else is wrong with its certificate.
    Certificate,
    /// It says that it refuses: mostly our certificate, or that there is none.
    Refused,
    /// It chooses a protocol that is not spoken with it.
    Protocol,
    /// It closed the connection, or it broke off.
    Closed,
    /// Whatever else: mostly it speaks no TLS.
    Other,
}

impl EndpointTlsFailure {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 8] = [
        Self::Untrusted,
        Self::Name,
        Self::Expired,
        Self::Certificate,
        Self::Refused,
        Self::Protocol,
        Self::Closed,
        Self::Other,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Name => "name",
            Self::Expired => "expired",
            Self::Certificate => "certificate",
            Self::Refused => "refused",
            Self::Protocol => "protocol",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }

    /// By what the library says.
    pub(in crate::l7) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref()) {
            Some(Error::InvalidCertificate(error)) => Self::of_certificate(error),
            Some(Error::AlertReceived(_)) => Self::Refused,
            Some(Error::NoApplicationProtocol) => Self::Protocol,
            Some(_) => Self::Other,
            None => Self::Closed,
        }
    }

    const fn of_certificate(error: &CertificateError) -> Self {
        match error {
            // Another one may go by the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::Name,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            _ => Self::Certificate,
        }
    }
}
