//! Ctrl-C (and SIGTERM, SIGHUP): the lab is removed, whatever the demo is doing at the moment.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::lab;

/// What a shell expects of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// The thread that waits for signals.
#[derive(Debug)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Watch {
    /// After a signal, what fails is only a consequence of it: leaves the end to the watching thread.
    pub(crate) fn wait_if_interrupted(&self) {
        while self.0.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// Starts to watch.
pub(crate) fn watch() -> Result<Watch> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _context = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<Result<Vec<_>, _>>()?
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let watch = Watch(interrupted.clone());
    thread::spawn(move || {
        runtime.block_on(any(signals));
        interrupted.store(true, Ordering::SeqCst);
        eprintln!("\ninterrupted: removing the lab");
        if let Err(error) = lab::remove_own() {
            eprintln!("not all is gone, the next start will see to it: {error:#}");
        }
        process::exit(INTERRUPTED);
    });
    Ok(watch)
}

async fn any(mut signals: Vec<Signal>) {
    std::future::poll_fn(|context| {
        let ready = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
