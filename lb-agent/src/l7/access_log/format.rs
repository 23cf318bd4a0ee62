//! How a line looks: JSON, or a template in which `$name` stands for a field.

use std::str::FromStr;

use thiserror::Error;

use super::field::Field;
use super::record::Record;

/// The form of lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format(Form);

/// A template that names a field which does not exist.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("there is no field ${name}; there are {all}", all = Field::ALL.map(Field::name).join(", "))]
pub struct FormatError {
    name: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Form {
    Json,
    Template(Vec<Part>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Plain(String),
    Field(Field),
}

impl Format {
    /// An object a line, without the fields that have nothing to say.
    pub const JSON: Self = Self(Form::Json);

    /// Adds the line of a record that ended at this time of day.
    pub(super) fn write(&self, record: &Record, time: &str, line: &mut String) {
        match &self.0 {
            Form::Json => json(record, time, line),
            Form::Template(parts) => parts.iter().for_each(|part| match part {
                Part::Plain(plain) => line.push_str(plain),
                Part::Field(field) => match field.of(record, time) {
                    Some(value) => value.write(line),
                    None => line.push('-'),
                },
            }),
        }
        line.push('\n');
    }
}

fn json(record: &Record, time: &str, line: &mut String) {
    let mut separator = '{';
    for field in Field::ALL {
        let Some(value) = field.of(record, time) else { continue };
        line.push(separator);
        line.push('"');
        line.push_str(field.name());
        line.push_str("\":");
        value.write_json(line);
        separator = ',';
    }
    line.push('}');
}

impl FromStr for Format {
    type Err = FormatError;

    /// `json`, or a template. A `$` before anything but a name stands for itself.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        if text == "json" {
            return Ok(Self::JSON);
        }
        let mut parts = Vec::new();
        let mut pieces = text.split('$');
        let mut plain = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            if name.is_empty() {
                plain.push('$');
            } else {
                let field = Field::ALL.into_iter().find(|field| field.name() == name);
                let field = field.ok_or_else(|| FormatError { name: name.to_owned() })?;
                parts.extend([Part::Plain(std::mem::take(&mut plain)), Part::Field(field)]);
            }
            plain.push_str(rest);
        }
        parts.push(Part::Plain(plain));
        Ok(Self(Form::Template(parts)))
    }
}
