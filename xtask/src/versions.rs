//! Toolchain facts: every version that the build depends on and `Cargo.lock` does not hold. Included by
//! `lb-agent/build.rs` too, so it names nothing outside of itself.

/// The oldest rustc that builds the workspace.
pub(crate) const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// The LLVM that the pinned `bpf-linker` was made for. It loads the one of the rustc that made the bitcode.
pub(crate) const LINKER_LLVM: u32 = 22;

/// The target of the kernel program: BPF, little endian.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// Cargo programs that the project installs for itself, at exactly these versions.
pub(crate) const TOOLS: [(&str, &str); 2] = [("bpf-linker", "0.10.3"), ("cargo-deny", "0.20.2")];
