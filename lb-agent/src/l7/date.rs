//! The time of day as responses tell it (RFC 9110 section 6.6.1), written once for all of a second.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use http::header::DATE;
use http::{HeaderMap, HeaderValue};

use super::moment::Clock;

/// Of one worker.
pub(super) struct Date {
    clock: Cell<Clock>,
    text: RefCell<HeaderValue>,
}

impl Date {
    /// Of now.
    pub(super) fn now() -> Self {
        let clock = Clock::now();
        Self { clock: Cell::new(clock), text: RefCell::new(text(clock)) }
    }

    /// Time passes.
    pub(super) fn look(&self) {
        let mut clock = self.clock.get();
        if clock.look() {
            self.clock.set(clock);
            *self.text.borrow_mut() = text(clock);
        }
    }

    /// Dates a response that says nothing of its time.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.entry(DATE).or_insert_with(|| self.text.borrow().clone());
    }
}

fn text(clock: Clock) -> HeaderValue {
    let text = httpdate::fmt_http_date(clock.time_of(Instant::now()));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_that_is_there_stays() {
        let date = Date::now();
        let mut headers = HeaderMap::new();
        date.tell(&mut headers);
        let told = headers[DATE].to_str().expect("it is a text");
        let told = httpdate::parse_http_date(told).expect("it is a date");
        assert!(told.elapsed().is_ok_and(|age| age.as_secs() < 60));
        let other = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
        headers.insert(DATE, other.clone());
        date.tell(&mut headers);
        assert_eq!(headers[DATE], other);
    }
}
