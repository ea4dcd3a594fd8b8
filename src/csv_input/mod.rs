//! What `holdfast import` and `holdfast replay` read: CSV text in, checked rows out.
//!
//! All or nothing: one wrong row, and nothing of the file is taken. Nothing is dropped in
//! silence either, so a reader finds out about every wrong row in one go.
//!
//! * [`catalogue`] reads a catalogue of products;
//! * [`online_retail`] turns the invoices of a real shop into products, orders and changes of stock.

use std::fmt;
use std::io::{self, Read};

use csv::{ReaderBuilder, StringRecord, Trim};
use serde::Serialize;

pub mod catalogue;
pub mod online_retail;
#[cfg(test)]
mod three_days;

/// Bytes of a file. A reader that never ends must not fill the memory.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Wrong rows that are listed; the rest are counted.
pub const WRONG_ROWS_LISTED: usize = 20;

/// Units of a product's opening stock.
pub const OPENING_STOCK_MAX: i64 = 1_000_000_000;

/// Characters of a product's sku, name, description and category.
const SKU_MAX: usize = 64;
const NAME_MAX: usize = 200;
const DESCRIPTION_MAX: usize = 4_000;
const CATEGORY_MAX: usize = 64;

/// Characters of a value that a message repeats.
const QUOTED_MAX: usize = 40;

/// Put behind the text of a file. No file that is accepted has a NUL byte, so this row can only
/// come out as itself; when it does not, an open quote has swallowed it, and with it rows.
const END: &str = "\0";

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the file cannot be read")]
    Unreadable(#[from] io::Error),
    #[error("the file has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("line {line} is not UTF-8 text; save the file as CSV in UTF-8")]
    NotText { line: u64 },
    #[error("the file is empty")]
    Empty,
    #[error("the first line has to name the columns: {}", .0.join("; "))]
    WrongColumns(Vec<String>),
    #[error("the file has no rows below the names of the columns")]
    NoRows,
    #[error("line {line} opens a quote that is never closed")]
    OpenQuote { line: u64 },
    #[error(transparent)]
    WrongRows(WrongRows),
}

/// The wrong rows of a file: the first [`WRONG_ROWS_LISTED`], and how many there are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct WrongRows {
    pub listed: Vec<WrongRow>,
    /// Wrong rows in all, the listed ones included.
    pub count: usize,
}

/// A row that was not taken, and the first thing that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct WrongRow {
    /// Where the row begins; the names of the columns are line 1.
    pub line: u64,
    pub problem: String,
}

impl fmt::Display for WrongRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line {}: {}.", self.line, self.problem)
    }
}

impl fmt::Display for WrongRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.count == 1 { "1 row is" } else { &format!("{} rows are", self.count) };
        write!(f, "{rows} wrong, so nothing of the file was taken.")?;
        for row in &self.listed {
            write!(f, "\n{row}")?;
        }
        match self.count - self.listed.len() {
            0 => Ok(()),
            more => write!(f, "\nAnd {more} more."),
        }
    }
}

impl std::error::Error for WrongRows {}

impl WrongRows {
    fn add(&mut self, line: u64, problem: String) {
        self.count += 1;
        if self.listed.len() < WRONG_ROWS_LISTED {
            self.listed.push(WrongRow { line, problem });
        }
    }
}

/// The columns of a kind of file, by name.
struct Columns {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

impl Columns {
    /// Says everything that is wrong with the first line of a file.
    fn check(&self, header: &StringRecord) -> Result<(), ReadError> {
        let known = |name: &&str| self.required.contains(name) || self.optional.contains(name);
        let mut wrong = Vec::new();
        for name in self.required.iter().filter(|name| header.iter().all(|given| given != **name)) {
            wrong.push(format!("{name} is missing"));
        }
        for (index, name) in header.iter().enumerate() {
            if !known(&name) {
                wrong.push(format!("{} is unknown", quoted(name)));
            } else if header.iter().take(index).any(|earlier| earlier == name) {
                wrong.push(format!("{name} comes twice"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(ReadError::WrongColumns(wrong)) }
    }
}

/// One row of a file.
struct Row<'a> {
    line: u64,
    header: &'a StringRecord,
    fields: &'a StringRecord,
}

impl<'a> Row<'a> {
    /// The trimmed value in the column `name`; empty when the file does not have that column.
    fn get(&self, name: &str) -> &'a str {
        let index = self.header.iter().position(|column| column == name);
        index.and_then(|index| self.fields.get(index)).unwrap_or_default()
    }

    /// The value in the column `name`, if it is text of `min` to `max` characters. It may have
    /// line breaks.
    fn text(&self, name: &str, min: usize, max: usize) -> Result<&'a str, String> {
        let value = self.get(name);
        match value.chars().count() {
            0 if min > 0 => Err(format!("{name} is empty")),
            length if length > max => Err(format!("{name} has {length} characters, {max} is the most")),
            _ if value.chars().any(|character| character.is_control() && character != '\n') => {
                Err(format!("{name} {} has a control character", quoted(value)))
            }
            _ => Ok(value),
        }
    }

    /// The same on one line.
    fn one_line(&self, name: &str, min: usize, max: usize) -> Result<&'a str, String> {
        let value = self.text(name, min, max)?;
        if value.contains('\n') {
            Err(format!("{name} {} has a line break", quoted(value)))
        } else {
            Ok(value)
        }
    }

    /// The amount in the column `name`, in minor units.
    fn amount(&self, name: &str, decimals: u32) -> Result<i64, String> {
        let value = self.get(name);
        minor_units(value, decimals).map_err(|problem| format!("{name} {} {problem}", quoted(value)))
    }

    /// The whole number in the column `name`.
    fn integer(&self, name: &str) -> Result<i64, String> {
        let value = self.get(name);
        value.parse().map_err(|_| format!("{name} {} is not a whole number", quoted(value)))
    }
}

/// Hands each row of a file to `take`, which says what is wrong with it.
fn read_rows(
    input: impl Read,
    columns: &Columns,
    mut take: impl FnMut(&Row<'_>) -> Result<(), String>,
) -> Result<(), ReadError> {
    let text = read_text(input)?;
    let mut records = Records::new(&text);
    let (_, header) = records.next()?.ok_or(ReadError::Empty)?;
    columns.check(&header)?;
    let (mut rows, mut wrong) = (0_usize, WrongRows::default());
    while let Some((line, fields)) = records.next()? {
        rows += 1;
        let taken = if fields.len() == header.len() {
            take(&Row { line, header: &header, fields: &fields })
        } else {
            Err(format!("the row has {} values for {} columns", fields.len(), header.len()))
        };
        if let Err(problem) = taken {
            wrong.add(line, problem);
        }
    }
    match (rows, wrong.count) {
        (0, _) => Err(ReadError::NoRows),
        (_, 0) => Ok(()),
        _ => Err(ReadError::WrongRows(wrong)),
    }
}

/// The whole file, followed by a row of [`END`].
fn read_text(input: impl Read) -> Result<String, ReadError> {
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    let not_text = |bytes: &[u8]| ReadError::NotText { line: 1 + line_breaks(bytes) };
    let mut text = String::from_utf8(bytes)
        .map_err(|error| not_text(&error.as_bytes()[..error.utf8_error().valid_up_to()]))?;
    if let Some(nul) = text.find(END) {
        return Err(not_text(&text.as_bytes()[..nul]));
    }
    text.push('\n');
    text.push_str(END);
    // One kind of line break from here on, whatever system the file comes from.
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

fn line_breaks(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The records of a text and the lines on which they begin.
struct Records<'a> {
    text: &'a [u8],
    reader: csv::Reader<&'a [u8]>,
    line: u64,
    /// Bytes of the text whose line breaks are in `line`.
    counted: usize,
}

impl<'a> Records<'a> {
    fn new(text: &'a str) -> Self {
        let text = text.as_bytes();
        let reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text);
        Self { text, reader, line: 1, counted: 0 }
    }

    /// The next record, `None` at the end of the text.
    fn next(&mut self) -> Result<Option<(u64, StringRecord)>, ReadError> {
        let mut record = StringRecord::new();
        self.reader
            .read_record(&mut record)
            .expect("text in memory can be read, and rows may have any length");
        let line = self.line_of(&record);
        if record.len() == 1 && record.get(0) == Some(END) {
            return Ok(None);
        }
        if record.iter().next_back().is_none_or(|last| last.ends_with(END)) {
            return Err(ReadError::OpenQuote { line });
        }
        Ok(Some((line, record)))
    }

    /// Where a record begins. The csv crate's own line number is that of the blank lines before it.
    fn line_of(&mut self, record: &StringRecord) -> u64 {
        let position = record.position().map_or(self.counted, |position| position.byte() as usize);
        let blank = self.text[position..].iter().take_while(|byte| **byte == b'\n').count();
        self.line += line_breaks(&self.text[self.counted..position + blank]);
        self.counted = position + blank;
        self.line
    }
}

/// Why a text is not an amount of money.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AmountError {
    #[error("is not a decimal number such as 12.50")]
    NotANumber,
    #[error("is negative")]
    Negative,
    #[error("has more than {0} decimals")]
    TooManyDecimals(u32),
    #[error("is larger than any amount of money can be")]
    TooLarge,
}

/// Reads `12.5` as 1250 for two `decimals`, digit by digit: a float would round.
///
/// # Errors
/// It is no amount, or one that cannot be paid.
pub fn minor_units(text: &str, decimals: u32) -> Result<i64, AmountError> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(AmountError::NotANumber),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::NotANumber);
    }
    if unsigned != text {
        return Err(AmountError::Negative);
    }
    let width = decimals as usize;
    if fraction.len() > width {
        return Err(AmountError::TooManyDecimals(decimals));
    }
    format!("{whole}{fraction:0<width$}").parse().map_err(|_| AmountError::TooLarge)
}

/// A value of a file as a message shows it: short, and without anything that moves a cursor.
fn quoted(value: &str) -> String {
    match value.char_indices().nth(QUOTED_MAX) {
        None => format!("{value:?}"),
        Some((end, _)) => format!("{:?}...", &value[..end]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LETTERS: Columns = Columns { required: &["a", "b"], optional: &["c"] };

    /// The lines and the value of `a` of each row.
    fn read(input: &[u8]) -> Result<Vec<(u64, String)>, ReadError> {
        let mut rows = Vec::new();
        read_rows(input, &LETTERS, |row| {
            if row.get("a") == "wrong" {
                return Err("a is wrong".to_owned());
            }
            rows.push((row.line, row.get("a").to_owned()));
            Ok(())
        })?;
        Ok(rows)
    }

    fn refusal(input: &[u8]) -> String {
        read(input).expect_err("the file is wrong").to_string()
    }

    #[test]
    fn rows_are_found_by_column_name_on_the_line_where_they_begin() {
        for (input, lines) in [
            ("b,a\n2,x\n4,y\n", [2, 3]),
            ("\u{feff}b,a\r\n2,x\r\n4,y\r\n", [2, 3]),
            ("b,a\r\n\r\n\r\n2,x\r\n\r\n4,y", [4, 6]),
            ("\nb , a\n\"2\n2\",x\n 4, y \n\n", [3, 5]),
            ("b,c,a\n2,,x\n4,\"\",y\n", [2, 3]),
            ("b,a\r2,x\r4,y", [2, 3]),
        ] {
            let expected = vec![(lines[0], "x".to_owned()), (lines[1], "y".to_owned())];
            assert_eq!(read(input.as_bytes()).expect("the file is right"), expected, "{input:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_text_is_refused_with_the_line() {
        let not_text = "is not UTF-8 text; save the file as CSV in UTF-8";
        assert_eq!(refusal(b"a,b\n1,\0\n"), format!("line 2 {not_text}"));
        assert_eq!(refusal(b"a,b\n1,2\n\xff\xfe\n"), format!("line 3 {not_text}"));
        assert_eq!(refusal(b"\x7fELF\0\0\0"), format!("line 1 {not_text}"));
    }

    #[test]
    fn an_endless_file_is_refused() {
        assert!(matches!(read_text(io::repeat(b'x')), Err(ReadError::TooLarge)));
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        for empty in ["", "\n\r\n", "\u{feff}"] {
            assert_eq!(refusal(empty.as_bytes()), "the file is empty", "{empty:?}");
        }
        assert_eq!(refusal(b"a,b\n\n"), "the file has no rows below the names of the columns");
    }

    #[test]
    fn every_wrong_column_is_named() {
        assert_eq!(
            refusal(b"a,d,a\n1,2,3\n"),
            r#"the first line has to name the columns: b is missing; "d" is unknown; a comes twice"#
        );
    }

    #[test]
    fn an_open_quote_swallows_no_rows() {
        assert_eq!(refusal(b"a,b\n1,2\n3,\"4\n5,6\n"), "line 3 opens a quote that is never closed");
        assert_eq!(refusal(b"\"a,b\n1,2\n"), "line 1 opens a quote that is never closed");
        assert!(read(b"a,b\n\"1 \"\" x\",2\" wide\n").is_ok(), "quotes inside a value are part of it");
    }

    #[test]
    fn the_first_wrong_rows_are_listed_and_the_rest_counted() {
        assert_eq!(
            refusal(b"a,b\nright,2\nwrong,2\n1,2,3\n"),
            "2 rows are wrong, so nothing of the file was taken.\n\
             Line 3: a is wrong.\nLine 4: the row has 3 values for 2 columns."
        );
        let many = format!("a,b\n{}", "wrong,2\n".repeat(WRONG_ROWS_LISTED + 5));
        assert!(refusal(many.as_bytes()).ends_with("\nLine 21: a is wrong.\nAnd 5 more."));
    }

    #[test]
    fn amounts_are_read_exactly() {
        for (text, decimals, minor) in [
            ("12.50", 2, 1_250),
            ("12.5", 2, 1_250),
            ("12", 2, 1_200),
            ("0.1", 3, 100),
            ("500", 0, 500),
            ("007.00", 2, 700),
            ("92233720368547758.07", 2, i64::MAX),
        ] {
            assert_eq!(minor_units(text, decimals), Ok(minor), "{text}");
        }
        use AmountError::{Negative, NotANumber, TooLarge, TooManyDecimals};
        for (text, decimals, error) in [
            ("12.505", 2, TooManyDecimals(2)),
            ("12.500", 2, TooManyDecimals(2)),
            ("500.0", 0, TooManyDecimals(0)),
            ("-1.00", 2, Negative),
            ("92233720368547758.08", 2, TooLarge),
            ("99999999999999999999999", 0, TooLarge),
            ("", 2, NotANumber),
            ("-", 2, NotANumber),
            ("1.", 2, NotANumber),
            (".5", 2, NotANumber),
            ("+5", 2, NotANumber),
            ("1e3", 2, NotANumber),
            ("1,50", 2, NotANumber),
            ("1.2.3", 2, NotANumber),
            ("--1", 2, NotANumber),
            ("٣", 2, NotANumber),
        ] {
            assert_eq!(minor_units(text, decimals), Err(error), "{text}");
        }
    }

    #[test]
    fn a_message_shows_little_of_a_value_and_nothing_that_moves_a_cursor() {
        assert_eq!(quoted("a\u{1b}[2J"), r#""a\u{1b}[2J""#);
        assert_eq!(quoted(&"é".repeat(41)), format!("\"{}\"...", "é".repeat(40)));
    }

    proptest! {
        #[test]
        fn an_amount_reads_as_it_is_written(minor in 0..=i64::MAX, decimals in 1_u32..=4) {
            let unit = 10_i64.pow(decimals);
            let text = format!("{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize);
            prop_assert_eq!(minor_units(&text, decimals), Ok(minor));
        }

        #[test]
        fn any_bytes_are_rows_or_a_refusal(
            bytes in prop::collection::vec(prop::sample::select(b"ab1,\"\r\n \xff".to_vec()), 0..60),
        ) {
            let mut file = b"a,b\n".to_vec();
            file.extend_from_slice(&bytes);
            // What counts is that neither of them panics.
            let _ = (read(&bytes), read(&file));
        }
    }
}
