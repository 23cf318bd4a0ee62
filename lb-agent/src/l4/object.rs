//! The BPF object, embedded: the agent is one file.

/// The compiled `lb-ebpf` (ELF). `build.rs` built it, or took the one that the user named.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EDGELB_BPF_OBJECT"));
