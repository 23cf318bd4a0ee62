//! Threads that write down what requests hand to them: they end when nobody can hand on anything any more and all of it is
//! written. The process is not to end before: those of the last requests say most.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The end of such a thread. A clone waits for the same one.
#[derive(Clone, Debug)]
pub struct LastWords(Arc<Mutex<Receiver<()>>>);

impl LastWords {
    /// Starts the thread.
    pub(super) fn of(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (running, has_ended) = channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped with the thread, also where it panics.
            let _running = running;
            run();
        })?;
        Ok(Self(Arc::new(Mutex::new(has_ended))))
    }

    /// Waits for it, but not longer: whether it has ended. It does not as long as there is anybody who could hand on more.
    #[must_use]
    pub fn wait(&self, most: Duration) -> bool {
        let has_ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        has_ended.recv_timeout(most) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_hears_of_the_end_however_it_comes() {
        let (say, said) = channel::<()>();
        let words = LastWords::of("test", move || said.iter().for_each(drop)).expect("a thread");
        assert!(!words.wait(Duration::from_millis(10)), "there may be more");
        drop(say);
        assert!(words.clone().wait(Duration::from_secs(20)) && words.wait(Duration::ZERO));
    }
}
