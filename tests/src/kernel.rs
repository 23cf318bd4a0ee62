//! Runs the verified programs on single packets: `BPF_PROG_TEST_RUN`.

mod capture;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap, PerCpuArray, PerCpuValues, ProgramArray, RingBuf};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, TestRunResult, Xdp};
use aya::util::nr_cpus;
use lb_agent::l4::maps::Maps;
use lb_agent::l4::pins::Pins;
use lb_agent::l4::plan::{Installed, plan};
use lb_agent::l4::wanted::{Key, Wanted};
use lb_agent::l4::{counters, loader};
use lb_agent::model::{Protocol, ServiceAddress};
use lb_common::capture::Filter;
use lb_common::fragment::{Datagram, DatagramKey, Head};
use lb_common::limit::LIMITS;
use lb_common::map::{BENCH_HEAD_WORDS, Bench, LISTENER_V4, LISTENER_V6, Traffic, name, program};
use lb_common::verdict::Verdict;
use lb_ebpf::Action;
use nix::sched::CpuSet;
use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

const XDP_ABORTED: u32 = 0;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// The most metadata that a context may have in front of the data, bytes: the headroom less the frame's own
/// record.
const METADATA: u32 = 216;

/// Live frames that are sent at a time: as many as a driver hands on at a time.
const BATCH: u32 = 64;

/// Largest frame that a program can make of what it is given.
const MAX_FRAME: usize = 4096;

/// The packet path in the kernel, with maps of its own.
pub struct Kernel {
    object: Ebpf,
    maps: Maps,
    installed: Installed,
}

/// What a program did to one packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What the driver would do; the interface of a redirect does not show.
    pub action: Action,
    /// What was counted.
    pub verdicts: Vec<Verdict>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Kernel {
    /// Loads the programs with empty maps.
    ///
    /// # Errors
    /// What the kernel said: rights, or the verifier.
    pub fn load() -> Result<Self> {
        Self::open(None)
    }

    /// As `load`, with the maps pinned, empty or not: other programs can use them.
    ///
    /// # Errors
    /// As `load`, or if there is no BPF filesystem.
    pub fn pinned(pins: &Pins) -> Result<Self> {
        pins.prepare()?;
        Self::open(Some(pins))
    }

    fn open(pins: Option<&Pins>) -> Result<Self> {
        let mut object = loader::load(pins)?;
        let maps = Maps::take(&mut object)?;
        let installed = maps.read()?;
        Ok(Self { object, maps, installed })
    }

    /// Loads the programs and fills the maps, through the agent's own plan.
    ///
    /// # Errors
    /// As `load`.
    pub fn with(wanted: &Wanted) -> Result<Self> {
        let mut kernel = Self::load()?;
        kernel.set(wanted)?;
        Ok(kernel)
    }

    /// Brings the maps to another state.
    ///
    /// # Errors
    /// If the plan is refused, by itself or by the kernel.
    pub fn set(&mut self, wanted: &Wanted) -> Result<()> {
        for operation in plan(&self.installed, wanted)? {
            self.maps.carry_out(&operation)?;
            self.installed.apply(&operation);
        }
        Ok(())
    }

    /// The same as if it had just been loaded: it remembers no packet.
    ///
    /// # Errors
    /// As `set`.
    pub fn renew(&mut self, wanted: &Wanted) -> Result<()> {
        self.set(wanted)?;
        self.set_beat(0)?;
        self.forget_limits()?;
        self.set_filter(Filter::default())?;
        self.handed()?;
        let map = self.object.map_mut(name::DATAGRAMS).context("no map of datagrams")?;
        let mut datagrams: HashMap<_, DatagramKey, Datagram> = map.try_into()?;
        let known = datagrams.keys().collect::<Result<Vec<_>, _>>()?;
        Ok(known.iter().try_for_each(|key| datagrams.remove(key))?)
    }

    /// When this node's agent gave its last sign of life, nanoseconds of the monotonic clock.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn set_beat(&mut self, at: u64) -> Result<()> {
        let map = self.object.map_mut(name::BEAT).context("no such map")?;
        Ok(Array::<_, u64>::try_from(map)?.set(0, at, 0)?)
    }

    /// Has connections to VIPs go to these, of IPv4 and of IPv6.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn steer_to(&mut self, listeners: &[TcpListener]) -> Result<()> {
        for (index, listener) in [LISTENER_V4, LISTENER_V6].into_iter().zip(listeners) {
            self.maps.steer_to(index, listener)?;
        }
        Ok(())
    }

    /// The maps.
    #[must_use]
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// What the plan believes the maps hold.
    #[must_use]
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// What was counted for a TCP service.
    ///
    /// # Errors
    /// If there is no such service.
    pub fn traffic_of(&self, vip: IpAddr, port: u16) -> Result<Traffic> {
        let key = Key::Service(ServiceAddress { vip, port, protocol: Protocol::Tcp });
        let service = self.installed.services.get(&key).context("no such service")?;
        Ok(counters::traffic(&self.maps, service.index)?)
    }

    /// What the agent was handed since this was last asked.
    ///
    /// # Errors
    /// If there is no ring, or what it holds is nothing that is handed over.
    pub fn handed(&mut self) -> Result<Vec<(Head, Vec<u8>)>> {
        let map = self.object.map_mut(name::RING).context("no ring")?;
        let mut ring = RingBuf::try_from(map)?;
        let mut all = Vec::new();
        while let Some(entry) = ring.next() {
            let (head, frame) = Head::read(&entry).context("not an entry")?;
            all.push((head, frame.to_vec()));
        }
        Ok(all)
    }

    /// One of the programs, loaded on first use.
    ///
    /// # Errors
    /// If there is none of that name, or the verifier refuses it.
    pub fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.object.program_mut(name).with_context(|| format!("no program {name}"))?;
        let xdp: &mut Xdp = program.try_into()?;
        match xdp.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(xdp),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes everything allowed again that is limited.
    ///
    /// # Errors
    /// If the kernel refuses to write.
    pub fn forget_limits(&mut self) -> Result<()> {
        let map = self.object.map_mut(name::LIMITS).context("no map of limits")?;
        let mut limits: PerCpuArray<_, u64> = map.try_into()?;
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::Error::new(error).context(what))?;
        for limit in 0..LIMITS {
            limits.set(limit, PerCpuValues::try_from(vec![0; cpus])?, 0)?;
        }
        Ok(())
    }

    /// Gives a packet to the packet path.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run_program(program::XDP, frame)
    }

    fn run_program(&mut self, name: &str, frame: &[u8]) -> Result<Outcome> {
        let mut out = vec![0; MAX_FRAME];
        let options =
            TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let (result, verdicts) = self.run_once(name, options)?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: action(result.return_value)?, verdicts, frame: out })
    }

    /// As `run`, for a packet that the agent gives back.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run_given(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run_program(program::GIVEN, frame)
    }

    /// As `run_given`, as the agent does it: a frame that comes in, and leaves as such. What is counted.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn give(&mut self, frame: &[u8]) -> Result<Vec<Verdict>> {
        let attrs = TestRunAttrs::new().xdp_live_frames(1);
        let options = TestRunOptions { data_in: Some(frame), attrs, ..TestRunOptions::default() };
        Ok(self.run_once(program::GIVEN, options)?.1)
    }

    /// Gives a packet to the packet path in a frame with no room in front: what is counted.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn run_without_headroom(&mut self, frame: &[u8]) -> Result<Vec<Verdict>> {
        // Metadata takes the room.
        let data = [vec![0; METADATA as usize], frame.to_vec()].concat();
        let context: Vec<u8> =
            [METADATA, data.len() as u32, 0, 0, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let options =
            TestRunOptions { data_in: Some(&data), ctx_in: Some(&context), ..TestRunOptions::default() };
        Ok(self.run_once(program::XDP, options)?.1)
    }

    /// One run of a program, and the verdicts that it counted.
    fn run_once(&mut self, name: &str, options: TestRunOptions<'_>) -> Result<(TestRunResult, Vec<Verdict>)> {
        let before = counters::verdicts(&self.maps)?;
        let result = self.program(name)?.test_run(options)?;
        let after = counters::verdicts(&self.maps)?;
        let counted = after.into_iter().zip(before).filter(|(after, before)| after.1 > before.1);
        Ok((result, counted.map(|(after, _)| after.0).collect()))
    }

    /// Nanoseconds that a program takes for a frame of `flows` flows in turn (a power of two), with what
    /// putting the frame back between runs takes: averaged over `repeat` runs in one system call.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn time(&mut self, name: &str, frame: &[u8], flows: u32, repeat: u32) -> Result<f64> {
        self.prepare(name, frame, flows, 0)?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = self.program(program::BENCH_RUN)?.test_run(options)?;
        ensure!(result.return_value != XDP_ABORTED, "the benchmark of {name} aborted");
        Ok(result.duration.as_nanos() as f64)
    }

    /// Sends a frame of `flows` flows in turn `count` times out by an interface of the caller's network namespace. They
    /// are real frames: what takes them runs on this thread's core, as part of the same system call. How long it took.
    ///
    /// # Errors
    /// If the kernel refuses to run it.
    pub fn send(&mut self, frame: &[u8], flows: u32, ifindex: u32, count: u32) -> Result<Duration> {
        self.prepare(program::BENCH_SEND, frame, flows, ifindex)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let began = Instant::now();
        self.program(program::BENCH_RUN)?.test_run(options)?;
        Ok(began.elapsed())
    }

    fn prepare(&mut self, name: &str, frame: &[u8], flows: u32, ifindex: u32) -> Result<()> {
        let head = frame.get(..BENCH_HEAD_WORDS * 8).context("the frame is too short for a benchmark")?;
        let is_v6 = u32::from(frame[14] >> 4 == 6);
        let source = if is_v6 == 1 { 34 } else { 26 };
        let mut words = [0; BENCH_HEAD_WORDS];
        for (word, bytes) in words.iter_mut().zip(head.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        let bench = Bench {
            head: words,
            len: frame.len() as u32,
            source: u32::from_be_bytes(frame[source..source + 4].try_into()?),
            mask: flows - 1,
            is_v6,
            ifindex,
            counter: 0,
        };
        let fd = self.program(name)?.fd()?.try_clone()?;
        let map = self.object.map_mut(name::BENCH).context("no map for benchmarks")?;
        Array::<_, Bench>::try_from(map)?.set(0, bench, 0)?;
        let map = self.object.map_mut(name::BENCH_PROGRAM).context("no map for benchmarks")?;
        Ok(ProgramArray::try_from(map)?.set(0, &fd, 0)?)
    }
}

/// Keeps this thread on the CPU that it runs on: each has counters and limits of its own.
///
/// # Errors
/// If the kernel refuses.
pub fn stay_on_this_cpu() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(nix::sched::sched_getcpu()?)?;
    Ok(nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &here)?)
}

fn action(code: u32) -> Result<Action> {
    Ok(match code {
        XDP_PASS => Action::Pass,
        XDP_DROP => Action::Drop,
        XDP_TX => Action::Transmit,
        XDP_REDIRECT => Action::Redirect(crate::fixture::OTHER_INTERFACE),
        other => anyhow::bail!("XDP action {other}"),
    })
}

/// Instructions that the verifier walked through for each program: a measure of complexity that depends on
/// kernel and compiler alone.
///
/// # Errors
/// If a program does not load.
pub fn verified_instructions(names: &[&'static str]) -> Result<Vec<(&'static str, u32)>> {
    let mut kernel = Kernel::load()?;
    // Those that are not loaded with the others.
    kernel.program(program::CAPTURE)?;
    kernel.program(program::GIVEN)?;
    kernel.program(program::CAPTURE_GIVEN)?;
    names
        .iter()
        .map(|&name| {
            let info = kernel.object.program(name).with_context(|| format!("no program {name}"))?.info()?;
            let count = info.verified_instruction_count().context("the kernel does not tell (Linux 5.16)")?;
            Ok((name, count))
        })
        .collect()
}
