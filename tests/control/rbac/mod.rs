//! The rights that `deploy` grants: enough for all that an agent does, and not one more.

mod enough;
mod granted;
mod shipped;

use std::fmt;

/// Which Secrets an agent may read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Profile {
    Cluster,
    Named,
}

impl fmt::Display for Profile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cluster => "cluster",
            Self::Named => "named",
        })
    }
}
