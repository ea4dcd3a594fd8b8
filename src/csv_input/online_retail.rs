//! A day of a real shop, from invoice lines: `InvoiceNo, StockCode, Description, Quantity,
//! InvoiceDate, UnitPrice, CustomerID, Country`, prices in pounds sterling.
//!
//! The lines are as untidy as a real shop's. What becomes of each kind is explained in
//! `docs/online-retail.md`; [`Summary`] accounts for every line and every invoice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read;

use jiff::civil::DateTime;
use serde::Serialize;

use super::{Columns, NAME_MAX, OPENING_STOCK_MAX, ReadError, Row, quoted, read_rows};
use crate::domain::{Currency, Money};

/// The customer of lines that name none. No customer of a file may have this number.
pub const GUEST: i64 = 1;

/// The currency of every price.
pub const CURRENCY: Currency = Currency::GBP;

/// Decimals of a price in [`CURRENCY`].
const DECIMALS: u32 = 2;

/// Lines of an order, each for another product.
pub const ORDER_LINES_MAX: usize = 1_000;

/// Units of one product in an order, of a return or of a write-off.
pub const QUANTITY_MAX: i64 = 100_000;

/// Digits of an invoice number, and characters of a stock code: with the longest price behind it
/// a code still is a sku, and with both in it a key still is an Idempotency-Key.
const INVOICE_DIGITS_MAX: usize = 20;
const CODE_MAX: usize = 40;

/// Stands between a stock code and a price in the sku of a price tier, so no code may have it.
const TIER: char = '@';

/// What goes for a product of its own and is none: nobody can put it back on a shelf. Codes
/// of goods begin with five digits or, for gift vouchers, with `gift_`; these are the others.
const SERVICES: [(&str, &str); 9] = [
    ("POST", "postage"),
    ("DOT", "postage of the web shop"),
    ("C2", "carriage"),
    ("M", "an amount typed in by hand"),
    ("D", "a discount"),
    ("S", "samples, booked as an amount"),
    ("BANK CHARGES", "a fee of the bank"),
    ("AMAZONFEE", "a fee of the marketplace"),
    ("CRUK", "a charity's share of the takings"),
];

const COLUMNS: Columns = Columns {
    required: &[
        "InvoiceNo",
        "StockCode",
        "Description",
        "Quantity",
        "InvoiceDate",
        "UnitPrice",
        "CustomerID",
        "Country",
    ],
    optional: &[],
};

/// What a shop had to sell on a day, and what happened to it.
///
/// Every order can be filled and every write-off taken, in whatever order they come; what is
/// left when all is done is what came line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Day {
    /// By stock code; a code's own product first, then its price tiers by price.
    pub products: Vec<Product>,
    /// In the order of the file.
    pub orders: Vec<Order>,
    /// In the order of the file.
    pub adjustments: Vec<Adjustment>,
    /// Lines of returns that give back money and nothing else, in the order of the file.
    pub money_only_returns: Vec<MoneyOnlyReturn>,
    pub summary: Summary,
}

/// A product at the one price it is sold at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Product {
    /// The stock code, or `code@0.85` for a further price of the code; up to 64 characters.
    pub sku: String,
    pub name: String,
    pub category: Category,
    /// In pence, not negative.
    pub price_minor: i64,
    /// Units before the first order: what is sold and written off on the day.
    pub stock: i64,
}

/// What kind of product a stock code stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    Goods,
    Service,
}

impl Category {
    /// The kind of product that `code` stands for.
    fn of(code: &str) -> Self {
        // The file has "m" beside "M".
        let service = SERVICES.iter().any(|(service, _)| service.eq_ignore_ascii_case(code));
        if service { Self::Service } else { Self::Goods }
    }

    /// The name of the category in the shop.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goods => "goods",
            Self::Service => "service",
        }
    }
}

/// What a customer bought on one invoice.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Order {
    /// An Idempotency-Key made from the invoice number, the same each time the file is read.
    pub key: String,
    pub invoice: String,
    /// [`GUEST`] when the invoice names nobody.
    pub user_id: i64,
    /// The shop's local time on the first line of the invoice.
    pub at: DateTime,
    /// Sku and units, each sku once, in the order of the invoice.
    pub lines: Vec<(String, i64)>,
    /// In pence. An order of 0 takes no payment.
    pub total_minor: i64,
    /// Lines of the file that became this order.
    pub source_lines: usize,
}

/// A change of stock that is not a sale.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Adjustment {
    /// An Idempotency-Key: invoice, stock code and the number of the line on the invoice.
    pub key: String,
    pub sku: String,
    /// Units: more than 0 came back, fewer went.
    pub delta: i64,
    pub reason: AdjustmentReason,
    /// The shop's local time on the first line of the invoice.
    pub at: DateTime,
    /// Line of the file; the names of the columns are line 1.
    pub source_line: u64,
}

/// Why stock came or went without a sale.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdjustmentReason {
    Return,
    WriteOff,
}

impl AdjustmentReason {
    /// The words for the stock log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Return => "return",
            Self::WriteOff => "write-off",
        }
    }
}

/// A line of a return that puts nothing back on a shelf: postage, fees, commissions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MoneyOnlyReturn {
    pub invoice: String,
    pub code: String,
    /// Units given back, more than 0.
    pub quantity: i64,
    /// In pence, for one unit.
    pub price_minor: i64,
    /// Line of the file; the names of the columns are line 1.
    pub source_line: u64,
}

/// What became of every line and every invoice of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    pub lines_read: usize,
    pub sale_lines: usize,
    /// Sale lines that were put into another one of the same order, code and price.
    pub merged_lines: usize,
    pub write_off_lines: usize,
    /// Return lines that put units back into stock.
    pub restocked_lines: usize,
    /// Return lines of services: money only.
    pub money_only_lines: usize,

    pub invoices_read: usize,
    /// Invoices with a sale. They may have write-offs too.
    pub orders: usize,
    pub write_off_only_invoices: usize,
    /// Returns that put units back into stock.
    pub restocking_returns: usize,
    /// Returns that have services only.
    pub money_only_returns: usize,
    /// Orders with a total of 0, which take no payment.
    pub free_orders: usize,

    pub units_sold: i64,
    pub units_written_off: i64,
    /// Units put back into stock.
    pub units_returned: i64,
    /// Opening stock of all products.
    pub units_at_opening: i64,
    /// In pence: what the orders cost. Returns are not taken off.
    pub revenue_minor: i64,

    pub stock_codes: usize,
    /// Codes that occur in money-only returns alone.
    pub codes_without_product: usize,
    /// Products beyond the first of their code, one for each further price it is sold at.
    pub extra_price_tiers: usize,
    pub products: usize,

    pub lines_without_description: usize,
    pub lines_without_customer: usize,
    pub zero_price_lines: usize,
    pub service_lines: usize,
}

impl Summary {
    /// Whether everything that was read became something, once.
    pub fn check(&self) -> bool {
        let lines = self.sale_lines + self.write_off_lines + self.restocked_lines + self.money_only_lines;
        let returns = self.restocking_returns + self.money_only_returns;
        self.lines_read == lines
            && self.invoices_read == self.orders + self.write_off_only_invoices + returns
            && self.units_at_opening == self.units_sold + self.units_written_off
            && self.products + self.codes_without_product == self.stock_codes + self.extra_price_tiers
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("lines read", self.lines_read),
            ("  sold", self.sale_lines),
            ("    of which merged into another", self.merged_lines),
            ("  written off", self.write_off_lines),
            ("  returned into stock", self.restocked_lines),
            ("  returned as money only", self.money_only_lines),
            ("invoices read", self.invoices_read),
            ("  orders", self.orders),
            ("    of which free", self.free_orders),
            ("  write-offs only", self.write_off_only_invoices),
            ("  returns into stock", self.restocking_returns),
            ("  returns of money only", self.money_only_returns),
            ("stock codes", self.stock_codes),
            ("  without a product", self.codes_without_product),
            ("  further prices", self.extra_price_tiers),
            ("products", self.products),
            ("lines without description", self.lines_without_description),
            ("lines without customer", self.lines_without_customer),
            ("lines at price 0", self.zero_price_lines),
            ("lines of services", self.service_lines),
        ];
        for (what, count) in rows {
            writeln!(f, "{what:<36}{count:>12}")?;
        }
        for (what, units) in [
            ("units at opening", self.units_at_opening),
            ("  sold", self.units_sold),
            ("  written off", self.units_written_off),
            ("units returned into stock", self.units_returned),
        ] {
            writeln!(f, "{what:<36}{units:>12}")?;
        }
        let revenue = Money::new(self.revenue_minor, CURRENCY).to_string();
        write!(f, "{:<32}{revenue:>16}", "revenue")
    }
}

/// Reads the invoice lines of a day.
///
/// # Errors
/// The file is not of this kind, or has rows that are wrong: all of them, or nothing, is taken.
pub fn read_day(input: impl Read) -> Result<Day, ReadError> {
    let mut sheet = Sheet::default();
    read_rows(input, &COLUMNS, |row| sheet.add(row))?;
    let day = sheet.into_day();
    assert!(day.summary.check(), "a line or an invoice is not accounted for: {:?}", day.summary);
    Ok(day)
}

/// The rows of a file by invoice and by stock code.
#[derive(Default)]
struct Sheet {
    /// In the order of the file.
    invoices: Vec<Invoice>,
    invoice_index: HashMap<String, usize>,
    codes: BTreeMap<String, Code>,
    /// What can be counted line by line.
    counts: Summary,
}

impl Sheet {
    /// Takes one row, or says what is wrong with it.
    fn add(&mut self, row: &Row<'_>) -> Result<(), String> {
        let line = Line::read(row)?;
        self.count(&line)?;
        self.codes.entry(line.code.to_owned()).or_default().add(&line)?;
        let index = *self.invoice_index.entry(line.invoice.to_owned()).or_insert_with(|| {
            self.invoices.push(Invoice::new(&line));
            self.invoices.len() - 1
        });
        self.invoices[index].add(&line, row.line)
    }

    fn count(&mut self, line: &Line<'_>) -> Result<(), String> {
        let counts = &mut self.counts;
        counts.lines_read += 1;
        counts.lines_without_description += usize::from(line.description.is_empty());
        counts.lines_without_customer += usize::from(line.customer.is_none());
        counts.zero_price_lines += usize::from(line.price_minor == 0);
        counts.service_lines += usize::from(Category::of(line.code) == Category::Service);
        let too_large = "the amount is larger than any amount of money can be";
        let amount = line.price_minor.checked_mul(line.quantity).ok_or(too_large)?;
        if line.kind == Kind::Sale {
            counts.revenue_minor = counts.revenue_minor.checked_add(amount).ok_or(too_large)?;
        }
        Ok(())
    }

    fn into_day(self) -> Day {
        let price_list = PriceList::new(&self.codes);
        let (mut orders, mut adjustments, mut money_only_returns) = (Vec::new(), Vec::new(), Vec::new());
        for invoice in &self.invoices {
            orders.extend(invoice.order(&price_list));
            for line in &invoice.minus_lines {
                match line.reason {
                    Some(reason) => adjustments.push(invoice.adjustment(line, reason, &price_list)),
                    None => money_only_returns.push(invoice.money_only_return(line)),
                }
            }
        }
        let products = price_list.products(&opening_stock(&orders, &adjustments));

        let lines_of = |reason| adjustments.iter().filter(move |adjustment| adjustment.reason == reason);
        let units_of = |reason| lines_of(reason).map(|adjustment| adjustment.delta.abs()).sum();
        let invoices_of = |kind| self.invoices.iter().filter(|invoice| invoice.kind() == kind).count();
        let source_lines: usize = orders.iter().map(|order| order.source_lines).sum();
        let order_lines: usize = orders.iter().map(|order| order.lines.len()).sum();
        let summary = Summary {
            sale_lines: source_lines,
            merged_lines: source_lines - order_lines,
            write_off_lines: lines_of(AdjustmentReason::WriteOff).count(),
            restocked_lines: lines_of(AdjustmentReason::Return).count(),
            money_only_lines: money_only_returns.len(),
            invoices_read: self.invoices.len(),
            orders: orders.len(),
            write_off_only_invoices: invoices_of(Kind::WriteOff),
            restocking_returns: invoices_of(Kind::Return),
            money_only_returns: invoices_of(Kind::MoneyOnly),
            free_orders: orders.iter().filter(|order| order.total_minor == 0).count(),
            units_sold: orders.iter().flat_map(|order| &order.lines).map(|(_, quantity)| quantity).sum(),
            units_written_off: units_of(AdjustmentReason::WriteOff),
            units_returned: units_of(AdjustmentReason::Return),
            units_at_opening: products.iter().map(|product| product.stock).sum(),
            stock_codes: self.codes.len(),
            codes_without_product: self.codes.len() - price_list.main_prices.len(),
            extra_price_tiers: products.iter().filter(|product| product.sku.contains(TIER)).count(),
            products: products.len(),
            ..self.counts
        };
        Day { products, orders, adjustments, money_only_returns, summary }
    }
}

/// The units of each sku that a day takes away.
fn opening_stock<'a>(orders: &'a [Order], adjustments: &'a [Adjustment]) -> HashMap<&'a str, i64> {
    let sold = orders.iter().flat_map(|order| &order.lines).map(|(sku, quantity)| (sku, *quantity));
    let written_off = adjustments
        .iter()
        .filter(|adjustment| adjustment.reason == AdjustmentReason::WriteOff)
        .map(|adjustment| (&adjustment.sku, -adjustment.delta));
    let mut stock = HashMap::new();
    for (sku, units) in sold.chain(written_off) {
        *stock.entry(sku.as_str()).or_default() += units;
    }
    stock
}

struct Invoice {
    number: String,
    customer: Option<i64>,
    at: DateTime,
    lines: usize,
    /// One for each code and price.
    sales: Vec<Sale>,
    sale_lines: usize,
    minus_lines: Vec<MinusLine>,
}

struct Sale {
    code: String,
    price_minor: i64,
    quantity: i64,
}

/// A line with a negative quantity.
struct MinusLine {
    code: String,
    price_minor: i64,
    /// Units, more than 0.
    quantity: i64,
    /// Why stock changes; `None` when it does not.
    reason: Option<AdjustmentReason>,
    /// Of the line on the invoice, from 1.
    number: usize,
    source_line: u64,
}

impl Invoice {
    fn new(line: &Line<'_>) -> Self {
        Self {
            number: line.invoice.to_owned(),
            customer: line.customer,
            at: line.at,
            lines: 0,
            sales: Vec::new(),
            sale_lines: 0,
            minus_lines: Vec::new(),
        }
    }

    fn add(&mut self, line: &Line<'_>, source_line: u64) -> Result<(), String> {
        if line.customer != self.customer {
            return Err(format!("CustomerID is not that of the lines before on invoice {}", self.number));
        }
        self.lines += 1;
        let reason = match line.kind {
            Kind::Sale => return self.sell(line),
            Kind::WriteOff => Some(AdjustmentReason::WriteOff),
            Kind::Return => Some(AdjustmentReason::Return),
            Kind::MoneyOnly => None,
        };
        self.minus_lines.push(MinusLine {
            code: line.code.to_owned(),
            price_minor: line.price_minor,
            quantity: line.quantity,
            reason,
            number: self.lines,
            source_line,
        });
        Ok(())
    }

    /// One product of an order comes once, so the same code at the same price is summed.
    fn sell(&mut self, line: &Line<'_>) -> Result<(), String> {
        self.sale_lines += 1;
        let same = |sale: &&mut Sale| sale.code == line.code && sale.price_minor == line.price_minor;
        if let Some(sale) = self.sales.iter_mut().find(same) {
            sale.quantity += line.quantity;
            if sale.quantity > QUANTITY_MAX {
                return Err(format!(
                    "invoice {} has more than {QUANTITY_MAX} units of a product",
                    self.number
                ));
            }
            return Ok(());
        }
        if self.sales.len() == ORDER_LINES_MAX {
            return Err(format!("invoice {} has more than {ORDER_LINES_MAX} products", self.number));
        }
        let (code, price_minor, quantity) = (line.code.to_owned(), line.price_minor, line.quantity);
        self.sales.push(Sale { code, price_minor, quantity });
        Ok(())
    }

    /// What the invoice is, as a whole.
    fn kind(&self) -> Kind {
        let has = |reason| self.minus_lines.iter().any(|line| line.reason == Some(reason));
        if !self.sales.is_empty() {
            Kind::Sale
        } else if has(AdjustmentReason::WriteOff) {
            Kind::WriteOff
        } else if has(AdjustmentReason::Return) {
            Kind::Return
        } else {
            Kind::MoneyOnly
        }
    }

    /// What the customer bought, if anything.
    fn order(&self, price_list: &PriceList<'_>) -> Option<Order> {
        let line = |sale: &Sale| (price_list.sku(&sale.code, sale.price_minor), sale.quantity);
        (!self.sales.is_empty()).then(|| Order {
            key: format!("invoice-{}", self.number),
            invoice: self.number.clone(),
            user_id: self.customer.unwrap_or(GUEST),
            at: self.at,
            lines: self.sales.iter().map(line).collect(),
            total_minor: self.sales.iter().map(|sale| sale.price_minor * sale.quantity).sum(),
            source_lines: self.sale_lines,
        })
    }

    fn adjustment(
        &self,
        line: &MinusLine,
        reason: AdjustmentReason,
        price_list: &PriceList<'_>,
    ) -> Adjustment {
        // The number makes the key unique; the code is there for the eye, in what a header may carry.
        let code = line.code.replace(|character: char| !character.is_ascii_graphic(), "_");
        Adjustment {
            key: format!("{}-{code}-{}", self.number, line.number),
            sku: price_list.sku(&line.code, line.price_minor),
            delta: match reason {
                AdjustmentReason::Return => line.quantity,
                AdjustmentReason::WriteOff => -line.quantity,
            },
            reason,
            at: self.at,
            source_line: line.source_line,
        }
    }

    fn money_only_return(&self, line: &MinusLine) -> MoneyOnlyReturn {
        MoneyOnlyReturn {
            invoice: self.number.clone(),
            code: line.code.clone(),
            quantity: line.quantity,
            price_minor: line.price_minor,
            source_line: line.source_line,
        }
    }
}

/// What the lines say about a stock code.
#[derive(Default)]
struct Code {
    names: HashMap<String, NameUse>,
    /// By price in pence.
    prices: BTreeMap<i64, PriceUse>,
    /// Sold and written off.
    units: i64,
}

/// How many lines use a description, and how many others were seen before it. More is better in
/// the first, fewer in the second.
type NameUse = (usize, Reverse<usize>);

/// How many lines use a price for something that changes stock.
#[derive(Default)]
struct PriceUse {
    sale_lines: usize,
    return_lines: usize,
    write_off_lines: usize,
}

impl PriceUse {
    /// How well the price stands for its code: one that sold before one that came back, that
    /// before one that was written off (mostly 0), and then the one with more lines.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self { sale_lines: 1.., .. } => (2, self.sale_lines),
            Self { return_lines: 1.., .. } => (1, self.return_lines),
            _ => (0, self.write_off_lines),
        }
    }
}

impl Code {
    fn add(&mut self, line: &Line<'_>) -> Result<(), String> {
        if !line.description.is_empty() {
            let seen_before = self.names.len();
            self.names.entry(line.description.to_owned()).or_insert((0, Reverse(seen_before))).0 += 1;
        }
        match line.kind {
            Kind::Sale => self.price(line).sale_lines += 1,
            Kind::WriteOff => self.price(line).write_off_lines += 1,
            Kind::Return => self.price(line).return_lines += 1,
            Kind::MoneyOnly => {}
        }
        if matches!(line.kind, Kind::Sale | Kind::WriteOff) {
            self.units += line.quantity;
        }
        if self.units > OPENING_STOCK_MAX {
            return Err(format!("StockCode {} has more than {OPENING_STOCK_MAX} units", quoted(line.code)));
        }
        Ok(())
    }

    fn price(&mut self, line: &Line<'_>) -> &mut PriceUse {
        self.prices.entry(line.price_minor).or_default()
    }

    /// The price of the product that has the code itself as sku. Between equals, the lowest.
    fn main_price(&self) -> Option<i64> {
        let best = self.prices.iter().max_by_key(|(price, used)| (used.rank(), Reverse(**price)));
        best.map(|(price, _)| *price)
    }

    /// The description that occurs most often. Between equals, the first.
    fn name(&self) -> Option<&str> {
        self.names.iter().max_by_key(|(_, used)| **used).map(|(name, _)| name.as_str())
    }
}

/// The products that the stock codes stand for.
///
/// A product has one price at a time, and a code may sell at several on one day. So each price
/// that sells is a product, and the sum of the orders is that of the file, to the penny.
struct PriceList<'a> {
    codes: &'a BTreeMap<String, Code>,
    /// Of each code that has products.
    main_prices: HashMap<&'a str, i64>,
}

impl<'a> PriceList<'a> {
    fn new(codes: &'a BTreeMap<String, Code>) -> Self {
        let main_prices =
            codes.iter().filter_map(|(name, code)| Some((name.as_str(), code.main_price()?))).collect();
        Self { codes, main_prices }
    }

    /// The product that is meant by a price of a code. What comes back at a price that did not
    /// sell belongs to the code's main product.
    fn sku(&self, code: &str, price_minor: i64) -> String {
        let sells = self.codes[code].prices[&price_minor].sale_lines > 0;
        if sells && self.main_prices[code] != price_minor {
            format!("{code}{TIER}{}.{:02}", price_minor / 100, price_minor % 100)
        } else {
            code.to_owned()
        }
    }

    fn products(&self, opening_stock: &HashMap<&str, i64>) -> Vec<Product> {
        let mut products = Vec::new();
        for (name, code) in self.codes {
            let Some(main) = self.main_prices.get(name.as_str()) else { continue };
            let further = code.prices.iter().filter(|(price, used)| *price != main && used.sale_lines > 0);
            for price_minor in std::iter::once(main).chain(further.map(|(price, _)| price)) {
                let sku = self.sku(name, *price_minor);
                products.push(Product {
                    name: code.name().unwrap_or(name).to_owned(),
                    category: Category::of(name),
                    price_minor: *price_minor,
                    stock: opening_stock.get(sku.as_str()).copied().unwrap_or(0),
                    sku,
                });
            }
        }
        products
    }
}

/// What a line of the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sale,
    WriteOff,
    Return,
    MoneyOnly,
}

/// A row whose values have been read, each for itself.
struct Line<'a> {
    invoice: &'a str,
    kind: Kind,
    code: &'a str,
    description: &'a str,
    /// Units, more than 0 whatever the kind.
    quantity: i64,
    at: DateTime,
    price_minor: i64,
    customer: Option<i64>,
}

impl<'a> Line<'a> {
    fn read(row: &Row<'a>) -> Result<Self, String> {
        let invoice = row.get("InvoiceNo");
        let digits = invoice.strip_prefix('C').unwrap_or(invoice);
        if !(1..=INVOICE_DIGITS_MAX).contains(&digits.len())
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Err(format!("InvoiceNo {} is not a number, or C and a number", quoted(invoice)));
        }
        let is_return = digits.len() < invoice.len();
        let code = row.one_line("StockCode", 1, CODE_MAX)?;
        if code.contains(TIER) {
            return Err(format!("StockCode {} has an {TIER}", quoted(code)));
        }
        let quantity = row.integer("Quantity")?;
        if quantity == 0 || !(-QUANTITY_MAX..=QUANTITY_MAX).contains(&quantity) {
            return Err(format!("Quantity {quantity} is 0 or beyond {QUANTITY_MAX}"));
        }
        if is_return && quantity > 0 {
            return Err(format!("Quantity {quantity} on the return {invoice} is not negative"));
        }
        // Nobody reads the country; a line break in it would be rows that an open quote has swallowed.
        row.one_line("Country", 0, NAME_MAX)?;
        let at = row.get("InvoiceDate");
        Ok(Self {
            invoice,
            kind: match (is_return, quantity > 0) {
                (true, _) if Category::of(code) == Category::Service => Kind::MoneyOnly,
                (true, _) => Kind::Return,
                (false, true) => Kind::Sale,
                (false, false) => Kind::WriteOff,
            },
            code,
            description: row.one_line("Description", 0, NAME_MAX)?,
            quantity: quantity.abs(),
            at: at.parse().map_err(|_| {
                format!("InvoiceDate {} is not a time such as 2011-11-29 08:07:00", quoted(at))
            })?,
            price_minor: row.amount("UnitPrice", DECIMALS)?,
            customer: customer(row.get("CustomerID"))?,
        })
    }
}

/// `13349.0` is customer 13349; the file's numbers have been through a spreadsheet.
fn customer(text: &str) -> Result<Option<i64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.strip_suffix(".0").unwrap_or(text).parse().ok().filter(|number| *number > GUEST);
    number.map(Some).ok_or_else(|| format!("CustomerID {} is not a number above {GUEST}", quoted(text)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::WrongRows;
    use super::*;

    const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

    /// A file of rows `InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID`.
    fn file(rows: &[&str]) -> String {
        let mut file = format!("{HEADER}\n");
        for row in rows {
            let [invoice, code, description, quantity, price, customer] =
                row.split(',').collect::<Vec<_>>().try_into().expect("six values");
            file += &format!(
                "{invoice},{code},{description},{quantity},2011-11-29 08:07:00,{price},{customer},United Kingdom\n"
            );
        }
        file
    }

    fn day(rows: &[&str]) -> Day {
        read_day(file(rows).as_bytes()).expect("the rows are right")
    }

    /// What is wrong with the last of some rows.
    fn problem(rows: &[&str]) -> String {
        match read_day(file(rows).as_bytes()) {
            Err(ReadError::WrongRows(WrongRows { listed, count: 1 })) => {
                assert_eq!(listed[0].line, 1 + rows.len() as u64);
                listed[0].problem.clone()
            }
            other => panic!("one row is wrong: {other:?}"),
        }
    }

    /// Sku, price and opening stock of each product.
    fn stocks(day: &Day) -> Vec<(&str, i64, i64)> {
        day.products
            .iter()
            .map(|product| (product.sku.as_str(), product.price_minor, product.stock))
            .collect()
    }

    /// Key, sku, units and reason of each adjustment.
    fn changes(day: &Day) -> Vec<(&str, &str, i64, &str)> {
        let changes = day.adjustments.iter();
        changes.map(|change| (&*change.key, &*change.sku, change.delta, change.reason.as_str())).collect()
    }

    #[test]
    fn an_invoice_becomes_an_order() {
        let day = day(&["579256,20973,PENCILS,24,0.65,13349.0", "579256,C2,CARRIAGE,1,50.0,13349.0"]);
        assert_eq!(
            day.orders,
            [Order {
                key: "invoice-579256".to_owned(),
                invoice: "579256".to_owned(),
                user_id: 13_349,
                at: "2011-11-29T08:07:00".parse().expect("a time"),
                lines: vec![("20973".to_owned(), 24), ("C2".to_owned(), 1)],
                total_minor: 24 * 65 + 5_000,
                source_lines: 2,
            }]
        );
        assert_eq!(day.products[0].category, Category::Goods);
        assert_eq!(day.products[1].category, Category::Service);
        assert_eq!(stocks(&day), [("20973", 65, 24), ("C2", 5_000, 1)]);
    }

    #[test]
    fn lines_of_one_invoice_belong_together_wherever_they_are() {
        let day = day(&["1,22222,MUG,1,1.0,", "2,22222,MUG,1,1.0,", "1,33333,CUP,1,1.0,"]);
        let lines: Vec<_> =
            day.orders.iter().map(|order| (order.invoice.as_str(), order.lines.len())).collect();
        assert_eq!(lines, [("1", 2), ("2", 1)]);
    }

    #[test]
    fn each_price_that_sells_is_a_product_and_the_most_used_one_keeps_the_code() {
        let day = day(&[
            "1,22222,MUG,1,2.5,",
            "2,22222,MUG,2,0.85,",
            "3,22222,MUG,4,2.5,",
            "4,22222,MUG,8,3.0,",
            "5,33333,CUP,1,2.0,",
            "6,33333,CUP,1,1.0,",
        ]);
        assert_eq!(
            stocks(&day),
            [
                ("22222", 250, 5),
                ("22222@0.85", 85, 2),
                ("22222@3.00", 300, 8),
                ("33333", 100, 1),
                ("33333@2.00", 200, 1),
            ],
            "between equally frequent prices the lowest is the code's own"
        );
        assert_eq!(day.summary.extra_price_tiers, 3);
        assert_eq!(day.summary.revenue_minor, 5 * 250 + 2 * 85 + 8 * 300 + 100 + 200);
    }

    #[test]
    fn the_same_product_twice_on_an_invoice_is_one_line() {
        let day =
            day(&["1,22222,MUG,1,2.5,", "1,33333,CUP,1,1.0,", "1,22222,MUG,2,2.50,", "1,22222,MUG,4,2.0,"]);
        let lines =
            [("22222", 3), ("33333", 1), ("22222@2.00", 4)].map(|(sku, units)| (sku.to_owned(), units));
        assert_eq!(day.orders[0].lines, lines);
        assert_eq!((day.orders[0].source_lines, day.summary.merged_lines), (4, 1));
        assert_eq!(day.orders[0].total_minor, 3 * 250 + 100 + 4 * 200);
    }

    #[test]
    fn a_code_is_named_by_its_most_frequent_description() {
        let day = day(&[
            "1,22222,amazon,1,0.0,",
            "2,22222, MUG ,1,1.0,",
            "3,22222,MUG,1,1.0,",
            "4,33333,FIRST,1,1.0,",
            "5,33333,SECOND,1,1.0,",
            "6,44444,,1,1.0,",
        ]);
        let names: Vec<_> = day.products.iter().map(|product| product.name.as_str()).collect();
        assert_eq!(names, ["MUG", "MUG", "FIRST", "44444"]);
        assert_eq!(day.summary.lines_without_description, 1);
    }

    #[test]
    fn a_price_of_zero_is_a_price() {
        let day = day(&["1,22222,MUG,33,0.0,", "2,22222,MUG,1,1.0,", "3,22222,MUG,1,1.0,"]);
        assert_eq!(stocks(&day), [("22222", 100, 2), ("22222@0.00", 0, 33)]);
        assert_eq!(
            (day.orders[0].total_minor, day.summary.free_orders, day.summary.zero_price_lines),
            (0, 1, 1)
        );
    }

    #[test]
    fn a_negative_quantity_outside_a_return_is_a_write_off_from_the_opening_stock() {
        let day =
            day(&["579429,20711,lost in space,-98,0.0,", "2,20711,BAG,10,1.5,", "3,33333,smashed,-5,0.0,"]);
        assert_eq!(
            changes(&day),
            [("579429-20711-1", "20711", -98, "write-off"), ("3-33333-1", "33333", -5, "write-off")]
        );
        assert_eq!(stocks(&day), [("20711", 150, 108), ("33333", 0, 5)]);
        assert_eq!((day.summary.write_off_only_invoices, day.summary.units_written_off), (2, 103));
    }

    #[test]
    fn an_invoice_may_sell_and_write_off() {
        let day = day(&["1,22222,MUG,3,1.0,", "1,22222,MUG,-1,1.0,"]);
        assert_eq!(day.orders[0].lines, [("22222".to_owned(), 3)]);
        assert_eq!(changes(&day), [("1-22222-2", "22222", -1, "write-off")]);
        assert_eq!((day.summary.orders, day.summary.write_off_only_invoices), (1, 0));
    }

    #[test]
    fn what_comes_back_goes_to_the_price_it_was_sold_at_or_else_to_the_code() {
        let day = day(&[
            "1,22222,MUG,1,1.0,",
            "2,22222,MUG,1,1.0,",
            "3,22222,MUG,1,2.0,",
            "C4,22222,MUG,-6,2.0,16000.0",
            "C4,22222,MUG,-7,3.0,16000.0",
            "C5,33333,CUP,-8,1.5,16000.0",
        ]);
        assert_eq!(
            changes(&day),
            [
                ("C4-22222-1", "22222@2.00", 6, "return"),
                ("C4-22222-2", "22222", 7, "return"),
                ("C5-33333-1", "33333", 8, "return"),
            ]
        );
        assert_eq!(
            stocks(&day),
            [("22222", 100, 2), ("22222@2.00", 200, 1), ("33333", 150, 0)],
            "what was never sold opens with nothing, at the price of its return"
        );
        assert_eq!((day.summary.restocking_returns, day.summary.units_returned), (2, 21));
    }

    #[test]
    fn a_return_stands_for_its_code_before_a_write_off_does() {
        let day = day(&["1,22222,lost,-2,0.0,", "2,22222,lost,-1,0.0,", "C3,22222,MUG,-1,1.5,"]);
        assert_eq!(stocks(&day), [("22222", 150, 3)]);
    }

    #[test]
    fn a_returned_service_is_money_only() {
        let day =
            day(&["C1,AMAZONFEE,AMAZON FEE,-1,11586.5,", "C2,m,Manual,-2,1.0,", "C2,22222,MUG,-1,1.0,"]);
        assert_eq!(changes(&day), [("C2-22222-2", "22222", 1, "return")]);
        assert_eq!(stocks(&day), [("22222", 100, 0)]);
        let fee = MoneyOnlyReturn {
            invoice: "C1".to_owned(),
            code: "AMAZONFEE".to_owned(),
            quantity: 1,
            price_minor: 1_158_650,
            source_line: 2,
        };
        assert_eq!((day.money_only_returns.len(), &day.money_only_returns[0]), (2, &fee));
        let summary = day.summary;
        assert_eq!((summary.money_only_returns, summary.restocking_returns), (1, 1));
        assert_eq!((summary.codes_without_product, summary.service_lines), (2, 2));
    }

    #[test]
    fn nobody_is_the_guest() {
        let day = day(&["1,22222,MUG,1,1.0,", "2,22222,MUG,1,1.0,13349"]);
        assert_eq!((day.orders[0].user_id, day.orders[1].user_id), (GUEST, 13_349));
        assert_eq!(day.summary.lines_without_customer, 1);
    }

    #[test]
    fn keys_are_what_a_header_may_carry() {
        let code = "Ä ".repeat(19) + "ö1";
        let invoice = "9".repeat(20);
        let day = day(&[&format!("C{invoice},{code},MUG,-1,92233720368547758.07,")]);
        let key = &day.adjustments[0].key;
        assert!(key.len() <= 255 && key.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
    }

    #[test]
    fn each_wrong_row_is_explained() {
        for (row, expected) in [
            (
                "A563185,B,Adjust bad debt,1,11062.06,",
                r#"InvoiceNo "A563185" is not a number, or C and a number"#,
            ),
            (",22222,MUG,1,1.0,", r#"InvoiceNo "" is not a number, or C and a number"#),
            ("C,22222,MUG,-1,1.0,", r#"InvoiceNo "C" is not a number, or C and a number"#),
            ("1,,MUG,1,1.0,", "StockCode is empty"),
            ("1,22222@1.00,MUG,1,1.0,", r#"StockCode "22222@1.00" has an @"#),
            ("1,22222,MUG,0,1.0,", "Quantity 0 is 0 or beyond 100000"),
            ("1,22222,MUG,100001,1.0,", "Quantity 100001 is 0 or beyond 100000"),
            ("1,22222,MUG,-9223372036854775808,1.0,", "Quantity -9223372036854775808 is 0 or beyond 100000"),
            ("1,22222,MUG,1.5,1.0,", r#"Quantity "1.5" is not a whole number"#),
            ("C1,22222,MUG,1,1.0,", "Quantity 1 on the return C1 is not negative"),
            ("1,22222,MUG,1,-1.0,", r#"UnitPrice "-1.0" is negative"#),
            ("1,22222,MUG,1,0.001,", r#"UnitPrice "0.001" has more than 2 decimals"#),
            ("1,22222,MUG,1,,", r#"UnitPrice "" is not a decimal number such as 12.50"#),
            ("1,22222,MUG,2,92233720368547758.07,", "the amount is larger than any amount of money can be"),
            ("1,22222,MUG,1,1.0,13349.5", r#"CustomerID "13349.5" is not a number above 1"#),
            ("1,22222,MUG,1,1.0,1.0", r#"CustomerID "1.0" is not a number above 1"#),
        ] {
            assert_eq!(problem(&["9,33333,CUP,1,1.0,", row]), expected, "{row}");
        }
        let time = format!("{HEADER}\n1,22222,MUG,1,yesterday,1.0,,France\n");
        let refusal = read_day(time.as_bytes()).expect_err("the time is wrong").to_string();
        assert!(
            refusal.ends_with("InvoiceDate \"yesterday\" is not a time such as 2011-11-29 08:07:00."),
            "{refusal}"
        );
    }

    #[test]
    fn rows_that_are_only_wrong_together_are_explained() {
        assert_eq!(
            problem(&["1,22222,MUG,1,1.0,13349.0", "1,33333,CUP,1,1.0,"]),
            "CustomerID is not that of the lines before on invoice 1"
        );
        assert_eq!(
            problem(&["1,22222,MUG,100000,1.0,", "1,22222,MUG,1,1.0,"]),
            "invoice 1 has more than 100000 units of a product"
        );
        assert_eq!(
            problem(&["1,22222,MUG,1,92233720368547758.07,", "2,22222,MUG,1,0.01,"]),
            "the amount is larger than any amount of money can be"
        );
        let rows: Vec<_> = (0..=ORDER_LINES_MAX).map(|code| format!("1,{code:05},MUG,1,1.0,")).collect();
        let rows: Vec<_> = rows.iter().map(String::as_str).collect();
        assert_eq!(problem(&rows), "invoice 1 has more than 1000 products");
        assert_eq!(day(&rows[1..]).orders[0].lines.len(), ORDER_LINES_MAX);
        let rows: Vec<_> = (0..=10_000).map(|invoice| format!("{invoice},22222,MUG,100000,0.0,")).collect();
        let rows: Vec<_> = rows.iter().map(String::as_str).collect();
        assert_eq!(problem(&rows), r#"StockCode "22222" has more than 1000000000 units"#);
    }

    #[test]
    fn rows_cannot_hide_in_a_column_that_nobody_reads() {
        let file = format!(
            "{HEADER}\n1,22222,MUG,1,2011-11-29 08:07:00,1.0,,\"France\n2,22222,MUG,1,2011-11-29 08:07:00,1.0,,\"\n"
        );
        let refusal = read_day(file.as_bytes()).expect_err("a row is hidden").to_string();
        assert!(refusal.contains("Line 2: Country"), "{refusal}");
    }

    #[test]
    fn a_line_that_is_not_accounted_for_is_found() {
        let summary = day(&["1,22222,MUG,1,1.0,"]).summary;
        assert!(summary.check());
        assert!(!Summary { lines_read: 2, ..summary }.check());
        assert!(!Summary { invoices_read: 2, ..summary }.check());
        assert!(!Summary { units_at_opening: 2, ..summary }.check());
        assert!(!Summary { products: 2, ..summary }.check());
    }

    #[derive(Clone, Debug)]
    struct AnyLine {
        invoice: u8,
        code: &'static str,
        description: &'static str,
        quantity: i64,
        price_minor: i64,
    }

    impl AnyLine {
        /// Every third invoice is a return, every second one a guest's.
        fn is_return(&self) -> bool {
            self.invoice.is_multiple_of(3)
        }

        fn row(&self) -> String {
            let prefix = if self.is_return() { "C" } else { "" };
            let quantity = if self.is_return() { -self.quantity.abs() } else { self.quantity };
            let customer = if self.invoice.is_multiple_of(2) { "" } else { "13349.0" };
            let price = format!("{}.{:02}", self.price_minor / 100, self.price_minor % 100);
            format!(
                "{prefix}{},{},{},{quantity},{price},{customer}",
                self.invoice, self.code, self.description
            )
        }
    }

    fn any_line() -> impl Strategy<Value = AnyLine> {
        let code = prop::sample::select(vec!["22222", "22222b", "33333", "POST", "m", "BANK CHARGES"]);
        let description = prop::sample::select(vec!["", "MUG", "found", "???"]);
        let quantity = prop_oneof![1_i64..50, -50_i64..=-1];
        let price = prop::sample::select(vec![0_i64, 5, 85, 250, 156_300]);
        (0_u8..12, code, description, quantity, price).prop_map(
            |(invoice, code, description, quantity, price_minor)| AnyLine {
                invoice,
                code,
                description,
                quantity,
                price_minor,
            },
        )
    }

    proptest! {
        /// Reads any lines and replays the day: nothing is lost, oversold or sold at another price.
        #[test]
        fn every_line_is_accounted_for(lines in prop::collection::vec(any_line(), 1..60)) {
            let rows: Vec<_> = lines.iter().map(AnyLine::row).collect();
            let day = day(&rows.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert!(day.summary.check());
            prop_assert_eq!(day.summary.lines_read, lines.len());

            let sales = lines.iter().filter(|line| !line.is_return() && line.quantity > 0);
            let revenue: i64 = sales.map(|line| line.quantity * line.price_minor).sum();
            let totals: i64 = day.orders.iter().map(|order| order.total_minor).sum();
            prop_assert_eq!((day.summary.revenue_minor, totals), (revenue, revenue));

            let prices: HashMap<_, _> = day.products.iter().map(|p| (p.sku.as_str(), p.price_minor)).collect();
            let mut stock: HashMap<_, _> = day.products.iter().map(|p| (p.sku.as_str(), p.stock)).collect();
            prop_assert_eq!(prices.len(), day.products.len(), "each sku is there once");
            for order in &day.orders {
                let skus: HashSet<_> = order.lines.iter().map(|(sku, _)| sku).collect();
                prop_assert_eq!(skus.len(), order.lines.len(), "each sku is on an order once");
                let total: i64 = order.lines.iter().map(|(sku, units)| prices[sku.as_str()] * units).sum();
                prop_assert_eq!(total, order.total_minor);
                for (sku, units) in &order.lines {
                    *stock.get_mut(sku.as_str()).expect("a product") -= units;
                }
            }
            for gone in day.adjustments.iter().filter(|adjustment| adjustment.delta < 0) {
                *stock.get_mut(gone.sku.as_str()).expect("a product") += gone.delta;
            }
            prop_assert!(stock.values().all(|units| *units == 0), "what goes was there, and no more");

            let keys: HashSet<_> = day.adjustments.iter().map(|adjustment| &adjustment.key).collect();
            prop_assert_eq!(keys.len(), day.adjustments.len(), "each key is there once");
        }
    }
}
