//! What failed tests said, told once more at the end: in the output of thousands of tests nobody finds it.

use std::fmt;

/// Lines told of each test.
const LINES: usize = 30;

/// Reads libtest's output line by line.
#[derive(Debug, Default)]
pub(super) struct Failures {
    told: Vec<Vec<String>>,
    /// The test whose words come now, unless they have gone on for long enough.
    is_open: bool,
}

impl Failures {
    pub(super) fn read(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.told.push(vec![line.to_owned()]);
            self.is_open = true;
            return;
        }
        // Where it was called from says little about what went wrong.
        let is_over = line.eq_ignore_ascii_case("stack backtrace:") || line == "failures:";
        self.is_open &= !is_over;
        if let Some(words) = self.told.last_mut().filter(|words| self.is_open && words.len() <= LINES)
            && !line.is_empty()
        {
            words.push(line.to_owned());
        }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.told.iter().flatten().map(String::as_str)
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(out, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_each_failed_test_and_no_backtraces() {
        let mut failures = Failures::default();
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nError: it broke\n\nStack backtrace:\n   \
                      0: main\n\n---- c stdout ----\nthread 'c' panicked at x.rs:1:1:\nleft\nstack backtrace:\n   0: main\n\n\n\
                      failures:\n    b\n    c\n\ntest result: FAILED. 1 passed; 2 failed;";
        output.lines().for_each(|line| failures.read(line));
        let told: Vec<_> = failures.lines().collect();
        assert_eq!(
            told,
            [
                "---- b stdout ----",
                "Error: it broke",
                "---- c stdout ----",
                "thread 'c' panicked at x.rs:1:1:",
                "left"
            ]
        );
    }

    #[test]
    fn a_test_that_says_much_hides_no_other() {
        let mut failures = Failures::default();
        failures.read("---- a stdout ----");
        (0..1_000).for_each(|number| failures.read(&format!("line {number}")));
        failures.read("---- b stdout ----");
        assert_eq!(failures.lines().count(), LINES + 2);
    }
}
