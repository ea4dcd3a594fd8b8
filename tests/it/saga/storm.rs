//! Dice: every step fails at random, buyers come and cancel all at once, the process dies in the
//! middle of it. Afterwards everything works again, and the slate has to be clean.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::adapters::gateway::Faults;
use holdfast::domain::UserId;
use holdfast::saga::{Answer, EngineConfig, PurchaseAnswer};

use crate::support::goods::{paid_with, purchase};
use crate::support::misbehaving::Dice;
use crate::support::shop::{CONFIG, Home, NO_FAULTS, PATIENCE, Process, Shop};
use crate::support::{slate, wait_for};

const BUYERS: i64 = 150;

const BAD_GATEWAY: Faults = Faults {
    decline_rate: 0.1,
    timeout_before_rate: 0.1,
    timeout_after_rate: 0.1,
    late_rate: 0.1,
    duplicate_rate: 0.1,
    needs_customer_rate: 0.1,
    // Some of those who do nothing themselves, or cancel, accept after all.
    customer_after_ms: 60,
    ..NO_FAULTS
};

/// Customers have so little time that some are too late.
const HASTY: EngineConfig = EngineConfig { customer_within: Duration::from_millis(300), ..CONFIG };

/// A buyer who tries twice and may cancel; what they are told does not matter here.
async fn buyer(shop: Arc<Shop>, user: i64, lines: Vec<(holdfast::domain::ProductId, i64)>) {
    const TOKENS: [&str; 7] =
        ["tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_late", "tok_3ds", "tok_3ds"];
    let token = TOKENS[usize::try_from(user % 7).expect("small")];
    for _ in 0..2 {
        let purchase = paid_with(token, purchase(user, "key", &lines));
        let answer = shop.engine.purchase(purchase).await.expect("the ledger answers");
        let order = match answer {
            PurchaseAnswer::Ended(Answer::Order(order) | Answer::Stuck(order))
            | PurchaseAnswer::Pending(order) => order,
            PurchaseAnswer::Ended(Answer::NeedsCustomer(order, _)) => {
                match user % 4 {
                    0 | 1 => {
                        let said = shop.payments.authenticate(order.id, user % 4 == 0).await;
                        said.expect("the gateway answers");
                        let answer = shop.engine.continue_payment(order.id, UserId(user)).await;
                        answer.expect("the ledger answers");
                    }
                    2 => drop(shop.engine.nudge(order.id).await.expect("the ledger answers")),
                    _ => {}
                }
                order
            }
            _ => continue,
        };
        if user % 3 == 0 {
            shop.engine.cancel_order(order.id, UserId(user)).await.expect("the ledger answers");
        }
    }
}

/// Heals, takes up what was lost, resumes what is stuck, and looks.
async fn settle(shop: &Shop, dice: &Dice, context: &str) {
    dice.heal();
    wait_for(context, PATIENCE, async || {
        shop.engine.recover_idle(Duration::ZERO).await.expect("the ledger answers");
        for stuck in shop.stuck().await {
            shop.engine.resume(stuck).await.expect("the ledger answers");
        }
        for waiting in shop.waiting().await {
            shop.engine.nudge(waiting).await.expect("the ledger answers");
        }
        shop.engine.in_flight() == 0
            && shop.ledger.open_sagas(1).await.expect("the ledger answers").is_empty()
    })
    .await;
    shop.sweep().await;
}

fn storm(seed: u64) {
    let context = format!("storm of seed {seed}");
    let home = Home::new();
    let faults = Faults { seed, ..BAD_GATEWAY };
    let mut products = Vec::new();
    for life in 0..3 {
        let dice = Dice::new(seed * 10 + life);
        let process = Process::start_as(&home, HASTY, faults.clone(), &|step| dice.wrap(step));
        if life == 0 {
            products = process.run(process.shop.stock(&[40, 40, 40]));
        }
        let base = i64::try_from(life).expect("few") * BUYERS;
        let tasks: Vec<_> = (base..base + BUYERS)
            .map(|user| {
                let n = usize::try_from(user).expect("few");
                let lines = vec![(products[n % 3], 1 + user % 2), (products[(n / 3) % 3], 1)];
                process.runtime.spawn(buyer(Arc::clone(&process.shop), user, lines))
            })
            .collect();
        if life < 2 {
            // Dies as soon as some orders exist, with the others anywhere; or when every buyer has an
            // answer, because the life before may have left too little for more orders.
            process.run(wait_for(&context, PATIENCE, async || {
                let orders = process.shop.ledger.orders_after(None, 10_000).await.expect("orders");
                let enough = 25 * (usize::try_from(life).expect("few") + 1);
                orders.len() > enough || tasks.iter().all(tokio::task::JoinHandle::is_finished)
            }));
            process.kill();
        } else {
            process.run(async {
                for task in join_all(tasks).await {
                    task.expect("a buyer's task ends");
                }
                settle(&process.shop, &dice, &context).await;
            });
            process.kill();
        }
    }
    let process = Process::start(&home, &|step| step);
    process.run(async {
        process.shop.until_quiet().await;
        slate::assert_clean(&process.shop, 0, &context).await;
        let orders = process.shop.ledger.orders_after(None, 10_000).await.expect("orders");
        let keys: std::collections::HashSet<_> = orders.iter().map(|order| order.user_id).collect();
        assert_eq!(keys.len(), orders.len(), "{context}: a key has two orders");
    });
    process.kill();
}

#[test]
fn nothing_is_lost_in_a_storm() {
    (1..=3).for_each(storm);
}
