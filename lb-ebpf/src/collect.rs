//! The kernel shell of fragments: the steps of `collect`, and the ring through which the agent gets what it is to hold.

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::helpers::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use lb_common::fragment::{Handed, Head, MAX_FRAME, RING_BYTES};
use lb_common::verdict::{DropReason, Verdict};
use lb_ebpf::{Fragment, Next, Rest, carry_out, follow, look, opaque};

use crate::{KernelMaps, MAX_ACTION, XdpFrame, act};

/// Of `Handed`; libbpf wants to hear of no size.
#[btf_map]
static RING: RingBuf<[u8; 0], { RING_BYTES as usize }> = RingBuf::new();

/// The packet path for the fragments that the agent gives back.
#[xdp]
pub fn edgelb_given(context: XdpContext) -> u32 {
    // SAFETY: the kernel hands a valid context.
    match unsafe { edgelb_collect(context.ctx, 1) } {
        action @ 0..=MAX_ACTION => action,
        // There is nothing left to do for one of these.
        _ => xdp_action::XDP_DROP,
    }
}

/// `collect`, as `edgelb_begin` is `begin`. Where all three steps are in one function, they do not fit on the stack.
///
/// # Safety
/// `context` is the kernel's.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_collect(context: *mut xdp_md, is_given: u32) -> u32 {
    let mut fragment = Fragment::default();
    // SAFETY: the caller's promise, and references point to a whole one.
    unsafe {
        let looked = edgelb_look(context, &raw mut fragment);
        if !Rest(looked).is_fragment() {
            return looked;
        }
        let next = edgelb_follow(context, &raw const fragment);
        edgelb_carry_out(context, &raw const fragment, next, is_given)
    }
}

/// `look`, into any fragment.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_look(context: *mut xdp_md, fragment: *mut Fragment) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { look_at::<false>(context, fragment) }
}

/// `look`, with or without a note of its verdict.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(always)]
pub(crate) unsafe fn look_at<const NOTES: bool>(context: *mut xdp_md, fragment: *mut Fragment) -> u32 {
    // SAFETY: the caller's promise.
    let Some(fragment) = (unsafe { fragment.as_mut() }) else { return xdp_action::XDP_ABORTED };
    match look(&XdpFrame(XdpContext::new(context)), &KernelMaps::<NOTES>, fragment) {
        Ok(action) => act(action),
        Err(Rest(rest)) => rest,
    }
}

/// `carry_out` of any fragment.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_carry_out(
    context: *mut xdp_md,
    fragment: *const Fragment,
    next: u64,
    is_given: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { carry::<false>(context, fragment, next, is_given) }
}

/// `carry_out`, with or without a note of its verdict.
///
/// # Safety
/// As of `edgelb_follow`.
#[inline(always)]
pub(crate) unsafe fn carry<const NOTES: bool>(
    context: *mut xdp_md,
    fragment: *const Fragment,
    next: u64,
    is_given: u32,
) -> u32 {
    // SAFETY: the caller's promise.
    let Some(fragment) = (unsafe { fragment.as_ref() }) else { return xdp_action::XDP_ABORTED };
    let frame = &mut XdpFrame(XdpContext::new(context));
    match carry_out(frame, &KernelMaps::<NOTES>, fragment, Next(next), is_given != 0) {
        Ok(action) => act(action),
        Err(Rest(rest)) => rest,
    }
}

/// A global function as `edgelb_walk`, for any fragment.
///
/// # Safety
/// `fragment` points to a whole one, or is null: the kernel checks it at each call.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_follow(context: *mut xdp_md, fragment: *const Fragment) -> u64 {
    // SAFETY: the caller's promise.
    match unsafe { fragment.as_ref() } {
        Some(fragment) => follow(fragment, &XdpFrame(XdpContext::new(context)), &KernelMaps::<false>).0,
        // It never is.
        None => Verdict::Drop(DropReason::Fragment).counter().into(),
    }
}

/// Gives the agent a copy of the frame: false if there is no room for it.
#[inline(always)]
pub(crate) fn hand_over(context: *mut xdp_md, head: Head) -> bool {
    // SAFETY: the kernel hands a valid context.
    let len = opaque(unsafe { bpf_xdp_get_buff_len(context) } as usize);
    if len > MAX_FRAME {
        return false;
    }
    // Two comparisons, of one register: of a difference the verifier learns nothing.
    let len = opaque(len);
    if len == 0 {
        return false;
    }
    let len = len as u32;
    let Some(mut entry) = RING.reserve_untyped::<Handed>(0) else { return false };
    let handed = entry.as_mut_ptr();
    // SAFETY: an entry of the ring, ours until it is submitted or discarded.
    let copied = unsafe {
        (*handed).head = Head { len, ..head };
        bpf_xdp_load_bytes(context, 0, (&raw mut (*handed).frame).cast(), len)
    };
    if copied == 0 {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
    copied == 0
}
