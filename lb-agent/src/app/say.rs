//! What a command says to whoever started it.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes words to the standard output as they are.
///
/// # Errors
/// If they cannot be written. A reader that has seen enough (`lb-agent doctor | head`) is no error.
pub(super) fn say(words: impl Display) -> Result<()> {
    write(io::stdout().lock(), words)
}

fn write(mut out: impl Write, words: impl Display) -> Result<()> {
    match write!(out, "{words}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to the standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error() {
        assert!(write(Refusing(ErrorKind::BrokenPipe), "words").is_ok());
        let error = write(Refusing(ErrorKind::StorageFull), "words").expect_err("nothing was written");
        assert!(error.to_string().starts_with("cannot write"), "{error}");
        let mut out = Vec::new();
        assert!(write(&mut out, "words").is_ok());
        assert_eq!(out, b"words");
    }
}
