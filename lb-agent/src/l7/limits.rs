//! Every limit to what clients may ask of the proxy: its name, its default, what it protects from. A limit that is
//! reached is counted under its name (`lb_l7_limits_reached`).

mod setting;

use std::fmt;
use std::time::Duration;

pub use self::setting::{Setting, SettingError};

/// A limit. Its name is that of the flag's value and of the metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// Open at one time.
    Connections,
    /// Of one address, or one /64 of IPv6, at one time.
    ConnectionsPerClient,
    /// Of TLS, under way at one time.
    Handshakes,
    /// The same of one address, or one /64 of IPv6.
    HandshakesPerClient,
    /// Of a request's body.
    UploadRate,
    /// Of what waits for a client to read it.
    DownloadRate,
    /// From the first byte of a request's head to its last.
    HeadTime,
    /// Of a connection without requests.
    IdleTime,
    /// Of a request's line and headers.
    HeadBytes,
    /// Of a request.
    Headers,
    /// Of a request line's target.
    TargetBytes,
    /// Of all chunks of one request.
    ChunkExtensionBytes,
    /// Of a request, trailers alone.
    TrailerBytes,
    /// Of one header block of HTTP/2, as it is sent.
    Http2HeaderBytes,
    /// Of one header block of HTTP/2.
    Http2HeaderFrames,
    /// Of an HTTP/2 request, decoded.
    Http2HeaderListBytes,
    /// PING, SETTINGS, PRIORITY, WINDOW_UPDATE and unknown frames, beyond those that requests and data explain.
    Http2ControlFrames,
    /// DATA without data that ends nothing, of one connection.
    Http2EmptyData,
    /// Streams that the client takes back, beyond those that end otherwise.
    Http2Resets,
    /// Streams that the client has taken back before they were looked at.
    Http2PendingResets,
    /// Streams that we took back because of what the client sent on them.
    Http2LocalResets,
    /// That a stream of HTTP/2 waits for its client to give it room.
    Http2StreamStall,
    /// Under way at one endpoint.
    EndpointRequests,
    /// Of one backend that wait for an endpoint.
    PendingRequests,
    /// That a request waits for an endpoint.
    PendingTime,
    /// Of ready work in front of a worker.
    WorkerDelay,
    /// That is in use.
    Memory,
}

struct Known {
    name: &'static str,
    default: u64,
    help: &'static str,
}

const KNOWN: [Known; Limit::ALL.len()] = [
    Known {
        name: "connections",
        default: 200_000,
        help: "client connections at one time, and WebSockets over streams of HTTP/2, shared out among the workers: \
               connections beyond are closed, and such WebSockets a 503 with Retry-After",
    },
    Known {
        name: "connections-per-client",
        default: 20_000,
        help: "the same of one address, or one /64 of IPv6, shared out among the workers",
    },
    Known {
        name: "handshakes",
        default: 4000,
        help: "TLS handshakes at one time, shared out among the workers, each from its whole ClientHello on: those beyond \
               are closed",
    },
    Known {
        name: "handshakes-per-client",
        default: 1000,
        help: "handshakes of one address, or one /64 of IPv6, shared out among the workers: those beyond are closed",
    },
    Known {
        name: "upload-rate",
        default: 100,
        help: "the slowest pace of a request's body, bytes a second after the first 30 seconds: 408",
    },
    Known {
        name: "download-rate",
        default: 100,
        help: "the slowest pace at which a client reads what waits for it, bytes a second over a minute: the connection ends",
    },
    Known {
        name: "head-time",
        default: 30_000,
        help: "how long a request's line and headers may take from their first byte, and so may a TLS handshake, \
               milliseconds: HTTP/1 gets 408, HTTP/2 a GOAWAY, and the connection ends",
    },
    Known {
        name: "idle-time",
        default: 75_000,
        help: "how long a connection is kept without a request, milliseconds: it ends; a tenth of that where seven \
               eighths of the connections that there may be are open",
    },
    Known { name: "head-bytes", default: 64 * 1024, help: "request line and headers of HTTP/1, bytes: 431" },
    Known {
        name: "headers",
        default: 100,
        help: "headers of an HTTP/1 request: 431; as many trailers: 400, and the connection ends",
    },
    Known { name: "target-bytes", default: 16 * 1024, help: "target of an HTTP/1 request, bytes: 414" },
    Known {
        name: "chunk-extension-bytes",
        default: 4096,
        help: "chunk extensions of one request, bytes: 400, and the connection ends",
    },
    Known {
        name: "trailer-bytes",
        default: 8 * 1024,
        help: "trailers of one request, bytes: 400, and the connection ends",
    },
    Known {
        name: "http2-header-bytes",
        default: 64 * 1024,
        help: "one HTTP/2 header block as it is sent, bytes: the connection ends",
    },
    Known {
        name: "http2-header-frames",
        default: 7,
        help: "frames of one HTTP/2 header block: the connection ends; can be more where http2-header-list-bytes is",
    },
    Known {
        name: "http2-header-list-bytes",
        default: 64 * 1024,
        help: "headers of an HTTP/2 request, decoded and 32 more for each, bytes: 431, and the connection ends; with \
               four times as many it ends at once",
    },
    Known {
        name: "http2-control-frames",
        default: 1000,
        help: "HTTP/2 frames without work (PING, SETTINGS, PRIORITY, WINDOW_UPDATE) in a row: a tenth is \
               forgiven each second, each frame with work forgives two, and 512 bytes to the client one: the \
               connection ends",
    },
    Known {
        name: "http2-empty-data",
        default: 100,
        help: "HTTP/2 DATA frames of one connection without data, but for the last of a stream: the connection ends",
    },
    Known {
        name: "http2-resets",
        default: 200,
        help: "HTTP/2 streams that a client takes back in a row: a tenth is forgiven each second, and each new stream \
               forgives a half: the connection ends",
    },
    Known {
        name: "http2-pending-resets",
        default: 32,
        help: "HTTP/2 streams that were taken back before they were looked at: the connection ends",
    },
    Known {
        name: "http2-local-resets",
        default: 128,
        help: "HTTP/2 streams that were reset because of what the client sent on them: the connection ends",
    },
    Known {
        name: "http2-stream-stall",
        default: 300,
        help: "how long an HTTP/2 client gives no room for what waits on a stream, seconds: the stream is reset",
    },
    Known {
        name: "endpoint-requests",
        default: 100_000,
        help: "requests under way at one endpoint and WebSockets open there, shared out among the workers: where all \
               endpoints of a backend have so many, the next ones wait",
    },
    Known {
        name: "pending-requests",
        default: 1000,
        help: "requests of one backend that wait for an endpoint, shared out among the workers: 503 with Retry-After",
    },
    Known {
        name: "pending-time",
        default: 1000,
        help: "how long a request waits for an endpoint, milliseconds: 503 with Retry-After",
    },
    Known {
        name: "worker-delay",
        default: 200,
        help: "how late a worker comes to what is ready, milliseconds, for half a second: while it does, new \
               requests are a 503 with Retry-After, and new TLS connections are closed",
    },
    Known {
        name: "memory",
        default: 90,
        help: "the part of its memory limit (cgroup), and of what it has and the machine still gives, that the agent uses, \
               percent: from there on a growing share of new requests is a 503 with Retry-After, and of new TLS \
               connections closed",
    },
];

impl Limit {
    /// All of them; the position is the metric's index.
    pub const ALL: [Self; 27] = [
        Self::Connections,
        Self::ConnectionsPerClient,
        Self::Handshakes,
        Self::HandshakesPerClient,
        Self::UploadRate,
        Self::DownloadRate,
        Self::HeadTime,
        Self::IdleTime,
        Self::HeadBytes,
        Self::Headers,
        Self::TargetBytes,
        Self::ChunkExtensionBytes,
        Self::TrailerBytes,
        Self::Http2HeaderBytes,
        Self::Http2HeaderFrames,
        Self::Http2HeaderListBytes,
        Self::Http2ControlFrames,
        Self::Http2EmptyData,
        Self::Http2Resets,
        Self::Http2PendingResets,
        Self::Http2LocalResets,
        Self::Http2StreamStall,
        Self::EndpointRequests,
        Self::PendingRequests,
        Self::PendingTime,
        Self::WorkerDelay,
        Self::Memory,
    ];

    const fn known(self) -> &'static Known {
        &KNOWN[self as usize]
    }

    /// As users and metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.known().name
    }

    /// What it is unless somebody says otherwise.
    #[must_use]
    pub const fn default(self) -> u64 {
        self.known().default
    }

    /// What it limits, its unit, and what happens when it is reached.
    #[must_use]
    pub const fn help(self) -> &'static str {
        self.known().help
    }

    /// The most that it can be: what is beyond, the HTTP libraries refuse by themselves, and nobody hears of it.
    #[must_use]
    pub const fn most(self) -> u64 {
        match self {
            // Of 24,576 in a map, some are ours.
            Self::Headers => 24_000,
            Self::TargetBytes => 65_534,
            Self::ChunkExtensionBytes => 16 * 1024,
            Self::TrailerBytes => 16 * 1024 - 1,
            Self::Http2HeaderListBytes => 0xffff_ffff,
            Self::Http2EmptyData => 100,
            _ => u64::MAX,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Frames of one header block that the HTTP/2 library takes where headers may have so many bytes: it lets as many CONTINUATION
/// frames come as these fill, a fourth more, and five at least, before it wants the last one.
const fn header_frames(list_bytes: u64) -> u64 {
    let filled = list_bytes / (16 * 1024);
    let between = filled + filled / 4;
    let between = if between < 5 { 5 } else { between };
    1 + between + 1
}

/// The values of all limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits([u64; Limit::ALL.len()]);

impl Limits {
    /// The value of one.
    #[must_use]
    pub const fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// The value of one that is a time in milliseconds.
    #[must_use]
    pub const fn time(&self, limit: Limit) -> Duration {
        Duration::from_millis(self.of(limit))
    }

    /// Whether this is more than one of them allows.
    #[must_use]
    pub const fn is_over(&self, limit: Limit, amount: u64) -> bool {
        amount > self.of(limit)
    }

    /// Whether they go together.
    ///
    /// # Errors
    /// One is more than another one lets it be.
    pub const fn check(&self) -> Result<(), SettingError> {
        let most = header_frames(self.of(Limit::Http2HeaderListBytes));
        if self.of(Limit::Http2HeaderFrames) > most {
            return Err(SettingError::HeaderFrames { most });
        }
        Ok(())
    }

    /// With another value for one.
    #[must_use]
    pub const fn with(mut self, Setting { limit, value }: Setting) -> Self {
        self.0[limit as usize] = value;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self(Limit::ALL.map(Limit::default))
    }
}

/// The last word on a limit counts.
impl FromIterator<Setting> for Limits {
    fn from_iter<T: IntoIterator<Item = Setting>>(settings: T) -> Self {
        settings.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_stand_at_their_own_places_under_their_own_names() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index, "{limit:?}");
            assert_eq!(Limit::ALL.iter().filter(|other| other.name() == limit.name()).count(), 1, "{limit}");
            assert_eq!(Limits::default().of(limit), limit.default(), "{limit}");
            assert!(limit.default() <= limit.most(), "{limit}");
        }
    }

    #[test]
    fn a_header_block_has_no_more_frames_than_the_library_takes() {
        let check = |settings: &[&str]| {
            let settings = settings.iter().map(|text| text.parse::<Setting>().expect("a setting"));
            settings.collect::<Limits>().check()
        };
        let error = |most| Err(SettingError::HeaderFrames { most });
        assert_eq!(header_frames(Limit::Http2HeaderListBytes.default()), Limit::Http2HeaderFrames.default());
        assert_eq!((check(&[]), check(&["http2-header-frames=8"])), (Ok(()), error(7)));
        assert_eq!(check(&["http2-header-list-bytes=1"]), Ok(()));
        assert_eq!(check(&["http2-header-list-bytes=1048576", "http2-header-frames=82"]), Ok(()));
        assert_eq!(check(&["http2-header-list-bytes=1048576", "http2-header-frames=83"]), error(82));
    }
}
