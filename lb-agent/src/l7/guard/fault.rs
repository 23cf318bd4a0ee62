//! Why a client's bytes are refused before the HTTP library sees them.

use std::io;

use rustls::{Error, PeerMisbehaved};

use crate::l7::limits::Limit;

/// What is wrong with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::l7) enum Fault {
    /// Two servers could read them differently.
    Malformed(Malformed),
    /// They are too many.
    Limit(Limit),
}

/// How a request breaks the rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// A line ends with LF alone.
    BareLf,
    /// CR within a line.
    BareCr,
    /// A control byte in a line.
    ControlByte,
    /// The first line is not method, target, version, with one space between.
    RequestLine,
    /// The version is neither 1.0 nor 1.1.
    Version,
    /// A header's name is empty, has what no name may have, or no colon right after it.
    HeaderName,
    /// A header goes on in the next line.
    FoldedHeader,
    /// More than one Content-Length.
    RepeatedLength,
    /// A Content-Length that is no number.
    BadLength,
    /// Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// A Transfer-Encoding other than `chunked`, once.
    UnknownCoding,
    /// Transfer-Encoding in HTTP/1.0, which has none.
    CodingInOldVersion,
    /// A chunk that does not begin with its size.
    ChunkSize,
    /// A chunk that does not end where its size says.
    ChunkEnd,
    /// A trailer that would frame the message or say whom it is for.
    Trailer,
    /// No PROXY header where one is to be.
    ProxyHeader,
    /// A message of HTTP/2 that is none: a header that may not be there, a length that is not its body's.
    Http2Message,
    /// A frame of HTTP/2 that may not be there, or whose headers are none.
    Http2Frame,
    /// TLS: the client asked again for another handshake within a session, after that was refused.
    Renegotiation,
    /// TLS after the handshake: records that are none, or may not be there.
    TlsRecord,
    /// What the HTTP library refuses beside that.
    Other,
}

impl Malformed {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 21] = [
        Self::BareLf,
        Self::BareCr,
        Self::ControlByte,
        Self::RequestLine,
        Self::Version,
        Self::HeaderName,
        Self::FoldedHeader,
        Self::RepeatedLength,
        Self::BadLength,
        Self::LengthAndCoding,
        Self::UnknownCoding,
        Self::CodingInOldVersion,
        Self::ChunkSize,
        Self::ChunkEnd,
        Self::Trailer,
        Self::ProxyHeader,
        Self::Http2Message,
        Self::Http2Frame,
        Self::Renegotiation,
        Self::TlsRecord,
        Self::Other,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ControlByte => "control_byte",
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::HeaderName => "header_name",
            Self::FoldedHeader => "folded_header",
            Self::RepeatedLength => "repeated_length",
            Self::BadLength => "bad_length",
            Self::LengthAndCoding => "length_and_coding",
            Self::UnknownCoding => "unknown_coding",
            Self::CodingInOldVersion => "coding_in_old_version",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::Trailer => "trailer",
            Self::ProxyHeader => "proxy_header",
            Self::Http2Message => "http2_message",
            Self::Http2Frame => "http2_frame",
            Self::Renegotiation => "renegotiation",
            Self::TlsRecord => "tls_record",
            Self::Other => "other",
        }
    }

    /// What TLS broke off for after its handshake, where the client is to blame.
    pub(super) fn of_tls(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref()? {
            Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => Some(Self::Renegotiation),
            // It leaves, and says so.
            Error::AlertReceived(_) => None,
            _ => Some(Self::TlsRecord),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Limit> for Fault {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_place_and_label() {
        for (index, malformed) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(malformed as usize, index, "{malformed:?}");
            let same = Malformed::ALL.iter().filter(|other| other.label() == malformed.label());
            assert_eq!(same.count(), 1, "{malformed:?}");
        }
    }
}
