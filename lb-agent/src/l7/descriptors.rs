//! Descriptors: each client's connection takes one, and its endpoint's another; a tunnel over a stream of HTTP/2, which has a
//! connection to an endpoint of its own, counts as a connection (`Admission`). Where the system gives too few for
//! the limit of connections, that limit is lowered at the start, and not found out under load.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::limits::{Limit, Limits, Setting};

/// For all else: maps, watches, files, the connections of `lb-agent`'s other parts.
const RESERVE: u64 = 1024;

/// The limits as they can be kept. Asks the system for all descriptors that it gives.
pub(super) fn fit(limits: Limits) -> Limits {
    let given = raise().unwrap_or_else(|error| {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
        getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
    });
    let wanted = limits.of(Limit::Connections);
    let possible = possible(given);
    if wanted <= possible {
        return limits;
    }
    tracing::warn!(
        descriptors = given,
        connections = possible,
        wanted,
        "too few descriptors for so many client connections: raise RLIMIT_NOFILE (LimitNOFILE= of systemd, ulimit -Hn)"
    );
    limits.with(Setting { limit: Limit::Connections, value: possible })
}

fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Client connections for which so many descriptors are enough.
fn possible(descriptors: u64) -> u64 {
    let shared = if descriptors > 2 * RESERVE { descriptors - RESERVE } else { descriptors / 2 };
    (shared / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_two_and_something_is_left() {
        for (descriptors, connections) in [
            (1_048_576, 523_776),
            (4096, 1536),
            (2048, 512),
            (1024, 256),
            (1, 1),
            (u64::MAX, u64::MAX / 2 - 512),
        ] {
            assert_eq!(possible(descriptors), connections, "{descriptors}");
        }
    }
}
