//! The cookie by which a client comes to the same endpoint again.

use std::time::Duration;

/// Its name, and what stands beside its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// Where browsers send it; without one, below the path of the route.
    pub path: Option<String>,
    /// To which hosts, if to others than the one that gave it.
    pub domain: Option<String>,
    /// How long they keep it; without, until they are closed.
    pub max_age: Option<Duration>,
    /// Whether they send it with requests from other sites.
    pub same_site: Option<SameSite>,
    /// Whether they send it over HTTPS alone; without, if they got it so.
    pub is_secure: Option<bool>,
    /// Whether a client whose endpoint fails stays with the one that answered instead.
    pub changes_on_failure: bool,
}

/// With which requests from other sites browsers send a cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SameSite {
    /// None.
    Strict,
    /// Those that follow a link.
    Lax,
    /// All.
    None,
}

impl SameSite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Lax, Self::None];

    /// As cookies have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}
