//! A terminal that shows a page and takes keys; it is as it was when this is dropped.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// The alternate screen, and no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
/// The rest of the line, the rest of the screen.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// Where nothing says how large it is.
const SIZE: (usize, usize) = (24, 80);

/// Standard output as a screen, standard input as its keys.
#[derive(Debug)]
pub(super) struct Terminal {
    before: Option<Termios>,
    keys: Option<mpsc::UnboundedReceiver<u8>>,
}

impl Terminal {
    /// Takes it over. Ctrl-C stays a signal.
    pub(super) fn enter() -> io::Result<Self> {
        let input = io::stdin();
        let mut terminal = Self { before: None, keys: None };
        if input.is_terminal() {
            let before = tcgetattr(&input)?;
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(&input, OptionalActions::Now, &quiet)?;
            terminal.before = Some(before);
            terminal.keys = Some(read_keys()?);
        }
        print(ENTER)?;
        Ok(terminal)
    }

    /// Shows as much of a text as there is room for.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout().as_fd()).ok();
        let size = size.map(|size| (size.ws_row.into(), size.ws_col.into())).filter(|&(rows, _)| rows > 0);
        print(&page(text, size.unwrap_or(SIZE)))
    }

    /// The next key; never without a keyboard.
    pub(super) async fn key(&mut self) -> u8 {
        let key = match &mut self.keys {
            Some(keys) => keys.recv().await,
            None => None,
        };
        match key {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

/// A read of a terminal cannot be called off: it is left to a thread, for which the process's end does not wait.
fn read_keys() -> io::Result<mpsc::UnboundedReceiver<u8>> {
    let (typed, keys) = mpsc::unbounded_channel();
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        for key in io::stdin().lock().bytes() {
            let Ok(key) = key else { return };
            if typed.send(key).is_err() {
                return;
            }
        }
    })?;
    Ok(keys)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to tell, should it fail.
        let _ = print(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What is drawn over the page before: no line longer than the screen, or it would break into two.
fn page(text: &str, (rows, columns): (usize, usize)) -> String {
    let line = |line: &str| line.chars().filter(|c| !c.is_control()).take(columns).collect::<String>();
    let lines: Vec<_> = text.lines().take(rows).map(|text| line(text) + CLEAR_LINE).collect();
    format!("{HOME}{}{CLEAR_REST}", lines.join("\r\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fits_the_screen() {
        let page = page("one line\nanother\x1b[2J one\nthird", (2, 5));
        assert_eq!(page, "\x1b[Hone l\x1b[K\r\nanoth\x1b[K\x1b[J");
    }
}
