//! What the service manager hears that started the agent: systemd, by `Type=notify`. Without one, nobody is told.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::{NotifyState, notify};
use tokio::time::sleep;
use tracing::warn;

use crate::admin::Live;

/// How often it is looked whether the agent is ready.
const LOOKING: Duration = Duration::from_millis(100);

/// Tells when the agent is ready, and how a drain goes. An agent that takes over from another one becomes the main
/// process of the service by it.
pub(super) async fn tell(live: &Live) -> Infallible {
    while !live.missing().is_empty() {
        sleep(LOOKING).await;
    }
    say(&[NotifyState::Ready, NotifyState::MainPid(std::process::id()), NotifyState::Status(&live.ready())]);
    let mut drain = live.drain.clone();
    let mut said = String::new();
    while drain.changed().await.is_ok() {
        let progress = *drain.borrow_and_update();
        let words = if progress.of.is_some() { progress.to_string() } else { live.ready() };
        if words != said {
            say(&[NotifyState::Status(&words)]);
            said = words;
        }
    }
    std::future::pending().await
}

/// Tells that the service stops.
pub(super) fn stops() {
    say(&[NotifyState::Stopping]);
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        warn!(%error, "the service manager is not told");
    }
}
