//! Instructions that the verifier walks through: a step that makes a program much more complex shows here,
//! before it shows as a refusal on some kernel.

use std::collections::BTreeMap;
use std::path::Path;

use lb_common::map::program;
use lb_tests::kernel::verified_instructions;

#[expect(dead_code, reason = "those of what has nothing to do with the object")]
#[path = "../../xtask/src/versions.rs"]
mod versions;

/// Growth beyond this needs a look, and then a new snapshot.
const TOLERANCE: f64 = 1.10;

/// With a kernel and a compiler of which there is no snapshot.
const TOLERANCE_ELSEWHERE: f64 = 3.0;

/// Counts differ between kernels and compilers: each pair has its own. The object is built by no other LLVM than this one.
fn environment() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux tells its release");
    let release = kernel.trim().split('.').take(2).collect::<Vec<_>>().join(".");
    format!("linux-{release} llvm-{}", versions::LINKER_LLVM)
}

#[test]
fn verified_instructions_stay_near_the_snapshot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("datapath/verified.json");
    let text = std::fs::read_to_string(&path).expect("the snapshot is there");
    let snapshot: BTreeMap<String, BTreeMap<String, u32>> = serde_json::from_str(&text).expect("JSON");
    let programs =
        [program::XDP, program::CAPTURE, program::GIVEN, program::CAPTURE_GIVEN, program::SK_LOOKUP];
    let found = verified_instructions(&programs).expect("the programs load");
    // Without a snapshot of this kernel and compiler, the others' are a looser bound.
    let (known, tolerance) = match snapshot.get(&environment()) {
        Some(known) => (known, TOLERANCE),
        None => (snapshot.values().next_back().expect("a snapshot"), TOLERANCE_ELSEWHERE),
    };
    let grown = |(name, count): (&'static str, u32)| {
        let is_grown = f64::from(count) > f64::from(known[name]) * tolerance;
        is_grown.then(|| format!("{name}: {count}, {} before", known[name]))
    };
    let grown: Vec<String> = found.into_iter().filter_map(grown).collect();
    assert!(
        grown.is_empty(),
        "verified instructions: {}; if that is worth it, write them to {}",
        grown.join("; "),
        path.display()
    );
}
