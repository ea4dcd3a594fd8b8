//! Three days of a real shop, read without any of the code that is tested. The files are read in
//! place and never copied into the project.

use std::path::PathBuf;

/// The days there are.
pub const DAYS: [&str; 3] = ["2011-11-29", "2011-12-05", "2011-12-08"];

/// A line of an invoice.
pub struct Line {
    pub invoice: String,
    pub code: String,
    pub quantity: i64,
    /// The price of one unit.
    pub pence: i64,
    /// 1 when the line names nobody.
    pub customer: i64,
}

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Sale,
    WriteOff,
    Return,
    /// A return of postage or a fee, which nobody can put back on a shelf.
    MoneyOnly,
}

impl Line {
    pub fn kind(&self) -> Kind {
        let goods = self.code.len() >= 5 && self.code.bytes().take(5).all(|byte| byte.is_ascii_digit())
            || self.code.starts_with("gift_");
        match (self.quantity > 0, self.invoice.starts_with('C')) {
            (true, _) => Kind::Sale,
            (false, false) => Kind::WriteOff,
            (false, true) if goods => Kind::Return,
            (false, true) => Kind::MoneyOnly,
        }
    }
}

/// The file of a day.
pub fn file_of(day: &str) -> PathBuf {
    let folder = std::env::var_os("HOLDFAST_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail"),
        PathBuf::from,
    );
    let path = folder.join(format!("{day}.csv"));
    assert!(
        path.is_file(),
        "{} is missing: take the lines of {day} from the data set Online Retail (doi 10.24432/C5BW33) as CSV with \
         its eight columns, and name their folder in HOLDFAST_SHARED",
        path.display()
    );
    path
}

/// The lines of a day.
pub fn lines_of(day: &str) -> Vec<Line> {
    let mut reader = csv::Reader::from_path(file_of(day)).expect("the file can be read");
    let lines = reader.records().map(|record| {
        let record = record.expect("a line of CSV");
        Line {
            invoice: record[0].to_owned(),
            code: record[1].to_owned(),
            quantity: record[3].parse().expect("a quantity"),
            pence: pence(&record[5]),
            customer: record[6].strip_suffix(".0").map_or(1, |id| id.parse().expect("a customer")),
        }
    });
    lines.collect()
}

/// `0.85` and `1.5` and `2`, without the detour of a floating point number.
fn pence(price: &str) -> i64 {
    let (pounds, pence) = price.split_once('.').unwrap_or((price, ""));
    let pounds: i64 = pounds.parse().expect("pounds");
    pounds * 100 + format!("{pence:0<2}").parse::<i64>().expect("two digits of pence")
}
