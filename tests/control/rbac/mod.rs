//! The rights that `deploy` grants: enough for all that an agent does, and not one more.

mod enough;
mod granted;

use std::fmt;

use anyhow::Result;

use crate::shipped::Shipped;

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

/// `deploy` applied in a profile, with what takes it away.
fn ship(profile: Profile) -> Result<Shipped> {
    let shipped = Shipped::start()?;
    let mut own = "resources: [../base, ../uninstall]\n".to_owned();
    if profile == Profile::Named {
        own.push_str("components: [../components/named-secrets]\n");
        let example = "deploy/components/named-secrets/secrets-of-a-namespace.yaml";
        shipped.apply("--filename", &shipped.folder.path().join(example))?;
    }
    shipped.apply_own(&own)?;
    Ok(shipped)
}
