//! A catalogue of products: `sku,name,description,category,price,currency,stock`.

use std::collections::HashMap;
use std::io::Read;

use serde::Serialize;

use super::{
    CATEGORY_MAX, Columns, DESCRIPTION_MAX, NAME_MAX, OPENING_STOCK_MAX, ReadError, Row, SKU_MAX, quoted,
    read_rows,
};
use crate::domain::Currency;

const COLUMNS: Columns = Columns {
    required: &["sku", "name", "price", "currency", "stock"],
    optional: &["description", "category"],
};

/// A product of a catalogue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CatalogueRow {
    /// Where the row begins; the names of the columns are line 1.
    pub line: u64,
    /// 1 to 64 characters, no other row's.
    pub sku: String,
    /// 1 to 200 characters.
    pub name: String,
    /// Up to 4,000 characters.
    pub description: String,
    /// Up to 64 characters; `None` when it is absent or empty.
    pub category: Option<String>,
    /// In minor units of `currency`, not negative.
    pub price_minor: i64,
    /// An ISO 4217 code: three upper-case letters.
    pub currency: String,
    /// Opening stock in units, up to a thousand million.
    pub stock: i64,
}

/// Reads a catalogue.
///
/// # Errors
/// The file is not a catalogue, or has rows that are wrong: all of them, or nothing, is taken.
pub fn read_catalogue(input: impl Read) -> Result<Vec<CatalogueRow>, ReadError> {
    let mut products = Vec::new();
    let mut lines_by_sku = HashMap::new();
    read_rows(input, &COLUMNS, |row| {
        let product = product(row)?;
        if let Some(first) = lines_by_sku.get(&product.sku) {
            return Err(format!("sku {} is on line {first} already", quoted(&product.sku)));
        }
        lines_by_sku.insert(product.sku.clone(), row.line);
        products.push(product);
        Ok(())
    })?;
    Ok(products)
}

fn product(row: &Row<'_>) -> Result<CatalogueRow, String> {
    let sku = row.one_line("sku", 1, SKU_MAX)?;
    let name = row.one_line("name", 1, NAME_MAX)?;
    let description = row.text("description", 0, DESCRIPTION_MAX)?;
    let category = row.one_line("category", 0, CATEGORY_MAX)?;
    let currency: Currency = row.get("currency").parse().map_err(|_| {
        format!("currency {} is not an ISO 4217 code such as EUR", quoted(row.get("currency")))
    })?;
    let price_minor = row.amount("price", currency.decimals())?;
    let stock = row.integer("stock")?;
    if !(0..=OPENING_STOCK_MAX).contains(&stock) {
        return Err(format!("stock {stock} is not between 0 and {OPENING_STOCK_MAX}"));
    }
    Ok(CatalogueRow {
        line: row.line,
        sku: sku.to_owned(),
        name: name.to_owned(),
        description: description.to_owned(),
        category: (!category.is_empty()).then(|| category.to_owned()),
        price_minor,
        currency: currency.to_string(),
        stock,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "sku,name,description,category,price,currency,stock";

    fn read(rows: &str) -> Result<Vec<CatalogueRow>, ReadError> {
        read_catalogue(format!("{HEADER}\n{rows}").as_bytes())
    }

    #[test]
    fn a_row_becomes_a_product() {
        let rows = read("A-1,\"Mug, large\",\"Two\r\nlines\",kitchen,12.50,EUR,7\nA-2,Tea,,,500,JPY,0\n");
        let mug = CatalogueRow {
            line: 2,
            sku: "A-1".to_owned(),
            name: "Mug, large".to_owned(),
            description: "Two\nlines".to_owned(),
            category: Some("kitchen".to_owned()),
            price_minor: 1_250,
            currency: "EUR".to_owned(),
            stock: 7,
        };
        let tea = CatalogueRow {
            line: 4,
            sku: "A-2".to_owned(),
            name: "Tea".to_owned(),
            description: String::new(),
            category: None,
            price_minor: 500,
            currency: "JPY".to_owned(),
            stock: 0,
        };
        assert_eq!(rows.expect("the rows are right"), [mug, tea]);
    }

    #[test]
    fn columns_come_in_any_order_and_two_may_be_absent() {
        let rows = read_catalogue("stock,currency,price,name,sku\n3,KWD,1.234,Dates,D\n".as_bytes());
        let [dates] = &rows.expect("the rows are right")[..] else { panic!("one row") };
        assert_eq!((dates.sku.as_str(), dates.price_minor, dates.stock), ("D", 1_234, 3));
        assert_eq!((dates.description.as_str(), &dates.category), ("", &None));
    }

    #[test]
    fn values_at_the_limits_are_taken() {
        let (sku, name) = ("é".repeat(64), "n".repeat(200));
        let (description, category) = ("d".repeat(4_000), "c".repeat(64));
        assert!(read(&format!("{sku},{name},{description},{category},0,EUR,1000000000\n")).is_ok());
    }

    #[test]
    fn each_wrong_value_is_explained() {
        let long = |length| "x".repeat(length);
        for (row, problem) in [
            (",n,,,1,EUR,1".to_owned(), "sku is empty"),
            (format!("{},n,,,1,EUR,1", long(65)), "sku has 65 characters, 64 is the most"),
            ("a\tb,n,,,1,EUR,1".to_owned(), r#"sku "a\tb" has a control character"#),
            ("\"a\nb\",n,,,1,EUR,1".to_owned(), r#"sku "a\nb" has a line break"#),
            ("s,  ,,,1,EUR,1".to_owned(), "name is empty"),
            (format!("s,{},,,1,EUR,1", long(201)), "name has 201 characters, 200 is the most"),
            (format!("s,n,{},,1,EUR,1", long(4_001)), "description has 4001 characters, 4000 is the most"),
            (format!("s,n,,{},1,EUR,1", long(65)), "category has 65 characters, 64 is the most"),
            ("s,n,,,12.505,EUR,1".to_owned(), r#"price "12.505" has more than 2 decimals"#),
            ("s,n,,,12.5,JPY,1".to_owned(), r#"price "12.5" has more than 0 decimals"#),
            ("s,n,,,-1,EUR,1".to_owned(), r#"price "-1" is negative"#),
            ("s,n,,,,EUR,1".to_owned(), r#"price "" is not a decimal number such as 12.50"#),
            ("s,n,,,1,eur,1".to_owned(), r#"currency "eur" is not an ISO 4217 code such as EUR"#),
            ("s,n,,,1,EUR,-1".to_owned(), "stock -1 is not between 0 and 1000000000"),
            ("s,n,,,1,EUR,1000000001".to_owned(), "stock 1000000001 is not between 0 and 1000000000"),
            ("s,n,,,1,EUR,1.5".to_owned(), r#"stock "1.5" is not a whole number"#),
        ] {
            let refusal = read(&row).expect_err("the row is wrong").to_string();
            assert_eq!(
                refusal.split_once('\n').map(|(_, listed)| listed),
                Some(format!("Line 2: {problem}.").as_str()),
                "{row}"
            );
        }
    }

    #[test]
    fn a_sku_comes_once() {
        let refusal =
            read("A,x,,,1,EUR,1\nB,x,,,1,EUR,1\nA,y,,,2,EUR,2\n").expect_err("A comes twice").to_string();
        assert!(refusal.ends_with("\nLine 4: sku \"A\" is on line 2 already."), "{refusal}");
    }

    #[test]
    fn one_wrong_row_and_nothing_is_taken() {
        assert!(matches!(
            read("A,x,,,1,EUR,1\nB,x,,,1,EUR,many\n"),
            Err(ReadError::WrongRows(wrong)) if wrong.count == 1
        ));
    }
}
