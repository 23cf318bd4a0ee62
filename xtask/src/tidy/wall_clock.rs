//! The time of day is only told, never decided by: clocks jump.

use super::{
    rust_text::{RustText, has_word},
    text::{Finding, Text},
};

/// Where a moment is written down for people, or told to the cluster as its API wants it. What these files decide, they
/// decide by `Instant`; but a certificate's end is a time of day (`source/publish.rs`), and warned of by it, and it is what
/// nodes have in common for the periods of session tickets (`l7/tls/time.rs`).
const ALLOWED: [&str; 13] = [
    "lb-agent/src/admin/capture/session.rs",
    "lb-agent/src/admin/live.rs",
    "lb-agent/src/app.rs",
    "lb-agent/src/l4/capture/mod.rs",
    "lb-agent/src/l7/moment.rs",
    "lb-agent/src/l7/tls/time.rs",
    "lb-agent/src/source/kube/conditions.rs",
    "lb-agent/src/source/kube/stored.rs",
    "lb-agent/src/source/publish.rs",
    "lb-agent/src/status/election.rs",
    "lb-agent/src/status/events.rs",
    "lb-agent/src/status/history.rs",
    "lb-agent/src/status/node_lease.rs",
];

/// Folders of what runs on an edge node.
const GUARDED: [&str; 3] = ["lb-agent/", "lb-common/", "lb-ebpf/"];

const CLOCKS: [&str; 6] = [
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "CLOCK_REALTIME",
    "CLOCK_TAI",
    "bpf_ktime_get_tai_ns",
];

pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let guarded = |text: &&Text| {
        text.is_rust()
            && GUARDED.iter().any(|folder| text.path.starts_with(folder))
            && !ALLOWED.contains(&text.path.as_str())
    };
    texts.iter().filter(guarded).flat_map(in_file).collect()
}

fn in_file(text: &Text) -> Vec<Finding> {
    let rust = RustText::read(&text.text);
    let uses = rust.lines().filter(|(_, line)| CLOCKS.iter().any(|clock| has_word(line, clock)));
    uses.map(|(line, _)| Finding::new(text, line, "the time of day outside of the allowed files")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::text::findings, check};

    #[test]
    fn the_time_of_day_is_found_where_it_could_decide() {
        let code = "//! A.\nlet now = SystemTime::now();\n";
        assert_eq!(findings(check, &[("lb-agent/src/l4/clock.rs", code)]).len(), 1);
        assert!(findings(check, &[("lb-agent/src/status/events.rs", code)]).is_empty());
        assert!(findings(check, &[("tests/src/lab/wait.rs", code)]).is_empty());
        assert!(findings(check, &[("lb-agent/src/l4/clock.rs", "//! A.\nInstant::now()\n")]).is_empty());
    }
}
