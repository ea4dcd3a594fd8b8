//! Three real days, compared with sums that are taken from the files in another way: by splitting
//! lines, without the csv crate and without any of the code that is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::online_retail::{Adjustment, AdjustmentReason, Day, read_day};

/// What the description of the data says about a day.
struct Published {
    date: &'static str,
    lines: usize,
    invoices: usize,
    returns: usize,
    codes: usize,
}

const DAYS: [Published; 3] = [
    Published { date: "2011-11-29", lines: 4_313, invoices: 151, returns: 11, codes: 1_560 },
    Published { date: "2011-12-05", lines: 5_331, invoices: 151, returns: 16, codes: 1_774 },
    Published { date: "2011-12-08", lines: 4_940, invoices: 145, returns: 20, codes: 1_677 },
];

/// Where the files are: they are read in place and never copied into the project.
fn folder() -> PathBuf {
    std::env::var_os("HOLDFAST_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/online-retail"),
        PathBuf::from,
    )
}

fn text_of(date: &str) -> String {
    let path = folder().join(format!("{date}.csv"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{} cannot be read ({error}): take the lines of {date} from the data set Online Retail \
             (doi 10.24432/C5BW33) as CSV with its eight columns, and name their folder in HOLDFAST_SHARED",
            path.display()
        )
    })
}

/// A line, cut at the commas before and after the description, the only column that has commas.
struct Split<'a> {
    invoice: &'a str,
    code: &'a str,
    described: bool,
    quantity: i64,
    pence: i64,
    customer: &'a str,
}

impl<'a> Split<'a> {
    fn new(line: &'a str) -> Self {
        let mut front = line.splitn(3, ',');
        let mut next = || front.next().expect("a line has more columns");
        let (invoice, code, rest) = (next(), next(), next());
        let mut back = rest.rsplitn(6, ',');
        let mut next = || back.next().expect("a line has more columns");
        let (_country, customer, price, _date) = (next(), next(), next(), next());
        let (quantity, description) = (next(), next());
        let (pounds, pence) = price.split_once('.').expect("every price has a point");
        let tens = if pence.len() == 1 { 10 } else { 1 };
        let number = |text: &str| text.parse::<i64>().expect("a number");
        Self {
            invoice,
            code,
            described: !description.trim().is_empty(),
            quantity: number(quantity),
            pence: number(pounds) * 100 + number(pence) * tens,
            customer,
        }
    }

    fn is_return(&self) -> bool {
        self.invoice.starts_with('C')
    }

    fn is_service(&self) -> bool {
        !self.code.starts_with("gift_") && !self.code.bytes().take(5).all(|byte| byte.is_ascii_digit())
    }
}

/// Units by stock code.
fn sum<'a>(units: impl Iterator<Item = (&'a str, i64)>) -> BTreeMap<&'a str, i64> {
    let mut sums = BTreeMap::new();
    for (code, units) in units {
        *sums.entry(code).or_default() += units;
    }
    sums
}

fn code_of(sku: &str) -> &str {
    sku.split('@').next().expect("splitting gives a first part")
}

fn compare(published: &Published, lines: &[Split<'_>], day: &Day) {
    let summary = &day.summary;
    let invoices = |of: &dyn Fn(&Split<'_>) -> bool| {
        lines.iter().filter(|line| of(line)).map(|line| line.invoice).collect::<BTreeSet<_>>().len()
    };
    let count = |of: &dyn Fn(&Split<'_>) -> bool| lines.iter().filter(|line| of(line)).count();
    let units = |of: &dyn Fn(&Split<'_>) -> bool| {
        sum(lines.iter().filter(|line| of(line)).map(|line| (line.code, line.quantity.abs())))
    };
    let sold = |line: &Split<'_>| line.quantity > 0;
    let gone = |line: &Split<'_>| line.quantity < 0 && !line.is_return();
    let back = |line: &Split<'_>| line.is_return() && !line.is_service();
    let money = |line: &Split<'_>| line.is_return() && line.is_service();

    assert_eq!(summary.lines_read, published.lines);
    assert_eq!(summary.lines_read, lines.len());
    assert_eq!(summary.sale_lines, count(&sold));
    assert_eq!(summary.write_off_lines, count(&gone));
    assert_eq!(summary.restocked_lines, count(&back));
    assert_eq!(summary.money_only_lines, count(&money));
    assert_eq!(day.money_only_returns.len(), count(&money));
    assert_eq!(summary.lines_without_description, count(&|line| !line.described));
    assert_eq!(summary.lines_without_customer, count(&|line| line.customer.is_empty()));
    assert_eq!(summary.zero_price_lines, count(&|line| line.pence == 0));
    assert_eq!(summary.service_lines, count(&|line| line.is_service()));

    assert_eq!(summary.invoices_read, published.invoices);
    assert_eq!(summary.invoices_read, invoices(&|_| true));
    assert_eq!(summary.orders, invoices(&sold));
    assert_eq!(summary.restocking_returns + summary.money_only_returns, published.returns);
    assert_eq!(summary.restocking_returns, invoices(&back));

    // A code and a price sell as one product; an invoice has it once.
    let tiers: BTreeSet<_> =
        lines.iter().filter(|line| sold(line)).map(|line| (line.code, line.pence)).collect();
    let codes_sold: BTreeSet<_> = tiers.iter().map(|(code, _)| *code).collect();
    let on_invoices: BTreeSet<_> =
        lines.iter().filter(|line| sold(line)).map(|line| (line.invoice, line.code, line.pence)).collect();
    assert_eq!(summary.stock_codes, published.codes);
    assert_eq!(summary.extra_price_tiers, tiers.len() - codes_sold.len());
    assert_eq!(summary.merged_lines, count(&sold) - on_invoices.len());

    let revenue: i64 = lines.iter().filter(|line| sold(line)).map(|line| line.quantity * line.pence).sum();
    let totals: i64 = day.orders.iter().map(|order| order.total_minor).sum();
    assert_eq!((summary.revenue_minor, totals), (revenue, revenue));

    let order_lines = day.orders.iter().flat_map(|order| &order.lines);
    assert_eq!(sum(order_lines.map(|(sku, units)| (code_of(sku), *units))), units(&sold));
    let adjusted = |reason| {
        let of = move |adjustment: &&Adjustment| adjustment.reason == reason;
        sum(day.adjustments.iter().filter(of).map(|a| (code_of(&a.sku), a.delta.abs())))
    };
    assert_eq!(adjusted(AdjustmentReason::WriteOff), units(&gone));
    assert_eq!(adjusted(AdjustmentReason::Return), units(&back));
    let opening = sum(day.products.iter().map(|product| (code_of(&product.sku), product.stock)));
    let mut expected = units(&|line| sold(line) || gone(line));
    for code in units(&back).into_keys() {
        expected.entry(code).or_default();
    }
    assert_eq!(opening, expected);
}

#[test]
fn three_real_days_agree_with_their_files() {
    for published in &DAYS {
        let text = text_of(published.date);
        let lines: Vec<_> = text.lines().skip(1).map(Split::new).collect();
        let day = read_day(text.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", published.date));
        println!("{}\n{}\n", published.date, day.summary);
        compare(published, &lines, &day);
    }
}
