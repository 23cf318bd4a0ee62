//! `lb-agent top`: asks the agent of this node every second, and shows what changed.

mod figures;
mod series;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use self::figures::Sample;
pub use self::figures::{Figures, Rate, ServiceRate};
use self::series::Series;
use self::terminal::Terminal;
use super::AdminError;
use super::client::{metrics, overview};

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

const QUIT: [u8; 2] = [b'q', b'Q'];

/// Figures of one second.
///
/// # Errors
/// `AdminError` if the agent does not answer.
pub async fn once(socket: &Path) -> Result<Figures, AdminError> {
    let (start, before) = (Instant::now(), sample(socket).await?);
    sleep(PERIOD).await;
    Ok(Figures::new(&before, &sample(socket).await?, start.elapsed()))
}

/// Shows them until `q` is typed, or `end` comes. An agent that does not answer is waited for.
///
/// # Errors
/// Those of the terminal, and of `end`.
pub async fn watch<E>(socket: &Path, end: impl Future<Output = Result<(), E>>) -> Result<(), E>
where
    E: From<std::io::Error>,
{
    let mut terminal = Terminal::enter()?;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Shown::default();
    tokio::pin!(end);
    loop {
        tokio::select! {
            result = &mut end => return result,
            key = terminal.key() => if QUIT.contains(&key) { return Ok(()) },
            _ = ticks.tick() => {
                let text = shown.next(sample(socket).await, Instant::now());
                terminal.show(&text)?;
            }
        }
    }
}

/// What stands on the screen.
#[derive(Debug, Default)]
struct Shown {
    last: Option<(Instant, Sample)>,
    figures: Option<Figures>,
}

impl Shown {
    /// The text after another look at the agent.
    fn next(&mut self, sample: Result<Sample, AdminError>, now: Instant) -> String {
        let trouble = match sample {
            Ok(sample) => {
                // The first look has nothing to compare with.
                let (then, before) =
                    self.last.as_ref().map_or((now, &sample), |(then, before)| (*then, before));
                self.figures = Some(Figures::new(before, &sample, now.duration_since(then)));
                self.last = Some((now, sample));
                None
            }
            Err(error) => Some(error),
        };
        let figures = self.figures.as_ref().map(ToString::to_string).unwrap_or_default();
        match (trouble, &self.last) {
            (None, _) => format!("{figures}\nq: quit"),
            (Some(error), None) => format!("{error}: waiting for it\n\nq: quit"),
            (Some(error), Some((then, _))) => {
                let seconds = now.duration_since(*then).as_secs();
                format!("{error}: waiting for it; of {seconds} s ago:\n\n{figures}\nq: quit")
            }
        }
    }
}

async fn sample(socket: &Path) -> Result<Sample, AdminError> {
    let overview = overview(socket).await?;
    Ok(Sample { overview, series: Series::read(&metrics(socket).await?) })
}
