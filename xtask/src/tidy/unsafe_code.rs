//! `unsafe` stands only where the kernel border needs it.

use super::{
    rust_text::{RustText, has_word},
    text::{Finding, Text},
};

/// Files and folders whose `unsafe` is read line by line in review.
const ALLOWED: [&str; 4] =
    ["lb-common/src/pod.rs", "lb-ebpf/src/", "tests/src/host.rs", "tests/src/lab/offload.rs"];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let guarded =
        |text: &&Text| text.is_rust() && !ALLOWED.iter().any(|allowed| text.path.starts_with(allowed));
    texts.iter().filter(guarded).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let uses = rust.lines().filter(|(_, line)| has_word(line, "unsafe"));
    uses.map(|(line, _)| Finding::new(text, line, "`unsafe` outside of the allowed files")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn unsafe_is_found_in_code_only() {
        assert_eq!(findings(check, &[("lb-agent/src/l4/mod.rs", "//! A.\nunsafe { f() }\n")]).len(), 1);
        assert!(findings(check, &[("lb-ebpf/src/main.rs", "unsafe { f() }")]).is_empty());
        assert!(
            findings(check, &[("lb-agent/src/lib.rs", "// unsafe\n#![forbid(unsafe_code)]\n")]).is_empty()
        );
    }
}
