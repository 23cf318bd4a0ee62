//! TLS towards clients.

/// A version of TLS that clients may speak. The order is that of their age.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V1_2, Self::V1_3];

    /// As objects and metrics have it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}
