//! Limits as the flag gives them.

use std::str::FromStr;

use thiserror::Error;

use super::Limit;

/// A value for a limit, as a flag gives it: `NAME=VALUE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Which.
    pub limit: Limit,
    /// How much.
    pub value: u64,
}

/// Why a text is no setting.
#[derive(PartialEq, Eq, Debug, Error)]
pub enum SettingError {
    /// There is no `=`.
    #[error("write NAME=VALUE, such as {}={}", Limit::HeadBytes, Limit::HeadBytes.default())]
    Form,
    /// No limit has this name.
    #[error("there is no limit {0:?}; there are {names}", names = Limit::ALL.map(Limit::name).join(", "))]
    Unknown(String),
    /// A limit is a number above 0.
    #[error("{0} takes a whole number above 0, not {1:?}")]
    Value(Limit, String),
    /// The HTTP libraries have a lower one.
    #[error("{0} can be {most} at most, for the HTTP library holds no more: not {1}", most = .0.most())]
    TooMuch(Limit, u64),
    /// It has one that goes by another limit.
    #[error(
        "with this {}, {} can be {most} at most: the HTTP library takes no more",
        Limit::Http2HeaderListBytes,
        Limit::Http2HeaderFrames
    )]
    HeaderFrames {
        /// It may be.
        most: u64,
    },
}

impl FromStr for Setting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let (name, value) = text.split_once('=').ok_or(SettingError::Form)?;
        let limit = Limit::ALL.into_iter().find(|limit| limit.name() == name);
        let limit = limit.ok_or_else(|| SettingError::Unknown(name.to_owned()))?;
        match value.parse() {
            Ok(value) if value > limit.most() => Err(SettingError::TooMuch(limit, value)),
            Ok(value) if value > 0 => Ok(Self { limit, value }),
            _ => Err(SettingError::Value(limit, value.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::l7::limits::Limits;

    #[test]
    fn a_setting_says_which_and_how_much() {
        let setting: Setting = "headers=50".parse().expect("a setting");
        assert_eq!(setting, Setting { limit: Limit::Headers, value: 50 });
        let limits = Limits::default().with(setting);
        assert!(limits.is_over(Limit::Headers, 51) && !limits.is_over(Limit::Headers, 50));
        for (text, part) in [
            ("headers", "NAME=VALUE"),
            ("header=1", "head-bytes"),
            ("headers=0", "above 0"),
            ("headers=x", "\"x\""),
            ("headers=24001", "24000 at most"),
            ("target-bytes=65535", "65534 at most"),
        ] {
            let error = text.parse::<Setting>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
