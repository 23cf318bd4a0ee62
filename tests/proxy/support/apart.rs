//! A proxy in a process that has nothing else, so that what it uses can be measured from outside.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use super::Fixture;
use super::alone::in_own_process;
use super::fixture::value_in;

/// What such a process is told.
const TOLD: &str = "LB_TEST_APART";
/// What it says after all that it was asked for.
const END: &str = "that is all";

/// What was told, in the process that is for a proxy alone.
pub(crate) fn told() -> Option<String> {
    std::env::var(TOLD).ok()
}

/// What that does until its standard input ends: it says where it listens, and for each line all metrics.
pub(crate) fn serve(fixture: &Fixture) {
    println!("\nlistening {} {}", fixture.http(), fixture.https());
    for _ in std::io::stdin().lines() {
        println!("{}\n{END}", fixture.exported());
    }
}

/// One that runs; ended when it is dropped.
pub(crate) struct Apart {
    child: Child,
    says: RefCell<Lines<BufReader<ChildStdout>>>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Apart {
    /// By this test, which serves in the other process what it is told.
    pub(crate) fn start(test: &str, told: &str) -> Self {
        let mut child = in_own_process(test)
            .env(TOLD, told)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let mut says = BufReader::new(child.stdout.take().expect("piped")).lines();
        let addresses = says.by_ref().map_while(Result::ok).find_map(|line| {
            let (http, https) = line.strip_prefix("listening ")?.split_once(' ')?;
            Some((http.parse().ok()?, https.parse().ok()?))
        });
        let (http, https) = addresses.expect("it listens");
        Self { child, says: RefCell::new(says), http, https }
    }

    /// The value of a metric's line, named with its labels.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let mut asks = self.child.stdin.as_ref().expect("piped");
        asks.write_all(b"metrics\n").expect("it runs");
        let mut says = self.says.borrow_mut();
        let all = says.by_ref().map_while(Result::ok).take_while(|said| said != END);
        value_in(&all.collect::<Vec<_>>().join("\n"), line)
    }

    /// Memory in use, bytes.
    pub(crate) fn memory(&self) -> u64 {
        1024 * lb_tests::proc::resident_kib(self.child.id()).expect("it runs")
    }

    /// How long it has run on a processor.
    pub(crate) fn processor_time(&self) -> Duration {
        lb_tests::proc::processor_time(self.child.id()).expect("it runs")
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
