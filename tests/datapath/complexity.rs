//! Instructions that the verifier walks through: a step that makes a program much more complex shows here,
//! before it shows as a refusal on some kernel.

use std::collections::BTreeMap;
use std::path::Path;

use lb_common::map::program;
use lb_tests::kernel::verified_instructions;

/// Growth beyond this needs a look, and then a new snapshot.
const TOLERANCE: f64 = 1.10;

/// On a kernel of which there is no snapshot.
const TOLERANCE_ELSEWHERE: f64 = 3.0;

/// Counts differ between kernels and compilers: each pair has its own.
fn environment() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells its release");
    let release = kernel.trim().split('.').take(2).collect::<Vec<_>>().join(".");
    format!("linux-{release}")
}

#[test]
fn verified_instructions_stay_near_the_snapshot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datapath/verified.json");
    let text = std::fs::read_to_string(&path).expect("the snapshot is there");
    let snapshot: BTreeMap<String, BTreeMap<String, u32>> = serde_json::from_str(&text).expect("JSON");
    let programs =
        [program::XDP, program::CAPTURE, program::GIVEN, program::CAPTURE_GIVEN, program::SK_LOOKUP];
    let found = verified_instructions(&programs).expect("the programs load");
    // Verifiers differ: without a snapshot of this kernel, the others' are a looser bound.
    let (known, tolerance) = match snapshot.get(&environment()) {
        Some(known) => (known, TOLERANCE),
        None => (snapshot.values().next_back().expect("a snapshot"), TOLERANCE_ELSEWHERE),
    };
    for (name, count) in found {
        let limit = f64::from(known[name]) * tolerance;
        assert!(
            f64::from(count) <= limit,
            "{name}: {count} verified instructions, {} in {}; if that is worth it, write {count} there",
            known[name],
            path.display()
        );
    }
}
