//! The packet path while somebody captures: a program that does what `edgelb_xdp` does and tells of it. It takes that
//! one's place on the interfaces for so long; nothing of it is in the program that runs else.

use core::slice::from_raw_parts;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_xdp_load_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::capture::{Filter, HEAD, MAX_SNAP, PACKET, Slot};
use lb_common::verdict::Counter;
use lb_ebpf::{Fragment, Frame, Rest, begin, filter, go_on};

use crate::{KernelMaps, MAX_ACTION, XdpFrame, act, carry, edgelb_follow, look_at, xdp_action};

#[btf_map]
static CAPTURE: Array<Filter, 1> = Array::new();
#[btf_map]
static CAPTURE_SLOT: PerCpuArray<Slot, 1> = PerCpuArray::new();
/// One page; who captures makes it larger.
#[btf_map]
static CAPTURED: RingBuf<u64, 4096> = RingBuf::new();

/// As `edgelb_xdp`, between keeping the packet and telling what became of it.
#[xdp]
#[inline(always)]
pub fn edgelb_capture(context: XdpContext) -> u32 {
    let is_kept = edgelb_keep(context.ctx);
    let action = match edgelb_noted_begin(context.ctx) {
        action @ 0..=MAX_ACTION => action,
        // SAFETY: the kernel hands a valid context.
        rest if Rest(rest).is_fragment() => match unsafe { edgelb_noted_collect(context.ctx, 0) } {
            action @ 0..=MAX_ACTION => action,
            rest => edgelb_noted_go_on(context.ctx, rest),
        },
        rest => edgelb_noted_go_on(context.ctx, rest),
    };
    if is_kept == 1 {
        edgelb_tell(context.ctx, action);
    }
    action
}

/// As `edgelb_given`, likewise.
#[xdp]
pub fn edgelb_capture_given(context: XdpContext) -> u32 {
    let is_kept = edgelb_keep(context.ctx);
    // SAFETY: the kernel hands a valid context.
    let action = match unsafe { edgelb_noted_collect(context.ctx, 1) } {
        action @ 0..=MAX_ACTION => action,
        // There is nothing left to do for one of these.
        _ => xdp_action::XDP_DROP,
    };
    if is_kept == 1 {
        edgelb_tell(context.ctx, action);
    }
    action
}

/// `edgelb_begin`, with its verdict noted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_noted_begin(context: *mut xdp_md) -> u32 {
    match begin(&mut XdpFrame(XdpContext::new(context)), &KernelMaps::<true>) {
        Ok(action) => act(action),
        Err(Rest(rest)) => rest,
    }
}

/// `edgelb_go_on`, with its verdict noted.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_noted_go_on(context: *mut xdp_md, rest: u32) -> u32 {
    act(go_on(&mut XdpFrame(XdpContext::new(context)), &KernelMaps::<true>, Rest(rest)))
}

/// `edgelb_collect`, with its verdict noted.
///
/// # Safety
/// `context` is the kernel's.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_noted_collect(context: *mut xdp_md, is_given: u32) -> u32 {
    let mut fragment = Fragment::default();
    // SAFETY: the caller's promise, and references point to a whole one.
    unsafe {
        let looked = edgelb_noted_look(context, &raw mut fragment);
        if !Rest(looked).is_fragment() {
            return looked;
        }
        let next = edgelb_follow(context, &raw const fragment);
        edgelb_noted_carry_out(context, &raw const fragment, next, is_given)
    }
}

/// `edgelb_look`, with its verdict noted.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_noted_look(context: *mut xdp_md, fragment: *mut Fragment) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { look_at::<true>(context, fragment) }
}

/// `edgelb_carry_out`, with its verdict noted.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_noted_carry_out(
    context: *mut xdp_md,
    fragment: *const Fragment,
    next: u64,
    is_given: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { carry::<true>(context, fragment, next, is_given) }
}

/// Keeps the start of a packet that the filter asks for: 1 if it does.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_keep(context: *mut xdp_md) -> u32 {
    let (Some(wanted), Some(slot)) = (CAPTURE.get(0), CAPTURE_SLOT.get_ptr_mut(0)) else { return 0 };
    let frame = XdpFrame(XdpContext::new(context));
    if !filter::matches(wanted, &frame, &KernelMaps::<false>) {
        return 0;
    }
    // SAFETY: a valid slot of this CPU, and nothing preempts the program on it.
    let record = unsafe { &mut (*slot).record };
    record.length = (frame.end() - frame.start()) as u32;
    record.interface = frame.interface();
    // SAFETY: the clock may be read at any time.
    record.at = unsafe { bpf_ktime_get_ns() };
    let kept = bounded::<MAX_SNAP>(record.length.min(wanted.snap));
    record.kept = kept;
    // SAFETY: the record has room for as much.
    let copied = unsafe { bpf_xdp_load_bytes(context, 0, record.packet.as_mut_ptr().cast(), kept) };
    u32::from(copied == 0)
}

/// The verdict of the packet in hand.
#[inline(always)]
pub(crate) fn note(Counter(counter): Counter) {
    if let Some(slot) = CAPTURE_SLOT.get_ptr_mut(0) {
        // SAFETY: as in `edgelb_keep`.
        unsafe { (*slot).record.verdict = counter };
    }
}

/// Tells what became of the packet that was kept, if its verdict is asked for and it is its turn.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_tell(context: *mut xdp_md, action: u32) -> u32 {
    let (Some(wanted), Some(slot)) = (CAPTURE.get(0), CAPTURE_SLOT.get_ptr_mut(0)) else { return 0 };
    // SAFETY: as in `edgelb_keep`.
    let slot = unsafe { &mut *slot };
    if !wanted.wants(slot.record.verdict) || !is_next(slot, wanted) {
        return 0;
    }
    slot.record.sent = if matches!(action, xdp_action::XDP_TX | xdp_action::XDP_REDIRECT) {
        head(context, &mut slot.record.head)
    } else {
        0
    };
    let len = PACKET + bounded::<MAX_SNAP>(slot.record.kept) as usize;
    // SAFETY: so much of the record is within the slot: plain bytes, all of them written once.
    let bytes = unsafe { from_raw_parts((&raw const slot.record).cast::<u8>(), len) };
    if CAPTURED.output_untyped::<[u8]>(bytes, 0).is_err() {
        slot.lost += 1;
    }
    0
}

/// Whether it is the turn of this one of those that match, and there may be one more. Each CPU counts for itself: who
/// reads leaves out what is too much.
#[inline(always)]
#[expect(clippy::manual_is_multiple_of, reason = "it would ask whether the divisor is 0 once more")]
fn is_next(slot: &mut Slot, wanted: &Filter) -> bool {
    let before = slot.matched;
    slot.matched += 1;
    let is_next = before % u64::from(wanted.sample.max(1)) == 0 && slot.made < wanted.count;
    slot.made += u64::from(is_next);
    is_next
}

/// The start of the frame as it leaves.
#[inline(always)]
fn head(context: *mut xdp_md, head: &mut [u8; HEAD]) -> u32 {
    let frame = XdpFrame(XdpContext::new(context));
    let len = bounded::<HEAD>((frame.end() - frame.start()) as u32);
    // SAFETY: there is room for as much.
    let copied = unsafe { bpf_xdp_load_bytes(context, 0, head.as_mut_ptr().cast(), len) };
    if copied == 0 { len } else { 0 }
}

/// From 1 to `MOST`, in a way that the verifier sees, too: the compiler knows nothing of the value that is compared.
#[inline(always)]
fn bounded<const MOST: usize>(len: u32) -> u32 {
    let len = lb_ebpf::opaque(len as usize);
    if len == 0 {
        return 1;
    }
    if len > MOST { MOST as u32 } else { len as u32 }
}
