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

/// All of them. `cargo-deny` has little to do: unoptimised it installs in a quarter of the time.
pub(crate) const TOOLS: [Tool; 2] = [
    Tool { name: "bpf-linker", version: "0.10.3", flags: &[] },
    Tool { name: "cargo-deny", version: "0.20.2", flags: &["--debug"] },
];
