//! `cargo xtask bench control`: how the agent follows a real API server with many objects: from start to ready, from
//! the server's acknowledgement to the answer of an added host, its memory, what churn costs it, and whether any
//! request fails meanwhile.

mod agent;
mod load;
mod objects;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kube::Client;

use self::agent::Agent;
use self::load::Load;
use self::objects::Objects;
use super::report::{Report, Row, median, millis};
use crate::backend;
use crate::cluster::ControlPlane;
use crate::lab::http::Connection;

/// Ingresses, each with a host, a TLS Secret, and a share of the Services.
const SIZES: [usize; 2] = [100, 10_000];

/// Hosts that are added one by one.
const ADDED: usize = 100;

/// Between two of them, so that each is a change of its own to the agent.
const PAUSE: Duration = Duration::from_millis(100);

/// Routes that are added at once, under load.
const BURST: usize = 3_000;

/// Changes of endpoints a second, and for how long.
const CHURN: (u32, Duration) = (100, Duration::from_secs(10));

/// What takes longer than this is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures.
///
/// # Errors
/// If the API server or the agent does not start, or a change never becomes live.
pub fn run() -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<Report> {
    let backend = backend::start_for_api()?;
    let mut report = Report::new("control");
    for size in SIZES {
        let control_plane = ControlPlane::start()?;
        let client = control_plane.client().await?;
        eprintln!("control: making {size} Ingresses with their Secrets");
        let objects = Objects::create(&client, size, backend).await?;
        let case = format!("{size} Ingresses");
        let mut row = |subject: &str, value: f64, unit| {
            eprintln!("control: {case}: {subject}: {value:.2} {unit}");
            report.rows.push(Row::new(&case, subject, value, unit));
        };

        let arrived = objects.list(&client).await?;
        let (agent, ready) = tokio::task::block_in_place(|| Agent::start(&control_plane.kubeconfig()))?;
        row("the lists, by a client of its own", millis(arrived), "ms");
        row("start to ready", millis(ready), "ms");
        row("resident memory, ready", agent.resident()?, "MiB");
        row("open API connections", agent.connections_to(&control_plane.url())? as f64, "");

        let added = add_one_by_one(&client, &objects, &agent).await?;
        row("acknowledged to answered, median", median(added.iter().copied().map(millis)), "ms");
        row("acknowledged to answered, p99", millis(added[added.len() * 99 / 100]), "ms");

        let before = agent.processor_time()?;
        let started = Instant::now();
        objects.churn(&client, CHURN.0, CHURN.1).await?;
        let share = (agent.processor_time()? - before).as_secs_f64() / started.elapsed().as_secs_f64();
        row(&format!("{} endpoint changes/s, of one core", CHURN.0), share * 100.0, "%");

        let load = Load::start(agent.address(), objects::host(0));
        let started = Instant::now();
        objects.add(&client, size + ADDED, BURST).await?;
        await_answer(&agent, &objects::host(size + ADDED + BURST - 1), started)?;
        row(&format!("{BURST} routes added, to the last answer"), millis(started.elapsed()), "ms");
        let (answered, failed) = load.stop()?;
        row("requests meanwhile", answered as f64, "");
        row("of them failed", failed as f64, "");
        row("resident memory, at the end", agent.resident()?, "MiB");
    }
    Ok(report)
}

/// Adds hosts, and asks for each on a connection until it answers; the times are sorted.
async fn add_one_by_one(client: &Client, objects: &Objects, agent: &Agent) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(ADDED);
    for number in objects.size..objects.size + ADDED {
        tokio::time::sleep(PAUSE).await;
        objects.add(client, number, 1).await?;
        let acknowledged = Instant::now();
        await_answer(agent, &objects::host(number), acknowledged)?;
        times.push(acknowledged.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn await_answer(agent: &Agent, host: &str, since: Instant) -> Result<()> {
    tokio::task::block_in_place(|| {
        let mut connection = Connection::new(TcpStream::connect(agent.address())?);
        while connection.fetch(host, "/")?.status != 200 {
            if since.elapsed() > PATIENCE {
                bail!("{host} does not answer after {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    })
}
