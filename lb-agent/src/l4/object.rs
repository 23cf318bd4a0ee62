//! The BPF object, embedded: the agent is one file.

#[cfg(debug_assertions)]
use std::sync::OnceLock;

/// The compiled `lb-ebpf` (ELF). `build.rs` built it, or took the one that the user named.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("EDGELB_BPF_OBJECT"));

/// The one that is loaded instead, to try updates to another program.
#[cfg(debug_assertions)]
static OTHER: OnceLock<Vec<u8>> = OnceLock::new();

/// Has this object loaded from now on.
///
/// # Errors
/// If the file cannot be read.
#[cfg(debug_assertions)]
pub fn load_instead(file: &std::path::Path) -> std::io::Result<()> {
    let object = std::fs::read(file)?;
    OTHER.get_or_init(|| object);
    Ok(())
}

/// What is loaded.
#[cfg(debug_assertions)]
pub(super) fn object() -> &'static [u8] {
    OTHER.get().map_or(OBJECT, Vec::as_slice)
}

#[cfg(not(debug_assertions))]
pub(super) fn object() -> &'static [u8] {
    OBJECT
}
