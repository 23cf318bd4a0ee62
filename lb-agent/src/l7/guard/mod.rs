//! What a client's bytes may be. HTTP libraries are lenient where it is dangerous (bare LF, two lengths) and silent
//! where it must be counted (PING floods), so the bytes are looked at beneath them: `http1` finds where messages begin
//! and end and refuses what could be read differently; `http2` counts frames. `stream` stops before what is refused.

mod fault;
#[cfg(any(test, fuzzing))]
pub(in crate::l7) mod fuzzed;
mod heads;
mod http1;
mod http2;
mod passage;
mod stream;

#[cfg(test)]
mod tests;

pub(super) use fault::Fault;
pub use fault::Malformed;
pub(super) use passage::{Passage, UploadWay};
pub(super) use stream::Guarded;
