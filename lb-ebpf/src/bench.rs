//! Benchmarks' frame: `BPF_PROG_TEST_RUN` with a repeat count gives each run the frame as the last one left
//! it. This program puts it back, picks the next flow, and calls the program under test by a tail call: the
//! very program that interfaces run is measured. Floors go through it too, so that it cancels out.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, ProgramArray};
use aya_ebpf::helpers::{bpf_redirect, bpf_xdp_adjust_head};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::checksum;
use lb_common::map::{BENCH_HEAD_WORDS, Bench};
use lb_ebpf::floor;

use crate::{XdpFrame, act};

#[btf_map]
static BENCH: Array<Bench, 1> = Array::new();
#[btf_map]
static BENCH_PROGRAM: ProgramArray<1> = ProgramArray::new();

const HEAD_LEN: usize = BENCH_HEAD_WORDS * 8;

/// Where the low word of the source address stands behind an untagged link header.
const SOURCE_V4: usize = 14 + 12;
const SOURCE_V6: usize = 14 + 8 + 12;
const CHECKSUM_V4: usize = 14 + 10;

/// Restores the frame, then runs the program under test on it.
#[xdp]
pub fn bench_run(context: XdpContext) -> u32 {
    match prepare(&context) {
        // SAFETY: the map holds programs of this type only.
        Some(()) => unsafe {
            BENCH_PROGRAM.tail_call(&context, 0);
            xdp_action::XDP_ABORTED
        },
        None => xdp_action::XDP_ABORTED,
    }
}

#[inline(always)]
fn prepare(context: &XdpContext) -> Option<()> {
    let bench = BENCH.get_ptr_mut(0)?;
    // SAFETY: a valid slot; benchmarks run on one CPU.
    let bench = unsafe { &mut *bench };
    let moved = bench.len as i64 - (context.data_end() - context.data()) as i64;
    // SAFETY: the kernel hands a valid context.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -(moved as i32)) } != 0 {
        return None;
    }
    let start = context.data();
    if start + HEAD_LEN > context.data_end() {
        return None;
    }
    for (index, word) in bench.head.iter().enumerate() {
        // SAFETY: compared with the end just before.
        unsafe { ((start + index * 8) as *mut u64).write(*word) };
    }
    bench.counter = bench.counter.wrapping_add(1);
    let source = bench.source.wrapping_add(bench.counter & bench.mask).to_be();
    let offset = if bench.is_v6 == 0 { SOURCE_V4 } else { SOURCE_V6 };
    // SAFETY: within the head.
    unsafe { ((start + offset) as *mut u32).write(source) };
    if bench.is_v6 == 0 {
        // The kernel drops what has a wrong one.
        let check = (start + CHECKSUM_V4) as *mut u16;
        // SAFETY: within the head.
        unsafe { check.write(with_source(check.read(), bench.source.to_be(), source)) };
    }
    Some(())
}

/// The header's checksum with another low word of the source.
#[inline(always)]
const fn with_source(check: u16, old: u32, new: u32) -> u16 {
    let check = checksum::update(check, old as u16, new as u16);
    checksum::update(check, (old >> 16) as u16, (new >> 16) as u16)
}

/// Sends a frame out by the interface that the benchmark names.
#[xdp]
pub fn bench_send(_context: XdpContext) -> u32 {
    match BENCH.get(0) {
        // SAFETY: no pointer is passed.
        Some(bench) => unsafe { bpf_redirect(bench.ifindex, 0) as u32 },
        None => xdp_action::XDP_ABORTED,
    }
}

/// Where frames end that a benchmark sent through a node.
#[xdp]
pub fn bench_sink(_context: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// The floor: what calling a program costs.
#[xdp]
pub fn floor_return(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The floor of a first hop: parse and encapsulate.
#[xdp]
pub fn floor_encap(context: XdpContext) -> u32 {
    act(floor::encapsulate(&mut XdpFrame(context)))
}
