//! The thread that checks: one task for each endpoint, a few checks at a time.

use std::io;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::probe::probe;
use super::verdict::Verdict;
use super::{Checked, Register, Thread};
use crate::l7::secured::Secured;
use crate::model::CheckResult;

/// Checks that are under way at a time: endpoints that hang hold a descriptor each.
const AT_A_TIME: usize = 64;

/// The first check of an endpoint comes within this.
const FIRST: Duration = Duration::from_secs(1);

/// What all tasks share.
struct Shared {
    register: Register,
    secured: Secured,
    room: Semaphore,
}

/// Begins to check what it is told.
pub(super) fn start(register: Register, secured: Secured) -> io::Result<Thread> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (new, mut told) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared { register, secured, room: Semaphore::new(AT_A_TIME) });
    let work = async move {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                checked = told.recv() => match checked {
                    Some(checked) => _ = tasks.spawn(follow(checked, shared.clone())),
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    };
    let handle = thread::Builder::new().name("l7-checks".to_owned()).spawn(move || runtime.block_on(work))?;
    Ok(Thread { new, handle })
}

/// Checks an endpoint until nobody wants it any more.
async fn follow(checked: Weak<Checked>, shared: Arc<Shared>) {
    let Some(interval) = checked.upgrade().map(|checked| checked.subject.check.interval) else { return };
    // Not all at once that begin together.
    sleep(interval.min(FIRST).mul_f32(fastrand::f32())).await;
    let mut verdict = Verdict::default();
    while let Some(checked) = checked.upgrade() {
        let Ok(place) = shared.room.acquire().await else { return };
        let result = probe(&checked.subject, &shared.secured).await;
        drop(place);
        if result != CheckResult::Unknown {
            tell(&checked, result, &mut verdict, &shared.register);
        }
        drop(checked);
        // Nor in step with others, or with what the endpoint does regularly.
        sleep(interval.mul_f32(0.9 + 0.2 * fastrand::f32())).await;
    }
}

fn tell(checked: &Arc<Checked>, result: CheckResult, verdict: &mut Verdict, register: &Register) {
    let was_failing = checked.state().is_failing;
    let is_failing = verdict.after(result == CheckResult::Passed, &checked.subject.check);
    checked.note(result, is_failing);
    if was_failing == is_failing {
        return;
    }
    let (endpoint, path) = (checked.subject.address, &checked.subject.check.path);
    if is_failing {
        tracing::warn!(%endpoint, %path, ?result, "an endpoint fails its health checks");
    } else {
        tracing::info!(%endpoint, %path, "an endpoint passes its health checks again");
    }
    register.changed(checked);
}
