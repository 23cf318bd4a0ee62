//! How a flow key is told in the history: by its fingerprint, eight hexadecimal digits. No key is ever in it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A flow key's fingerprint: `f4300ce0`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlowKeyPrint(pub u32);

/// Digits of one.
const DIGITS: usize = 8;

impl FlowKeyPrint {
    fn parse(text: &str) -> Option<Self> {
        let is_print = text.len() == DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_print.then(|| u32::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for FlowKeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Serialize for FlowKeyPrint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FlowKeyPrint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || de::Error::custom(format!("{text:?} is no fingerprint of {DIGITS} hexadecimal digits"));
        Self::parse(&text).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for print in [0, 0xab, 0xf430_0ce0, u32::MAX] {
            let text = FlowKeyPrint(print).to_string();
            assert_eq!((text.len(), FlowKeyPrint::parse(&text)), (DIGITS, Some(FlowKeyPrint(print))));
        }
        for wrong in ["", "f4300ce", "f4300ce00", "+4300ce0", "f4300cex"] {
            assert_eq!(FlowKeyPrint::parse(wrong), None, "{wrong}");
        }
    }
}
