//! Why handshakes fail, as metrics name it.

use std::io;

use rustls::{Error, PeerIncompatible};

/// What a handshake ended with instead of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFailure {
    /// The client took too long.
    TimeOut,
    /// The client closed the connection, or it broke off.
    Closed,
    /// What came is no TLS, or breaks its rules.
    Malformed,
    /// The client offers no version that is allowed here.
    Version,
    /// There is no cipher suite, group or kind of signature that both have.
    Unsuited,
    /// The client speaks none of our protocols (ALPN).
    Protocol,
    /// The client says that it refuses: mostly the certificate.
    Refused,
    /// Whatever else.
    Other,
}

impl HandshakeFailure {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 8] = [
        Self::TimeOut,
        Self::Closed,
        Self::Malformed,
        Self::Version,
        Self::Unsuited,
        Self::Protocol,
        Self::Refused,
        Self::Other,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TimeOut => "time_out",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Unsuited => "unsuited",
            Self::Protocol => "protocol",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }

    /// By what the library says.
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref()) {
            Some(error) => Self::of_tls(error),
            None => Self::Closed,
        }
    }

    const fn of_tls(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                // Who names no kinds of signature is older than TLS 1.2.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled,
            ) => Self::Version,
            Error::PeerIncompatible(_) => Self::Unsuited,
            Error::NoApplicationProtocol => Self::Protocol,
            Error::AlertReceived(_) => Self::Refused,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::PeerSentOversizedRecord
            | Error::DecryptError => Self::Malformed,
            _ => Self::Other,
        }
    }
}
