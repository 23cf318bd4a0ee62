//! The kernel shell: programs, maps and raw pointers around the library's steps. Only for the BPF target.

#![no_std]
#![no_main]
#![expect(unreachable_pub, missing_docs, reason = "aya's macros export programs by name")]

mod bench;
mod capture;
mod collect;
mod socket;

use core::ptr::read_volatile;

use aya_ebpf::bindings::{sk_action, xdp_action, xdp_md};
use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray, SockMap};
use aya_ebpf::helpers::{
    bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use aya_ebpf::macros::{btf_map, sk_lookup, xdp};
use aya_ebpf::programs::{SkLookupContext, XdpContext};
use lb_common::fragment::{Datagram, DatagramKey, Head, MAX_DATAGRAMS};
use lb_common::limit::{self, Limit, take};
use lb_common::map::{
    BEAT_LIMIT, Config, MAX_MEMBERS, MAX_SERVICES, MAX_TABLES, Member, Rows, SERVICE_BUCKETS, TABLE_SLOTS,
    TableHead, Traffic, member,
};
use lb_common::row::{MemberId, Row};
use lb_common::service_table::{ServiceBucket, ServiceKey4, ServiceKey6};
use lb_common::verdict::{COUNTERS, Counter, DropReason, Verdict};
use lb_ebpf::{
    Action, Choice, Frame, Lookup, Maps, Next, Payload, Rest, Walk, begin, choose, go_on, go_on_by_two_keys,
    hand_on, led_on, named, step,
};

#[btf_map]
static CONFIG: Array<Config, 1> = Array::new();
#[btf_map]
static SERVICES4: Array<ServiceBucket<ServiceKey4>, { SERVICE_BUCKETS as usize }> = Array::new();
#[btf_map]
static SERVICES6: Array<ServiceBucket<ServiceKey6>, { SERVICE_BUCKETS as usize }> = Array::new();
#[btf_map]
static TABLES: Array<TableHead, { MAX_TABLES as usize }> = Array::new();
#[btf_map]
static ROWS: Array<Rows, { (MAX_TABLES * TABLE_SLOTS) as usize }> = Array::new();
#[btf_map]
static MEMBERS: Array<Member, { MAX_MEMBERS as usize }> = Array::new();
#[btf_map]
static VERDICTS: PerCpuArray<u64, { COUNTERS as usize }> = PerCpuArray::new();
#[btf_map]
static TRAFFIC: PerCpuArray<Traffic, { MAX_SERVICES as usize }> = PerCpuArray::new();
#[btf_map]
static BEAT: Array<u64, 1> = Array::new();
#[btf_map]
static LIMITS: PerCpuArray<u64, { limit::LIMITS as usize }> = PerCpuArray::new();
#[btf_map]
static LISTENERS: SockMap<2> = SockMap::new();
#[btf_map]
static DATAGRAMS: LruHashMap<DatagramKey, Datagram, { MAX_DATAGRAMS as usize }> = LruHashMap::new();

/// The packet path. Its parts are functions of their own: one that is done has given its stack back, of which there
/// are 512 bytes, and the verifier looks at each once.
#[xdp]
#[inline(always)]
pub fn edgelb_xdp(context: XdpContext) -> u32 {
    match edgelb_begin(context.ctx) {
        action @ 0..=MAX_ACTION => action,
        // SAFETY: the kernel hands a valid context.
        rest if Rest(rest).is_fragment() => match unsafe { collect::edgelb_collect(context.ctx, 0) } {
            action @ 0..=MAX_ACTION => action,
            rest => edgelb_go_on(context.ctx, rest),
        },
        rest if Rest(rest).is_by_two_keys() => match edgelb_go_on_by_two_keys(context.ctx) {
            action @ 0..=MAX_ACTION => action,
            rest => edgelb_go_on(context.ctx, rest),
        },
        rest => edgelb_go_on(context.ctx, rest),
    }
}

/// What `begin` says: an action, or above all actions what is left to do.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_begin(context: *mut xdp_md) -> u32 {
    match begin(&mut XdpFrame(XdpContext::new(context)), &KernelMaps::<false>) {
        Ok(action) => act(action),
        Err(Rest(rest)) => rest,
    }
}

/// What `go_on_by_two_keys` says, as `edgelb_begin`.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_go_on_by_two_keys(context: *mut xdp_md) -> u32 {
    match go_on_by_two_keys(&mut XdpFrame(XdpContext::new(context)), &KernelMaps::<false>) {
        Ok(action) => act(action),
        Err(Rest(rest)) => rest,
    }
}

/// What is left to do.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_go_on(context: *mut xdp_md, rest: u32) -> u32 {
    act(go_on(&mut XdpFrame(XdpContext::new(context)), &KernelMaps::<false>, Rest(rest)))
}

/// Steers connections to VIPs to the proxy's listeners.
#[sk_lookup]
pub fn edgelb_sk_lookup(context: SkLookupContext) -> u32 {
    // SAFETY: the kernel hands a valid context.
    let lookup = unsafe { &*context.lookup };
    let local = match lookup.family {
        AF_INET => Lookup::V4(lookup.local_ip4),
        _ => Lookup::V6(local_ip6(&lookup.local_ip6)),
    };
    match choose(&KernelMaps::<false>, local, (lookup.local_port as u16).to_be(), lookup.protocol as u8) {
        Choice::Kernel => sk_action::SK_PASS,
        // Without a listener (the agent is gone) the connection is refused, not handed to another socket.
        Choice::Listener(index) => match LISTENERS.redirect_sk_lookup(&context, index, 0) {
            Ok(()) => sk_action::SK_PASS,
            Err(_) => sk_action::SK_DROP,
        },
        Choice::Refuse => sk_action::SK_DROP,
    }
}

/// The verifier wants each word of the context loaded from a constant offset. Volatile, or the compiler
/// makes a pointer to the array first.
#[inline(always)]
fn local_ip6(words: &[u32; 4]) -> [u64; 2] {
    let [a, b, c, d] = words;
    // SAFETY: references are valid for reads.
    let [a, b, c, d] = unsafe { [read_volatile(a), read_volatile(b), read_volatile(c), read_volatile(d)] };
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}

/// A global function in the kernel's words: verified on its own, for any walk.
///
/// # Safety
/// `walk` points to a whole one, or is null: the kernel checks it at each call.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_walk(context: *mut xdp_md, walk: *const Walk) -> u64 {
    // SAFETY: the caller's promise.
    match unsafe { walk.as_ref() } {
        Some(walk) => {
            step(walk, &XdpFrame(XdpContext::new(context)), &KernelMaps::<false>, &socket::Kernel(context)).0
        }
        // It never is.
        None => Verdict::Drop(DropReason::NoMember).counter().into(),
    }
}

/// `Row::joined`: a function of its own, like the walk.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_joined(by_key: u64, by_other: u64) -> u64 {
    let is_down = |id: MemberId| MEMBERS.get(id.into()).is_some_and(|found| found.flags & member::DOWN != 0);
    Row::from_bits(by_key).joined(Row::from_bits(by_other), is_down).bits()
}

/// `hand_on`: a function of its own, like the walk.
///
/// # Safety
/// As of the walk.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_hand_on(walk: *const Walk, next: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { walk.as_ref() }.map_or(next, |walk| hand_on(walk, Next(next), &KernelMaps::<false>).0)
}

/// `led_on`: a function of its own, like the walk.
///
/// # Safety
/// As of the walk.
#[inline(never)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn edgelb_led_on(walk: *const Walk) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { walk.as_ref() }.map_or(0, |walk| led_on(walk, &KernelMaps::<false>).bits())
}

/// The member that a QUIC datagram names: a function of its own, like the walk.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn edgelb_named(context: *mut xdp_md, start: u32, end: u32) -> u32 {
    named(&XdpFrame(XdpContext::new(context)), &KernelMaps::<false>, Payload { start, end }).into()
}

/// Lets everything through: `XDP_TX` into a veth arrives only if its other end has a program too.
#[xdp]
pub fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

const AF_INET: u32 = 2;

/// The largest number of an XDP action.
const MAX_ACTION: u32 = xdp_action::XDP_REDIRECT;

#[inline(always)]
fn act(action: Action) -> u32 {
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::Transmit => xdp_action::XDP_TX,
        // SAFETY: no pointer is passed.
        Action::Redirect(interface) => unsafe { bpf_redirect(interface, 0) as u32 },
    }
}

struct XdpFrame(XdpContext);

// SAFETY: the verifier checks each access against the same bounds.
unsafe impl Frame for XdpFrame {
    #[inline(always)]
    fn start(&self) -> usize {
        self.0.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.0.data_end()
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the kernel hands a valid context.
        unsafe { (*self.0.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn adjust_head(&mut self, delta: i32) -> bool {
        // SAFETY: the kernel hands a valid context.
        unsafe { bpf_xdp_adjust_head(self.0.ctx, delta) == 0 }
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> bool {
        let delta = self.start() as i64 + len as i64 - self.end() as i64;
        // SAFETY: as above.
        unsafe { bpf_xdp_adjust_tail(self.0.ctx, delta as i32) == 0 }
    }

    #[inline(always)]
    fn hand_over(&self, head: Head) -> bool {
        collect::hand_over(self.0.ctx, head)
    }

    #[inline(always)]
    fn walk(&self, walk: &Walk) -> Next {
        // SAFETY: a reference points to a whole one.
        Next(unsafe { edgelb_walk(self.0.ctx, walk) })
    }

    #[inline(always)]
    fn named(&self, payload: Payload) -> MemberId {
        edgelb_named(self.0.ctx, payload.start, payload.end) as MemberId
    }
}

/// The maps; with `NOTES` for the program that tells of each verdict.
struct KernelMaps<const NOTES: bool>;

impl<const NOTES: bool> Maps for KernelMaps<NOTES> {
    #[inline(always)]
    fn config(&self) -> Option<&Config> {
        CONFIG.get(0)
    }

    #[inline(always)]
    fn services4(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey4>> {
        SERVICES4.get(bucket)
    }

    #[inline(always)]
    fn services6(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey6>> {
        SERVICES6.get(bucket)
    }

    #[inline(always)]
    fn table(&self, table: u32) -> Option<&TableHead> {
        TABLES.get(table)
    }

    #[inline(always)]
    fn row(&self, slot: u32, bucket: usize) -> Option<Row> {
        ROWS.get(slot)?.get(bucket).copied().map(Row::from_bits)
    }

    #[inline(always)]
    fn member(&self, id: MemberId) -> Option<&Member> {
        MEMBERS.get(id.into())
    }

    #[inline(always)]
    fn joined(&self, by_key: Row, by_other: Row) -> Row {
        Row::from_bits(edgelb_joined(by_key.bits(), by_other.bits()))
    }

    #[inline(always)]
    fn hand_on(&self, walk: &Walk, next: Next) -> Next {
        // SAFETY: a reference points to a whole one.
        Next(unsafe { edgelb_hand_on(walk, next.0) })
    }

    #[inline(always)]
    fn lead_on(&self, walk: &mut Walk) {
        // SAFETY: a reference points to a whole one.
        walk.lead_on(Row::from_bits(unsafe { edgelb_led_on(walk) }));
    }

    #[inline(always)]
    fn is_agent_silent(&self) -> bool {
        let Some(&beat) = BEAT.get(0) else { return false };
        // SAFETY: it takes nothing. The coarse clock costs a third, and is late by a tick at most.
        let now = unsafe { bpf_ktime_get_coarse_ns() };
        beat != 0 && now.saturating_sub(beat) > BEAT_LIMIT
    }

    #[inline(always)]
    fn datagram(&self, key: &DatagramKey) -> Option<Datagram> {
        // SAFETY: a place that is used again meanwhile gives another datagram's ports: no more than a wrong part.
        unsafe { DATAGRAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember(&self, key: &DatagramKey, datagram: &Datagram) {
        // What is not remembered is not found.
        let _ = DATAGRAMS.insert(key, datagram, 0);
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: it takes nothing.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn count(&self, Counter(index): Counter) {
        if NOTES {
            capture::note(Counter(index));
        }
        if let Some(counter) = VERDICTS.get_ptr_mut(index) {
            // SAFETY: a valid slot of this CPU, and nothing preempts the program on it.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn allows(&self, limit: Limit) -> bool {
        match LIMITS.get_ptr_mut(limit as u32) {
            // SAFETY: as above; the clock may be read at any time.
            Some(full) => unsafe { take(&mut *full, bpf_ktime_get_ns()) },
            None => false,
        }
    }

    #[inline(always)]
    fn count_traffic(&self, service: u32, bytes: u16) {
        if let Some(traffic) = TRAFFIC.get_ptr_mut(service) {
            // SAFETY: as above.
            let traffic = unsafe { &mut *traffic };
            traffic.packets += 1;
            traffic.bytes += u64::from(bytes);
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lends its GPL-only helpers to programs under a compatible licence: this crate has both.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
