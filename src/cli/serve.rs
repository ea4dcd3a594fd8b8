//! `holdfast serve`: the shop.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::app::App;
use crate::config::{Config, Role};
use crate::domain::{Currency, Money, NewProduct};
use crate::http::api::register::{Credentials, open_account};
use crate::http::{router, server, web};
use crate::ports::ledger::{self, ProductError, ProductQuery};
use crate::worker::watch_process;
use crate::{doctor, shutdown, telemetry};

use super::{Common, output, processors, runtime};

#[derive(Args, Default)]
#[command(
    after_help = "HOLDFAST_ADMIN_EMAIL and HOLDFAST_ADMIN_PASSWORD name the first administrator; left out, a password is
made and shown once.

Examples:
  holdfast serve --data-dir /var/lib/holdfast --listen 0.0.0.0:80
  holdfast serve --config shop.toml --print-config
  holdfast serve --config shop.toml --roles saga,relay,notification"
)]
pub struct ServeArgs {
    /// Address to listen on, such as 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// What this server does, of http, saga, relay, inventory, notification, analytics, coordination and webhooks
    #[arg(long, value_name = "ROLE,ROLE", value_delimiter = ',')]
    roles: Vec<Role>,
    /// Show the settings that would be used, and end
    #[arg(long)]
    print_config: bool,
    /// Leave an empty store empty instead of filling in a sample catalogue
    #[arg(long)]
    no_sample: bool,
}

/// What orders get at least when requests have used up the time for stopping.
const LAST_ORDERS: Duration = Duration::from_millis(500);

/// The first administrator's address unless the environment names one.
const ADMIN_EMAIL: &str = "admin@localhost";

pub fn run(args: ServeArgs, common: Common) -> anyhow::Result<ExitCode> {
    let config = common.load_with_roles(args.listen, args.roles)?;
    if args.print_config {
        output::print(false, &(), || config.shown());
        return Ok(ExitCode::SUCCESS);
    }
    // What is sold goes from step to step, and at each would wait its turn behind all the requests that have come
    // meanwhile: a crowd would keep the shop from selling. Half of the processors are enough for the steps, because
    // most of a sale is reading what is asked for, and writing rows, which the ledger has threads of its own for.
    let shop = runtime("shop", processors().div_ceil(2))?;
    let http = runtime("http", processors())?;
    shop.block_on(open(config, args.no_sample, common.json, http.handle()))
}

/// Opens the shop, and answers requests on the threads of `http` until it is told to stop.
async fn open(config: Config, no_sample: bool, json: bool, http: &Handle) -> anyhow::Result<ExitCode> {
    let _logs = telemetry::start(&config).map_err(|why| anyhow!(why))?;
    // Before any work: a port that is taken changes nothing.
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let stop = shutdown::requested().context("cannot listen for signals")?;

    let refused = doctor::refusals(&config).await;
    if !refused.is_empty() {
        let lines = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        bail!("{lines} (holdfast doctor)");
    }
    let limits = config.server.clone();
    let shop = Arc::new(App::build(config).await?);
    if !no_sample {
        add_sample(&shop).await?;
    }
    let first_admin = first_admin(&shop).await?;
    greet(&shop, address, first_admin, json);
    let routes = if shop.config.roles.contains(&Role::Http) {
        drop(tokio::task::spawn_blocking(web::prepare));
        router::router(Arc::clone(&shop))
    } else {
        router::operation_router(Arc::clone(&shop))
    };
    // Requests and orders share the time that there is for stopping.
    let patience = Duration::from_millis(limits.stop_within_ms);
    let stopping = Arc::clone(&shop);
    let (told, until) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        stopping.announce_stop();
        let _ = told.send(Instant::now() + patience);
    };
    http.spawn(watch_process::runtime("http"));
    http.spawn(async move { server::serve(listener, routes, &limits, stop).await }).await?;
    let until = until.await.unwrap_or_else(|_| Instant::now());
    shop.close(until.saturating_duration_since(Instant::now()).max(LAST_ORDERS)).await;
    Ok(ExitCode::SUCCESS)
}

struct FirstAdmin {
    email: String,
    /// Only when it was made here.
    password: Option<String>,
}

/// Opens the first administrator's account when there is none.
async fn first_admin(shop: &App) -> anyhow::Result<Option<FirstAdmin>> {
    if shop.stores.ledger.has_account_with(ledger::Role::Admin).await? {
        return Ok(None);
    }
    let email = std::env::var("HOLDFAST_ADMIN_EMAIL").unwrap_or_else(|_| ADMIN_EMAIL.to_owned());
    let given = std::env::var("HOLDFAST_ADMIN_PASSWORD").ok();
    let made = given.is_none().then(|| hex::encode(&shop.stores.clock.secret()[..10]));
    let password = given.or_else(|| made.clone()).unwrap_or_default();
    let credentials = Credentials { email: email.clone(), password: SecretString::from(password) };
    let opened = open_account(shop, credentials, ledger::Role::Admin).await;
    // Another server may have been faster; then that one has shown the password.
    if opened.is_err() && shop.stores.ledger.has_account_with(ledger::Role::Admin).await? {
        return Ok(None);
    }
    opened.map_err(|problem| {
        anyhow!("the administrator of HOLDFAST_ADMIN_EMAIL and HOLDFAST_ADMIN_PASSWORD: {}", problem.detail())
    })?;
    Ok(Some(FirstAdmin { email, password: made }))
}

fn greet(shop: &App, address: SocketAddr, admin: Option<FirstAdmin>, json: bool) {
    let data = shop.config.data_dir.display().to_string();
    let (email, password) = admin.map_or((None, None), |admin| (Some(admin.email), admin.password));
    let value = json!({
        "shop": format!("http://{address}"), "data_dir": data, "admin_email": email, "admin_password": password,
    });
    output::print(json, &value, || {
        let mut text = format!(
            "The shop is open at http://{address}\n  API to try  http://{address}/docs/\n  data        {data}\n"
        );
        if let Some(email) = email {
            let password = password.map_or("as given".to_owned(), |made| format!("{made}  (shown only now)"));
            text.push_str(&format!("  administrator {email}, password {password}\n"));
        }
        text
    });
}

/// Something to buy in a new shop.
async fn add_sample(shop: &App) -> anyhow::Result<()> {
    let any = ProductQuery { limit: 1, ..ProductQuery::default() };
    if !shop.stores.ledger.products(&any).await?.is_empty() {
        return Ok(());
    }
    let product = |sku: &str, name: &str, description: &str, category: &str, minor, stock| NewProduct {
        sku: sku.into(),
        name: name.into(),
        description: description.into(),
        category: category.into(),
        price: Money::new(minor, Currency::EUR),
        stock,
    };
    let sample = vec![
        product("TICKET-STAND", "Standing ticket", "One night, 800 places, no seat.", "tickets", 4_900, 800),
        product("TICKET-FRONT", "Front row ticket", "One night, 40 seats.", "tickets", 12_900, 40),
        product("SHOE-RED-42", "Runner, red, 42", "A limited edition of 300 pairs.", "shoes", 14_000, 300),
        product("VINYL-001", "First pressing", "Numbered, 100 copies.", "music", 3_500, 100),
        product("POSTER-FREE", "Poster", "Free while they last, 50 of them.", "music", 0, 50),
        product("LAMP-LAST", "The last lamp", "There is only one.", "home", 8_900, 1),
    ];
    match shop.stock_room.create_products(sample).await {
        // Another server was faster.
        Ok(_) | Err(ProductError::SkuTaken(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
