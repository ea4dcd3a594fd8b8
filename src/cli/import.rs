//! `holdfast import`: fills a shop with products from a file, all of them or none.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::app::{CONNECTIONS_OF_ONE_COMMAND, Stores};
use crate::csv_input::catalogue::read_catalogue;
use crate::csv_input::online_retail::{self, read_day};
use crate::domain::{Currency, Money, NewProduct};

use super::{Common, output};

#[derive(Args)]
#[command(
    after_help = "A catalogue has the columns sku,name,description,category,price,currency,stock, with prices in decimal.
Of invoices (online-retail) each stock code at each price becomes a product with as many units as the
file sells; docs/online-retail.md says what becomes of every untidy row.
Stop the shop first: one process at a time uses the data directory. Where several servers share a ledger,
they may go on.

Examples:
  holdfast import catalogue.csv
  holdfast import --format online-retail 2011-12-08.csv"
)]
pub struct ImportArgs {
    /// The file to read
    file: PathBuf,
    /// What the file is
    #[arg(long, value_enum, default_value = "catalogue")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Catalogue,
    OnlineRetail,
}

pub async fn run(args: ImportArgs, common: Common) -> anyhow::Result<ExitCode> {
    let config = common.load(None)?;
    // The file is read whole before the shop is touched.
    let (products, summary) = match args.format {
        Format::Catalogue => (catalogue(&args.file)?, None),
        Format::OnlineRetail => {
            let day = open(&args.file, read_day)?;
            (day.products.into_iter().map(sold_by_the_day).collect(), Some(day.summary))
        }
    };
    let count = products.len();
    let units: i64 = products.iter().map(|product| product.stock).sum();
    let stores = Stores::open(&config, CONNECTIONS_OF_ONE_COMMAND).await?;
    let created = stores.ledger.create_products(products, stores.clock.now()).await;
    created.with_context(|| format!("{}: nothing was imported", args.file.display()))?;
    let value = json!({ "products": count, "units": units, "summary": summary });
    output::print(common.json, &value, || {
        let head = format!("{count} products with {units} units are in {}", config.data_dir.display());
        summary.as_ref().map_or(head.clone(), |summary| format!("{head}\n\n{summary}"))
    });
    Ok(ExitCode::SUCCESS)
}

/// Opens a file and reads it whole.
pub fn open<T, E>(path: &Path, read: impl FnOnce(File) -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let file = File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    read(file).with_context(|| path.display().to_string())
}

fn catalogue(path: &Path) -> anyhow::Result<Vec<NewProduct>> {
    let rows = open(path, read_catalogue)?;
    let product = |row: crate::csv_input::catalogue::CatalogueRow| {
        let currency: Currency =
            row.currency.parse().with_context(|| format!("line {}: currency", row.line))?;
        Ok(NewProduct {
            sku: row.sku,
            name: row.name,
            description: row.description,
            category: row.category.unwrap_or_default(),
            price: Money::new(row.price_minor, currency),
            stock: row.stock,
        })
    };
    rows.into_iter().map(product).collect()
}

fn sold_by_the_day(product: online_retail::Product) -> NewProduct {
    NewProduct {
        sku: product.sku,
        name: product.name,
        description: String::new(),
        category: product.category.as_str().to_owned(),
        price: Money::new(product.price_minor, online_retail::CURRENCY),
        stock: product.stock,
    }
}
