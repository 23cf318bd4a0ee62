//! Asks the kernel what it can load and what it has loaded, for `lb-agent doctor`. Changes nothing.

use std::io;

use aya::programs::{ProgramError, ProgramType, loaded_programs};
use aya::sys::is_program_supported;

/// Whether the kernel takes XDP programs.
///
/// # Errors
/// What the kernel said; `PermissionDenied` without CAP_BPF.
pub fn takes_xdp() -> io::Result<bool> {
    is_program_supported(ProgramType::Xdp).map_err(io_error)
}

/// Whether the kernel takes socket lookup programs.
///
/// # Errors
/// As `takes_xdp`.
pub fn takes_sk_lookup() -> io::Result<bool> {
    is_program_supported(ProgramType::SkLookup).map_err(io_error)
}

/// The name of a loaded program, empty if it has none.
///
/// # Errors
/// As `takes_xdp`, and `NotFound` for a program that is gone.
pub fn program_name(id: u32) -> io::Result<String> {
    for program in loaded_programs() {
        let program = program.map_err(io_error)?;
        if program.id() == id {
            return Ok(program.name_as_str().unwrap_or_default().to_owned());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn io_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
