//! What is wrong with the machine, the settings or the stores, and what to do about it.
//!
//! Stores are asked all at once and within [`PATIENCE`]. What adapters find is judged by them; see
//! [`crate::ports::examination`].

mod machine;

use std::time::Duration;

use crate::app::{self, BuildError, CONNECTIONS_OF_ONE_COMMAND, Stores};
use crate::config::Config;
use crate::data_dir::DataDirError;
use crate::domain::ProductId;
use crate::ports::clock::SystemClock;
use crate::ports::examination::{Finding, Verdict};

/// How long stores may take to say how they are set.
const PATIENCE: Duration = Duration::from_millis(2_500);

const CONFIGURATION: &str = "configuration";
const STORES: &str = "stores";

/// Looks at everything. Opens the stores as a server would.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let (mut findings, may_open) = match app::examine(config, &SystemClock, PATIENCE).await {
        Ok(found) => {
            let refused = found.iter().any(|finding| finding.refuses_start);
            let all_known = Finding::ok(CONFIGURATION, "every setting is known and in bounds");
            ([vec![all_known], found].concat(), !refused)
        }
        Err(error) => (vec![wrong_setting(&error)], false),
    };
    let mut running = false;
    if may_open {
        let (found, in_use) = stores(config).await;
        findings.extend(found);
        running = in_use;
    } else {
        findings.push(Finding::fail(STORES, "they were not opened", "mend what is wrong above first"));
    }
    findings.push(machine::address(config, running).await);
    findings.push(machine::free_space(config));
    findings.push(machine::open_files(config));
    findings
}

/// A setting that names no store, or has a value that there is not.
pub fn wrong_setting(error: &impl ToString) -> Finding {
    Finding::fail(CONFIGURATION, error.to_string(), "config.default.toml explains every setting")
}

/// What a server must not start with: settings that are wrong for certain and lose orders. What else has to be done is
/// logged. Stores that do not answer are none of these: whoever opens them waits for them.
pub async fn refusals(config: &Config) -> Vec<Finding> {
    // A setting that cannot be read is told by whoever opens the stores.
    let found = app::examine(config, &SystemClock, PATIENCE).await.unwrap_or_default();
    let (refused, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|finding| finding.refuses_start);
    for Finding { check, detail, advice, .. } in
        others.iter().filter(|finding| finding.verdict == Verdict::Fail)
    {
        tracing::warn!(check, detail, advice, "something has to be done");
    }
    refused
}

/// Opens the stores and asks each for a sign of life; and says whether a running shop has them already.
async fn stores(config: &Config) -> (Vec<Finding>, bool) {
    let stores = match Stores::open(config, CONNECTIONS_OF_ONE_COMMAND).await {
        Ok(stores) => stores,
        Err(BuildError::DataDir(DataDirError::InUse { .. })) => {
            let in_use = Finding::ok(STORES, "in use by a running shop, which checked them at its start");
            return ([vec![in_use], app::examine_files(config)].concat(), true);
        }
        Err(error) => {
            let advice = "nothing is sold until they open";
            return (vec![Finding::fail(STORES, error.to_string(), advice)], false);
        }
    };
    let mut findings = vec![match stores.ledger.ping().await {
        Ok(()) => Finding::ok(STORES, "they open, are at this version and commit to the disk"),
        Err(error) => {
            Finding::fail(STORES, format!("the ledger does not commit: {error}"), "look at its disk")
        }
    }];
    findings.extend(app::examine_files(config));
    if let Some(shared) = stores.shared() {
        findings.push(match shared.gate.levels(&[ProductId(1)]).await {
            Ok(_) => Finding::ok("gate", "it answers"),
            Err(error) => Finding::fail("gate", error.to_string(), "look at gate.url and gate.password"),
        });
    }
    findings.push(match stores.payments.ping().await {
        Ok(()) => Finding::ok("payments", "the gateway answers"),
        Err(error) => {
            Finding::fail("payments", error.to_string(), "look at payments.url and payments.secret")
        }
    });
    (findings, false)
}
