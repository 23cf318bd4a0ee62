//! Hosts that are added under load: when each answers, and which other requests fail meanwhile.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::figure::{Figure, Figures};
use super::load::{self, Clients, Paced, Window};
use super::site::{Route, Site};
use super::subject::Subject;

/// In one turn.
const CHANGES: usize = 3;

/// Between two: so that each is one of its own.
const PAUSE: Duration = Duration::from_millis(400);

/// Between two looks at a host.
const LOOK: Duration = Duration::from_millis(1);

/// What takes longer is broken, not slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// The load meanwhile.
const LOAD: Paced = Paced { connections: 32, rate: 2_000 };

/// One turn of a subject. The site grows by the hosts.
pub(super) fn turn(subject: &Subject, site: &mut Site) -> Result<Figures> {
    LocalSet::new().block_on(&load::runtime()?, async {
        let window = Rc::new(Window::default());
        let mut clients = Clients::new();
        clients.spawn_local(load::paced(LOAD, subject.listen, site, window.clone()));
        load::go_on(&mut clients, PAUSE).await?;
        window.open();
        let mut times = Vec::new();
        for _ in 0..CHANGES {
            times.push(add(subject, site).await?.as_secs_f64() * 1e3);
            load::go_on(&mut clients, PAUSE).await?;
        }
        window.close();
        load::finish(&mut clients).await?;
        let slowest = times.iter().copied().fold(0.0, f64::max);
        Ok(vec![(Figure::EFFECT, slowest), (Figure::FAILED, window.failed() as f64)])
    })
}

/// Adds a host: how long it took until it answered.
async fn add(subject: &Subject, site: &mut Site) -> Result<Duration> {
    let host = format!("added-{}.example.org", site.routes.len());
    site.routes.push(Route::to(host.clone()));
    let began = Instant::now();
    subject.add_last_host(site)?;
    while !load::answers(subject.listen, &host).await {
        ensure!(began.elapsed() < PATIENCE, "{host} does not answer");
        sleep(LOOK).await;
    }
    Ok(began.elapsed())
}
