//! `cargo xtask startup`: how long a shop with a million past orders takes to open, to sell and to be
//! audited.
//!
//! The shop itself makes and sells a hundred orders. They are then copied ten thousand times, with ids
//! keys and customers of their own, over the last 24 hours, whose keys a start has to remember. An audit
//! of the result has to find nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

/// Orders that the shop itself makes, each of another product and customer.
const MODELS: u64 = 100;

/// Orders in all.
const ORDERS: u64 = 1_000_000;

/// Customers who made them.
const CUSTOMERS: u64 = 1_000_000;

/// Orders at the end that the index by customer may lack after a crash, as `customer_index.rs` has it.
const NOT_INDEXED_MAX: u64 = 65_536 + 1_024;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Runs the measurement with the release binary of this workspace.
pub fn run(root: &Path) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let scratch = Scratch(target.join(format!("startup-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0)?;
    let shop = Shop { binary: target.join("release/holdfast"), data: scratch.0.clone() };

    let built = now();
    shop.sell_models()?;
    let models = copy_orders(&scratch.0)?;
    println!(
        "{ORDERS} orders, {} MiB, made in {:.1} s",
        size_of(&scratch.0)? >> 20,
        built.elapsed().as_secs_f64()
    );

    for what in ["start", "another start", "start after a crash at full speed"] {
        if what.contains("crash") {
            forget_latest(&scratch.0)?;
        }
        let start = now();
        let mut server = shop.start()?;
        let open = start.elapsed();
        let answer = server.buy(MODELS + 1, &what.replace(' ', "-"), models)?;
        let sold = start.elapsed();
        if !answer.starts_with("HTTP/1.1 201") {
            return Err(format!("the first sale was answered with {answer}").into());
        }
        println!(
            "{what}: open after {:.2} s, first sale after {:.2} s",
            open.as_secs_f64(),
            sold.as_secs_f64()
        );
        server.stop()?;
    }
    let start = now();
    let report = shop.run(&["audit", "--json"])?;
    println!("audit: {:.1} s, {}", start.elapsed().as_secs_f64(), report.trim());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this measures real processes, nothing is simulated")]
fn now() -> Instant {
    Instant::now()
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

fn size_of(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

struct Shop {
    binary: PathBuf,
    data: PathBuf,
}

impl Shop {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).stderr(Stdio::inherit()).output()?;
        let printed = String::from_utf8(output.stdout)?;
        if output.status.success() { Ok(printed) } else { Err(format!("{arguments:?}: {printed}").into()) }
    }

    /// Starts the shop and waits for its greeting.
    fn start(&self) -> Result<Server<'_>> {
        let arguments = ["serve", "--json", "--no-sample", "--listen", "127.0.0.1:0"];
        let mut process = self.command(&arguments).stdout(Stdio::piped()).spawn()?;
        let mut greeting = String::new();
        BufReader::new(process.stdout.take().ok_or("no pipe")?).read_line(&mut greeting)?;
        let address = greeting.split("http://").nth(1).and_then(|rest| rest.split('"').next());
        let address = address.ok_or_else(|| format!("no greeting: {greeting:?}"))?.to_owned();
        Ok(Server { shop: self, process, address })
    }

    /// Makes the shop, and the orders that are copied.
    fn sell_models(&self) -> Result<()> {
        let mut catalogue = "sku,name,price,currency,stock\n".to_owned();
        for n in 1..=MODELS {
            catalogue.push_str(&format!("model-{n},Model {n},10.00,EUR,100000000\n"));
        }
        let file = self.data.join("catalogue.csv");
        std::fs::write(&file, catalogue)?;
        self.run(&["import", &file.display().to_string()])?;
        let mut server = self.start()?;
        for n in 1..=MODELS {
            let answer = server.buy(n, "model", n)?;
            if !answer.starts_with("HTTP/1.1 201") {
                return Err(format!("a model was answered with {answer}").into());
            }
        }
        server.stop()?;
        // The index by customer is written behind, and completed by the next start.
        self.start()?.stop()
    }
}

/// Takes from the index by customer what a crash in the middle of a sale could have cost it.
fn forget_latest(data: &Path) -> Result<()> {
    Connection::open(data.join("ledger.sqlite3"))?.execute_batch(&format!(
        "UPDATE customer_index_progress SET complete_until =
             (SELECT id FROM orders ORDER BY id DESC LIMIT 1 OFFSET {NOT_INDEXED_MAX});
         DELETE FROM orders_by_customer WHERE order_id > (SELECT complete_until FROM customer_index_progress);"
    ))?;
    Ok(())
}

/// A running shop. Killed when dropped.
struct Server<'s> {
    shop: &'s Shop,
    process: Child,
    address: String,
}

impl Server<'_> {
    /// Buys one product; returns the answer as it came.
    fn buy(&mut self, user: u64, key: &str, product: u64) -> Result<String> {
        let token = self.shop.run(&["token", "--role", "customer", "--user", &user.to_string()])?;
        let body = format!(r#"{{"lines":[{{"product_id":{product},"quantity":1}}]}}"#);
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "POST /api/v1/orders HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            token.trim(),
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.process.id().to_string()).status()?;
        let status = self.process.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the shop ended with {status}").into()) }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A table with rows of orders, the column that says of which, and the column that numbers its rows.
struct Table {
    name: &'static str,
    order: &'static str,
    number: Option<&'static str>,
}

const LEDGER: [Table; 5] = [
    Table { name: "orders", order: "id", number: None },
    Table { name: "orders_by_customer", order: "order_id", number: None },
    Table { name: "order_lines", order: "order_id", number: None },
    Table { name: "inventory_logs", order: "order_id", number: Some("id") },
    Table { name: "outbox", order: "saga_id", number: Some("position") },
];
const GATEWAY: [Table; 1] = [Table { name: "charges", order: "order_id", number: None }];

/// Copies the models until there are enough orders. Returns how many models there are.
fn copy_orders(data: &Path) -> Result<u64> {
    let open = |name| -> Result<Connection> {
        let store = Connection::open(data.join(name))?;
        store.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")?;
        Ok(store)
    };
    let (mut ledger, mut gateway) = (open("ledger.sqlite3")?, open("gateway.sqlite3")?);
    let models: Vec<[u8; 16]> = ledger
        .prepare("SELECT id FROM orders ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let count = u64::try_from(models.len())?;
    #[expect(clippy::disallowed_methods, reason = "the shop that is measured goes by this clock too")]
    let end = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis())?;
    // An hour before now, so that the models stay the latest.
    let (end, day) = (end - 3_600_000, 22 * 3_600_000);
    let copies: Vec<Copy> = (0..ORDERS - count)
        .map(|n| {
            let at = end - day + n * day / ORDERS;
            // A UUID of version 7: milliseconds, then anything. Source: RFC 9562, section 5.7.
            let id = u128::from(at) << 80 | 7 << 76 | 2 << 62 | u128::from(n);
            let model = usize::try_from(n % count).unwrap_or_default();
            let key = digest(n);
            let customer = 1 + u64::from_be_bytes(*key.first_chunk().expect("16 bytes")) % CUSTOMERS;
            // The customer of a model is its number.
            Copy { model: models[model], model_customer: model + 1, id: id.to_be_bytes(), at, key, customer }
        })
        .collect();
    for (store, tables) in [(&mut ledger, &LEDGER[..]), (&mut gateway, &GATEWAY[..])] {
        let transaction = store.transaction()?;
        for table in tables {
            copy_table(&transaction, table, &copies)?;
        }
        transaction.commit()?;
    }
    // What the copies have sold was on the shelf.
    ledger.execute_batch(
        "UPDATE products SET stock = (SELECT sum(change_amount) FROM inventory_logs WHERE product_id = products.id)",
    )?;
    Ok(count)
}

struct Copy {
    model: [u8; 16],
    id: [u8; 16],
    model_customer: usize,
    at: u64,
    key: [u8; 16],
    customer: u64,
}

fn copy_table(connection: &Connection, table: &Table, copies: &[Copy]) -> Result<()> {
    let mut select =
        connection.prepare(&format!("SELECT * FROM {} WHERE {} = ?", table.name, table.order))?;
    let columns: Vec<String> = select.column_names().map(str::to_owned).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let mut insert = connection.prepare(&format!("INSERT INTO {} VALUES ({places})", table.name))?;
    let mut models = HashMap::new();
    for copy in copies {
        let rows = match models.entry(copy.model) {
            Entry::Occupied(rows) => rows.into_mut(),
            Entry::Vacant(place) => {
                let rows = select.query_map([copy.model], |row| {
                    (0..columns.len()).map(|column| row.get(column)).collect::<rusqlite::Result<Vec<Value>>>()
                })?;
                place.insert(rows.collect::<rusqlite::Result<Vec<_>>>()?)
            }
        };
        for model in rows {
            let values = columns.iter().zip(model).map(|(column, value)| match column.as_str() {
                name if name == table.order => Value::Blob(copy.id.to_vec()),
                name if Some(name) == table.number => Value::Null,
                "key_digest" => Value::Blob(copy.key.to_vec()),
                "user_id" => Value::Integer(copy.customer.cast_signed()),
                "created_at" | "updated_at" => Value::Integer(copy.at.cast_signed()),
                _ => match value {
                    Value::Text(text) => Value::Text(renamed(text, copy)),
                    other => other.clone(),
                },
            });
            insert.execute(params_from_iter(values))?;
        }
    }
    Ok(())
}

/// The text of a model with the customer and the order's id, in both its forms, replaced.
fn renamed(text: &str, copy: &Copy) -> String {
    let simple = |id: [u8; 16]| format!("{:032x}", u128::from_be_bytes(id));
    let dashed = |id: &str| [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-");
    let (old, new) = (simple(copy.model), simple(copy.id));
    let customer = |id: u64| format!(r#""user_id":{id},"#);
    text.replace(&old, &new)
        .replace(&dashed(&old), &dashed(&new))
        .replace(&customer(copy.model_customer as u64), &customer(copy.customer))
}

/// Sixteen bytes as random as those of a hash. Source: Sebastiano Vigna, splitmix64.
fn digest(n: u64) -> [u8; 16] {
    let mix = |n: u64| {
        let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    };
    (u128::from(mix(2 * n + 1)) << 64 | u128::from(mix(2 * n + 2))).to_be_bytes()
}
