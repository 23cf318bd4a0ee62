//! Programs of the distribution that a task needs: found on the path, or installed where we may.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::workspace::succeed;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

/// Ordinary HTTP and HTTPS requests, as a user would make them.
pub(crate) const CURL: Program = Program { name: "curl", package: "curl" };

/// What is in front of the proxy and behind it in its tests, and others wrote.
pub(crate) const PROXY_PEERS: [Program; 9] = [
    CURL,
    Program { name: "h2load", package: "nghttp2-client" },
    Program { name: "haproxy", package: "haproxy" },
    Program { name: "nginx", package: "nginx-light" },
    Program { name: "node", package: "nodejs" },
    Program { name: "npm", package: "npm" },
    Program { name: "openssl", package: "openssl" },
    Program { name: "python3", package: "python3" },
    Program { name: "slowhttptest", package: "slowhttptest" },
];

/// What a lab's tests run beside the agent: as `CURL`, what looks at the shipped unit, and what has one process see another
/// time.
pub(crate) const LAB: [Program; 3] = [
    CURL,
    Program { name: "faketime", package: "faketime" },
    Program { name: "systemd-analyze", package: "systemd" },
];

/// What a node of the test cluster takes from the distribution: containers, and kube-proxy's rules.
pub(crate) const NODE: [Program; 2] = [Program { name: "runc", package: "runc" }, NFT];

/// Packet filter and NAT of the kernel.
pub(crate) const NFT: Program = Program { name: "nft", package: "nftables" };

impl Program {
    pub(crate) fn is_present(self) -> bool {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(self.name).is_file())
    }

    /// The command that installs it.
    pub(crate) fn remedy(self) -> String {
        format!("apt-get install -y {}", self.package)
    }
}

/// Installs the programs that are missing.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    for program in programs.iter().filter(|program| !program.is_present()) {
        if !Path::new("/usr/bin/apt-get").is_file() {
            bail!("{} is missing: install it with your distribution's package manager", program.name);
        }
        eprintln!("edgelb: installing {}", program.package);
        apt(&["update", "-qq"])
            .and_then(|()| apt(&["install", "-y", "-qq", "--no-install-recommends", program.package]))
            .with_context(|| format!("{} is missing; this would help: {}", program.name, program.remedy()))?;
    }
    Ok(())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    succeed(
        apt.args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Servers are installed for benchmarks: where the init system listens to this, none is started.
            .env("RUNLEVEL", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    )
}
