//! Annotations that say several things: `key=value, key=value`, each key once.

use std::str::FromStr;
use std::time::Duration;

/// What is left of one to be read.
pub(super) struct Listed<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Listed<'a> {
    /// What it says; `Err` names the part that says nothing.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form KEY=VALUE"))?;
            let (key, value) = (key.trim(), value.trim());
            if pairs.iter().any(|(known, _)| *known == key) {
                return Err(format!("{key} is there twice"));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a key as it stands there.
    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        let at = self.0.iter().position(|(known, _)| *known == key)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The value of a key; `wanted` is what may stand there.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(key) else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| format!("{key}: {text:?} is not {wanted}"))
    }

    /// The time that a key names.
    pub(super) fn time(&mut self, key: &str) -> Result<Option<Duration>, String> {
        self.parsed(key, time, TIME)
    }

    /// A number that a key names, from 1.
    pub(super) fn count(&mut self, key: &str) -> Result<Option<u32>, String> {
        self.parsed(key, positive, "a number from 1")
    }

    /// Nothing else may be there.
    pub(super) fn end(self, known: &str) -> Result<(), String> {
        match self.0.first() {
            Some((key, _)) => Err(format!("{key:?} is none of {known}")),
            None => Ok(()),
        }
    }
}

/// What a time looks like.
pub(super) const TIME: &str = "a time of up to a day, such as 500ms, 2s, 1m";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A time above 0 and up to a day, with its unit.
pub(super) fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|byte: char| !byte.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number = positive::<u32>(number)?;
    let time = match unit {
        "ms" => Duration::from_millis(number.into()),
        "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        "h" => Duration::from_secs(u64::from(number) * 60 * 60),
        _ => return None,
    };
    (time <= DAY).then_some(time)
}

/// A number above 0, of digits alone.
pub(super) fn positive<T: FromStr + Default + PartialEq>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_is_found_once() {
        let mut listed = Listed::read(" a=1,b = x y ,, c=2s").expect("pairs");
        assert_eq!((listed.count("a"), listed.text("b")), (Ok(Some(1)), Some("x y")));
        assert_eq!((listed.text("b"), listed.time("c")), (None, Ok(Some(Duration::from_secs(2)))));
        assert_eq!(listed.end("a, b, c"), Ok(()));
        for (text, wrong) in [("a", "\"a\" is not of the form"), ("a=1,a=2", "a is there twice")] {
            assert!(Listed::read(text).err().is_some_and(|error| error.contains(wrong)), "{text}");
        }
        let mut listed = Listed::read("a=0,b=1").expect("pairs");
        assert_eq!(listed.count("a"), Err("a: \"0\" is not a number from 1".to_owned()));
        assert_eq!(listed.end("a"), Err("\"b\" is none of a".to_owned()));
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in
            [("1ms", Some(1)), ("2s", Some(2_000)), ("3m", Some(180_000)), ("24h", Some(86_400_000))]
        {
            assert_eq!(time(text), milliseconds.map(Duration::from_millis), "{text}");
        }
        for text in ["", "1", "s", "0s", "+1s", "1.5s", "25h", "1d", "4294967296ms", "1 s"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
