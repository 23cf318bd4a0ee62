//! The cluster's programs: which package of which module each is, and where it is kept.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    ebpf::tools::cache,
    versions::{CLUSTER, GoModule},
};

/// A program of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) program: &'static str,
    /// The module's name in `versions`.
    module: &'static str,
    /// The package, below the module's path.
    package: &'static str,
    /// Roughly how long it takes on two cores when nothing is cached.
    pub(crate) takes: &'static str,
}

/// What serves objects, and acts on them.
pub(crate) const CONTROL_PLANE: [Part; 5] = [
    Part { program: "etcd", module: "etcd", package: "", takes: "30 s" },
    Part {
        program: "kube-apiserver",
        module: "kubernetes",
        package: "/cmd/kube-apiserver",
        takes: "3 min, with what all of Kubernetes shares",
    },
    kubernetes("kube-controller-manager", "/cmd/kube-controller-manager"),
    kubernetes("kube-scheduler", "/cmd/kube-scheduler"),
    kubernetes("kubectl", "/cmd/kubectl"),
];

/// What a node has besides `runc`.
pub(crate) const NODE: [Part; 8] = [
    kubernetes("kubelet", "/cmd/kubelet"),
    kubernetes("kube-proxy", "/cmd/kube-proxy"),
    Part { program: "containerd", module: "containerd", package: "/cmd/containerd", takes: "1 min" },
    Part { program: "ctr", module: "containerd", package: "/cmd/ctr", takes: "10 s" },
    Part {
        program: "containerd-shim-runc-v2",
        module: "containerd",
        package: "/cmd/containerd-shim-runc-v2",
        takes: "10 s",
    },
    plugin("ptp", "/plugins/main/ptp"),
    plugin("loopback", "/plugins/main/loopback"),
    plugin("host-local", "/plugins/ipam/host-local"),
];

/// What judges the proxy, and needs no cluster.
pub(crate) const JUDGES: [Part; 2] = [
    Part { program: "h2spec", module: "h2spec", package: "/cmd/h2spec", takes: "10 s" },
    Part { program: "grpcurl", module: "grpcurl", package: "/cmd/grpcurl", takes: "1 min" },
];

const fn kubernetes(program: &'static str, package: &'static str) -> Part {
    Part { program, module: "kubernetes", package, takes: "30 s" }
}

const fn plugin(program: &'static str, package: &'static str) -> Part {
    Part { program, module: "cni", package, takes: "10 s" }
}

impl Part {
    pub(crate) fn module(&self) -> &'static GoModule {
        let found = CLUSTER.iter().find(|module| module.name == self.module);
        found.expect("parts name modules of `versions`")
    }

    /// The package's import path.
    pub(crate) fn import_path(&self) -> String {
        format!("{}{}", self.module().path, self.package)
    }

    /// Where it is, or will be.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        Ok(folder(self.module())?.join("bin").join(self.program))
    }

    pub(crate) fn is_built(&self) -> bool {
        self.file().is_ok_and(|file| file.is_file())
    }
}

/// A folder of the cache for all that comes of a module in this version.
pub(crate) fn folder(module: &GoModule) -> Result<PathBuf> {
    Ok(cache()?.join("cluster").join(format!("{}-{}", module.name, module.version)))
}

/// The folders with programs.
pub(crate) fn folders() -> Result<Vec<PathBuf>> {
    CLUSTER.iter().map(|module| Ok(folder(module)?.join("bin"))).collect()
}

#[cfg(test)]
mod tests {
    use super::{CONTROL_PLANE, JUDGES, NODE};

    #[test]
    fn every_part_is_of_a_module_whose_version_is_known() {
        for part in CONTROL_PLANE.iter().chain(&NODE).chain(&JUDGES) {
            assert!(part.import_path().starts_with(part.module().path), "{}", part.program);
        }
    }
}
