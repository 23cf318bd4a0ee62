//! Runs the same steps on the host, on memory and maps of its own: what the kernel's run is compared with.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use lb_agent::l4::plan::{Installed, plan};
use lb_agent::l4::service_table::{Place, vacancy};
use lb_agent::l4::wanted::{MapKey, Wanted, map_key};
use lb_common::capture::Filter;
use lb_common::fragment::{Datagram, DatagramKey, Head, MAX_FRAME};
use lb_common::hash::{Ports, Tuple};
use lb_common::limit::{LIMITS, Limit, take};
use lb_common::map::{Config, Member, SERVICE_BUCKETS, Service, TableHead, member};
use lb_common::row::{MemberId, Row};
use lb_common::service_table::{ServiceBucket, ServiceKey, ServiceKey4, ServiceKey6, candidates};
use lb_common::verdict::{Counter, Verdict};
use lb_ebpf::{
    Action, Frame, Maps, Next, Payload, Socket, Sockets, TcpHeader, Walk, collect, filter, hand_on, led_on,
    named, process, step,
};

use crate::fixture::INGRESS;
use crate::kernel::Outcome;

/// Room in front of a frame, as the kernel's test runs have.
const HEADROOM: usize = 256;

/// What fresh headroom holds: a step that forgets to write a byte shows.
const POISON: u8 = 0xa5;

/// The packet path on the host.
pub struct Host {
    installed: Installed,
    services4: Vec<ServiceBucket<ServiceKey4>>,
    services6: Vec<ServiceBucket<ServiceKey6>>,
    rows: HashMap<u32, Box<[u64]>>,
    counted: RefCell<Vec<Verdict>>,
    limits: RefCell<[u64; LIMITS as usize]>,
    sockets: HashMap<Tuple, Socket>,
    datagrams: RefCell<HashMap<DatagramKey, Datagram>>,
    began: Instant,
    handed: RefCell<Vec<Head>>,
    is_agent_silent: bool,
}

impl Host {
    /// With maps filled by the agent's own plan.
    ///
    /// # Panics
    /// If the plan is refused.
    #[must_use]
    pub fn with(wanted: &Wanted) -> Self {
        let mut installed = Installed::default();
        for operation in plan(&installed, wanted).expect("the fixture fits") {
            installed.apply(&operation);
        }
        let mut host = Self {
            rows: HashMap::new(),
            services4: vec![ServiceBucket::EMPTY; SERVICE_BUCKETS as usize],
            services6: vec![ServiceBucket::EMPTY; SERVICE_BUCKETS as usize],
            counted: RefCell::default(),
            limits: RefCell::default(),
            sockets: HashMap::new(),
            datagrams: RefCell::default(),
            began: Instant::now(),
            handed: RefCell::default(),
            is_agent_silent: false,
            installed,
        };
        for (key, service) in &host.installed.services {
            match map_key(key) {
                MapKey::V4(key) => add(&mut host.services4, key, service),
                MapKey::V6(key) => add(&mut host.services6, key, service),
            }
        }
        for (table, head) in &host.installed.tables {
            host.rows.insert(head.slot, wanted.tables[table].rows.clone());
        }
        host
    }

    /// From now on, what this node's kernel has for a flow.
    pub fn has(&mut self, flow: Tuple, socket: Socket) {
        self.sockets.insert(flow, socket);
    }

    /// From now on this node's agent gives no sign of life.
    pub fn silence_agent(&mut self) {
        self.is_agent_silent = true;
    }

    /// Forgets what it remembers of the packets before.
    pub fn forget(&self) {
        self.datagrams.take();
        self.handed.take();
    }

    /// What the agent was handed since it was last asked.
    pub fn handed(&self) -> Vec<Head> {
        self.handed.take()
    }

    /// Gives a packet to the steps, when nothing has come for long.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> Outcome {
        self.run_by(frame, |memory| process(memory, self))
    }

    /// The same for a packet that the agent gives back.
    #[must_use]
    pub fn run_given(&self, frame: &[u8]) -> Outcome {
        self.run_by(frame, |memory| collect(memory, self, true).unwrap_or(Action::Drop))
    }

    fn run_by<'h>(&'h self, frame: &[u8], steps: impl FnOnce(&mut Memory<'h>) -> Action) -> Outcome {
        self.limits.take();
        let mut memory = self.memory(frame);
        let action = steps(&mut memory);
        let start = memory.start;
        Outcome { action, verdicts: self.counted.take(), frame: memory.buffer.split_off(start) }
    }

    /// Whether a packet is one that a capture asks for.
    #[must_use]
    pub fn matches(&self, filter: &Filter, frame: &[u8]) -> bool {
        filter::matches(filter, &self.memory(frame), self)
    }

    fn memory(&self, frame: &[u8]) -> Memory<'_> {
        let mut buffer = vec![POISON; HEADROOM];
        buffer.extend(frame);
        Memory { start: HEADROOM, buffer, host: self }
    }
}

fn add<K: ServiceKey>(table: &mut [ServiceBucket<K>], key: K, service: &Service) {
    let indices = candidates(key).map(|index| index as usize);
    let Place { choice, slot } = vacancy(indices.map(|index| &table[index])).expect("the fixture fits");
    table[indices[choice]].keys[slot] = key;
    table[indices[choice]].services[slot] = *service;
}

impl Maps for Host {
    fn config(&self) -> Option<&Config> {
        Some(&self.installed.config)
    }

    fn services4(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey4>> {
        self.services4.get(bucket as usize)
    }

    fn services6(&self, bucket: u32) -> Option<&ServiceBucket<ServiceKey6>> {
        self.services6.get(bucket as usize)
    }

    fn table(&self, table: u32) -> Option<&TableHead> {
        self.installed.tables.get(&table)
    }

    fn row(&self, slot: u32, bucket: usize) -> Option<Row> {
        self.rows.get(&slot)?.get(bucket).copied().map(Row::from_bits)
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        self.installed.members.get(&id)
    }

    fn joined(&self, by_key: Row, by_other: Row) -> Row {
        by_key.joined(by_other, |id| self.member(id).is_some_and(|found| found.flags & member::DOWN != 0))
    }

    fn is_agent_silent(&self) -> bool {
        self.is_agent_silent
    }

    fn hand_on(&self, walk: &Walk, next: Next) -> Next {
        hand_on(walk, next, self)
    }

    fn lead_on(&self, walk: &mut Walk) {
        walk.lead_on(led_on(walk, self));
    }

    fn datagram(&self, key: &DatagramKey) -> Option<Datagram> {
        self.datagrams.borrow().get(key).copied()
    }

    fn remember(&self, key: &DatagramKey, datagram: &Datagram) {
        self.datagrams.borrow_mut().insert(*key, *datagram);
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter.verdict().expect("every counter has a verdict"));
    }

    fn allows(&self, limit: Limit) -> bool {
        take(&mut self.limits.borrow_mut()[limit as usize], 0)
    }

    fn count_traffic(&self, _service: u32, _bytes: u16) {}
}

impl Sockets for Host {
    fn socket(&self, walk: &Walk, _tcp: &TcpHeader) -> Socket {
        self.sockets.get(&flow(walk)).copied().unwrap_or(Socket::None)
    }
}

/// The flow of a TCP segment, from the parts that the kernel gets.
fn flow(walk: &Walk) -> Tuple {
    const TCP: u8 = 6;
    let ip = walk.ip();
    let ports = |both: u32| Ports { source: both as u16, destination: (both >> 16) as u16, protocol: TCP };
    if !walk.is_v6() {
        return Tuple::V4 { source: ip[3], destination: ip[4], ports: ports(ip[5]) };
    }
    let address = |first: usize| [first, first + 2].map(|at| u64::from(ip[at]) | u64::from(ip[at + 1]) << 32);
    Tuple::V6 { source: address(2), destination: address(6), ports: ports(ip[10]) }
}

struct Memory<'h> {
    buffer: Vec<u8>,
    start: usize,
    host: &'h Host,
}

// SAFETY: the bytes are the vector's own, which never grows.
unsafe impl Frame for Memory<'_> {
    fn start(&self) -> usize {
        self.buffer.as_ptr() as usize + self.start
    }

    fn end(&self) -> usize {
        self.buffer.as_ptr() as usize + self.buffer.len()
    }

    fn interface(&self) -> u32 {
        INGRESS
    }

    fn adjust_head(&mut self, delta: i32) -> bool {
        match self.start.checked_add_signed(delta as isize) {
            // The kernel keeps room for a link header, too.
            Some(start) if start + 14 <= self.buffer.len() => {
                self.start = start;
                true
            }
            _ => false,
        }
    }

    fn truncate(&mut self, len: usize) -> bool {
        self.buffer.truncate(self.start + len);
        true
    }

    fn hand_over(&self, head: Head) -> bool {
        let len = self.buffer.len() - self.start;
        if len > MAX_FRAME {
            return false;
        }
        self.host.handed.borrow_mut().push(Head { len: len as u32, ..head });
        true
    }

    fn walk(&self, walk: &Walk) -> Next {
        step(walk, self, self.host, self.host)
    }

    fn named(&self, payload: Payload) -> MemberId {
        named(self, self.host, payload)
    }
}
