//! Writes SQL text. A transaction is sent as one message, so values stand in the text itself: numbers as
//! numbers, everything else in hexadecimal, so that no value can be taken for anything but a value.

use std::fmt::{Display, Write as _};

use crate::domain::{Digest, Driver, InstanceId, OrderId};

/// A value of a statement.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    Null,
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl<'a> From<&'a OrderId> for Value<'a> {
    fn from(id: &'a OrderId) -> Self {
        Self::Bytes(id.0.as_bytes())
    }
}

impl<'a> From<&'a InstanceId> for Value<'a> {
    fn from(id: &'a InstanceId) -> Self {
        Self::Bytes(id.0.as_bytes())
    }
}

impl<'a> From<&'a Digest> for Value<'a> {
    fn from(digest: &'a Digest) -> Self {
        Self::Bytes(&digest.0)
    }
}

impl<'a, T> From<Option<T>> for Value<'a>
where
    Value<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// A message of one statement or several, ended by semicolons.
#[derive(Default)]
pub struct Message(String);

impl Message {
    /// A message that begins a transaction.
    pub fn begin() -> Self {
        Self("BEGIN;".to_owned())
    }

    /// Adds words of this program, never of anybody else.
    pub fn words(mut self, words: &'static str) -> Self {
        self.0.push_str(words);
        self
    }

    /// Adds a value.
    pub fn value<'a>(mut self, value: impl Into<Value<'a>>) -> Self {
        self.push(value.into());
        self
    }

    /// Adds `(value, value, …)`, for `IN`. The list must not be empty.
    pub fn list<'a, V: Into<Value<'a>>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.separated('(', values, |message, value| message.push(value.into()));
        self.0.push(')');
        self
    }

    /// Adds `((value, value), (value, value), …)`, for `IN` after two columns. The list must not be empty.
    pub fn pairs<'a, A: Into<Value<'a>>, B: Into<Value<'a>>>(
        mut self,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        self.separated('(', pairs, |message, (first, second)| {
            message.0.push('(');
            message.push(first.into());
            message.0.push(',');
            message.push(second.into());
            message.0.push(')');
        });
        self.0.push(')');
        self
    }

    /// Adds `VALUES (…), (…), …`: `row` writes each of them. There has to be one at least.
    pub fn rows<T>(
        mut self,
        items: impl IntoIterator<Item = T>,
        mut row: impl FnMut(&mut Row<'_>, T),
    ) -> Self {
        self.0.push_str(" VALUES ");
        let mut first = true;
        for item in items {
            self.0.push_str(if first { "(" } else { ",(" });
            first = false;
            row(&mut Row { message: &mut self, first: true }, item);
            self.0.push(')');
        }
        self
    }

    /// Adds the condition that a row of `saga_states` is the driver's.
    pub fn owned_by(self, driver: &Driver) -> Self {
        self.words("owner = ").value(&driver.instance).words(" AND epoch = ").value(driver.epoch)
    }

    fn separated<T>(
        &mut self,
        begin: char,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let mut separator = begin;
        for item in items {
            self.0.push(separator);
            write(self, item);
            separator = ',';
        }
    }

    fn push(&mut self, value: Value<'_>) {
        match value {
            Value::Int(number) => self.display(number),
            Value::Bytes(bytes) => self.hexadecimal("x'", bytes),
            Value::Text(text) => self.hexadecimal("_utf8mb4 x'", text.as_bytes()),
            Value::Null => self.0.push_str("NULL"),
        }
    }

    fn display(&mut self, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{value}");
    }

    fn hexadecimal(&mut self, begin: &str, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.0.push_str(begin);
        self.0.reserve(bytes.len() * 2 + 1);
        for byte in bytes {
            self.0.push(char::from(DIGITS[usize::from(byte >> 4)]));
            self.0.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        self.0.push('\'');
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// A row of an `INSERT`.
pub struct Row<'m> {
    message: &'m mut Message,
    first: bool,
}

impl Row<'_> {
    /// Adds the next column.
    pub fn add<'a>(&mut self, value: impl Into<Value<'a>>) -> &mut Self {
        if !self.first {
            self.message.0.push(',');
        }
        self.first = false;
        self.message.push(value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_is_taken_for_sql() {
        let message = Message::begin()
            .words("INSERT INTO t (a, b, c, d)")
            .rows([("'; DROP TABLE t; -- \\", -7_i64)], |row, (text, number)| {
                row.add(text).add(number).add(None::<i64>).add("");
            })
            .words(";SELECT ")
            .list([1_i64, 2]);
        assert_eq!(
            message.into_text(),
            "BEGIN;INSERT INTO t (a, b, c, d) VALUES (_utf8mb4 x'273b2044524f50205441424c4520743b202d2d205c',-7,NULL,\
             _utf8mb4 x'');SELECT (1,2)"
        );
    }
}
