//! The kinds of clients.

use serde::Serialize;

/// What a client does with its connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One request, then silence below the keep-alive time-out, and one request more at the end.
    Idle,
    /// HTTP/1.1, a request each second.
    KeepAlive,
    /// HTTP/2 over TLS: two streams that stay open, and a request each second.
    Http2,
    /// HTTP/1.1 over TLS, a request each second.
    Tls,
    /// WebSocket messages that come back, one each second.
    WebSocket,
    /// A slow download.
    Download,
    /// A slow upload.
    Upload,
    /// A new connection for each request.
    Connect,
    /// As `Connect`, while a relay delays, loses and repeats SYNs and SYN-ACKs.
    ConnectRough,
}

impl Kind {
    /// Those that hold their connections; the others open new ones all the time.
    pub const HELD: [Self; 7] =
        [Self::Idle, Self::KeepAlive, Self::Http2, Self::Tls, Self::WebSocket, Self::Download, Self::Upload];

    /// For people.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::KeepAlive => "keep-alive",
            Self::Http2 => "HTTP/2",
            Self::Tls => "TLS",
            Self::WebSocket => "WebSocket",
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Connect => "new",
            Self::ConnectRough => "new, rough",
        }
    }

    /// The port that it connects to.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Http2 | Self::Tls => 443,
            _ => 80,
        }
    }
}
