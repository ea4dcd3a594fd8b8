//! One purchase of two of five units, what goes wrong with it, and how it has to end.

use std::sync::Arc;

use holdfast::domain::{OrderStatus, Purchase, Reason, Refusal, StepName, UserId};
use holdfast::saga::{Answer, CancelAnswer, PurchaseAnswer};

use crate::support::goods::{paid_with, purchase};
use crate::support::misbehaving::{Fault, Half, Script};
use crate::support::shop::{Home, PATIENCE, Process};
use crate::support::{slate, wait_for};

/// When the customer cancels.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cancel {
    Never,
    /// While the script lets a step wait.
    WhilePending,
    OnceConfirmed,
}

/// What happens after things went wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Then {
    /// The saga ends by itself.
    Ends,
    /// The process dies when every fault has struck, and another one opens the files.
    Dies,
    /// A worker lost the saga; it is looked for among the idle ones, and its hold is swept.
    IsLost,
    /// The saga sticks; when everything works again an administrator resumes it.
    Sticks,
    /// The saga sticks, the process dies, and in the next one an administrator resumes it.
    SticksAndDies,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Expected {
    /// No order, and nothing was left behind.
    Nothing,
    Confirmed,
    Failed(Reason),
    Cancelled,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Plot {
    pub faults: Vec<(StepName, Half, Fault)>,
    pub token: &'static str,
    pub cancel: Cancel,
    pub then: Then,
    pub expected: Expected,
    /// The gate may hold units back that nobody has, until the process starts again.
    pub gate_lags: bool,
}

impl Plot {
    pub fn new(faults: &[(StepName, Half, Fault)], then: Then, expected: Expected) -> Self {
        let (token, cancel) = ("tok_ok", Cancel::Never);
        Self { faults: faults.to_vec(), token, cancel, then, expected, gate_lags: false }
    }

    pub fn paid_with(self, token: &'static str) -> Self {
        Self { token, ..self }
    }

    pub fn cancelled(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    pub fn gate_lags(self) -> Self {
        Self { gate_lags: true, ..self }
    }

    /// Plays it and looks at the slate at every rest.
    pub fn play(&self) {
        let context = format!("{self:?}");
        let home = Home::new();
        let script = Script::new(&self.faults);
        let mut process = Process::start(&home, &|step| script.wrap(step));
        let product = process.run(process.shop.stock(&[5]))[0];
        let buying = || paid_with(self.token, purchase(1, "key", &[(product, 2)]));

        let answer = self.first_act(&process, &script, buying());
        match self.then {
            Then::Ends => {
                let answer = process.run(answer).expect("the buyer's task ends");
                if self.cancel != Cancel::OnceConfirmed {
                    self.check_answer(&answer, &context);
                }
                process.run(process.shop.until_quiet());
            }
            Then::Dies => {
                process.run(wait_for(&context, PATIENCE, async || script.has_struck()));
                process.kill();
                process = Process::start(&home, &|step| step);
                process.run(process.shop.until_quiet());
                // A gate that outlives its servers remembers what they held.
                process.run(process.shop.sweep());
            }
            Then::IsLost => process.run(async {
                let shop = &process.shop;
                let lost = async || script.has_struck() && shop.engine.in_flight() == 0;
                wait_for(&context, PATIENCE, lost).await;
                wait_for(&context, PATIENCE, async || {
                    shop.engine.recover_idle(std::time::Duration::ZERO).await.expect("the ledger answers");
                    shop.ledger.open_sagas(1).await.expect("the ledger answers").is_empty()
                })
                .await;
                shop.until_quiet().await;
                shop.sweep().await;
            }),
            Then::Sticks | Then::SticksAndDies => {
                process.run(async {
                    let answer = answer.await.expect("the buyer's task ends");
                    if self.cancel == Cancel::Never {
                        // Where not even the order is known of, the same key tells later.
                        let told = matches!(
                            answer,
                            PurchaseAnswer::Ended(Answer::Stuck(_) | Answer::Refused(Refusal::Unavailable))
                        );
                        assert!(told, "{context}: {answer:?}");
                    }
                    process.shop.until_quiet().await;
                    slate::assert_clean(&process.shop, 1, &context).await;
                });
                if self.then == Then::SticksAndDies {
                    process.kill();
                    process = Process::start(&home, &|step| step);
                }
                process.run(async {
                    let shop = &process.shop;
                    shop.until_quiet().await;
                    slate::assert_clean(shop, 1, &context).await;
                    script.heal();
                    let stuck = shop.stuck().await[0];
                    let again = shop.engine.purchase(buying()).await.expect("the ledger answers");
                    let PurchaseAnswer::Ended(Answer::Stuck(order) | Answer::Order(order)) = again else {
                        panic!("{context}: the same key is told {again:?}")
                    };
                    assert_eq!(order.id, stuck, "{context}: the key has another order");
                    assert!(shop.engine.resume(stuck).await.expect("the ledger answers"), "{context}");
                    shop.until_quiet().await;
                    assert!(!shop.engine.resume(stuck).await.expect("the ledger answers"), "{context}");
                });
            }
        }
        script.heal();
        if self.gate_lags {
            process.run(async {
                let here = process.shop.gate.levels(&[product]).await.expect("the gate answers")[0];
                let here = here.map(|level| level.stock - level.reserved);
                let there = process.shop.ledger.product(product).await.expect("answers").expect("a product");
                assert!(here.expect("loaded") <= there.available(), "{context}: the gate admits too many");
            });
            process.kill();
            process = Process::start(&home, &|step| step);
            process.run(process.shop.sweep());
        }
        process.run(self.last_act(&process, buying(), &context));
        process.kill();

        let process = Process::start(&home, &|step| step);
        process.run(slate::assert_clean(&process.shop, 0, &format!("{context}, opened again")));
        process.kill();
    }

    /// The purchase, and the cancel; answers what the buyer is told.
    fn first_act(
        &self,
        process: &Process,
        script: &Arc<Script>,
        purchase: Purchase,
    ) -> tokio::task::JoinHandle<PurchaseAnswer> {
        let shop = Arc::clone(&process.shop);
        let buyer =
            process.runtime.spawn(async move { shop.engine.purchase(purchase).await.expect("answers") });
        let shop = Arc::clone(&process.shop);
        match self.cancel {
            Cancel::Never => buyer,
            Cancel::WhilePending => {
                process.run(async {
                    wait_for("a step waits", PATIENCE, async || script.is_waiting()).await;
                    let order = shop.only_order().await.expect("the order is PENDING");
                    let answer = shop.engine.cancel_order(order.id, UserId(1)).await.expect("answers");
                    assert!(matches!(answer, CancelAnswer::Recorded(_)), "{self:?}: {answer:?}");
                    script.go();
                });
                buyer
            }
            Cancel::OnceConfirmed => process.runtime.spawn(async move {
                let answer = buyer.await.expect("the buyer's task ends");
                let PurchaseAnswer::Ended(Answer::Order(order)) = &answer else { panic!("{answer:?}") };
                assert_eq!(order.status, OrderStatus::Confirmed);
                shop.engine.cancel_order(order.id, UserId(1)).await.expect("answers");
                answer
            }),
        }
    }

    fn check_answer(&self, answer: &PurchaseAnswer, context: &str) {
        let right = match (answer, self.expected) {
            (PurchaseAnswer::Ended(Answer::Order(order)), Expected::Confirmed) => {
                order.status == OrderStatus::Confirmed
            }
            (PurchaseAnswer::Ended(Answer::Order(order)), Expected::Failed(reason)) => {
                order.status == OrderStatus::Failed && order.reason == Some(reason)
            }
            (PurchaseAnswer::Ended(Answer::Order(order)), Expected::Cancelled) => {
                order.status == OrderStatus::Cancelled
            }
            (PurchaseAnswer::Ended(Answer::Refused(_)), Expected::Nothing) => true,
            _ => false,
        };
        assert!(right, "{context}: the buyer is told {answer:?}");
    }

    /// The slate is clean, the key still stands for the same, and all that is left can be sold.
    async fn last_act(&self, process: &Process, again: Purchase, context: &str) {
        let shop = &process.shop;
        slate::assert_clean(shop, 0, context).await;
        let order = shop.only_order().await;
        let (status, reason) = match self.expected {
            Expected::Nothing => (None, None),
            Expected::Confirmed => (Some(OrderStatus::Confirmed), None),
            Expected::Failed(reason) => (Some(OrderStatus::Failed), Some(reason)),
            Expected::Cancelled => (Some(OrderStatus::Cancelled), Some(Reason::CancelledByCustomer)),
        };
        assert_eq!(order.as_ref().map(|order| order.status), status, "{context}");
        assert_eq!(order.as_ref().and_then(|order| order.reason), reason, "{context}");

        let product = again.basket.lines()[0].product_id;
        let again = Purchase { payment_token: None, ..again };
        match (shop.buy(again).await, order) {
            (Answer::Order(found), Some(order)) => assert_eq!(*found, *order, "{context}"),
            (Answer::Order(new), None) => assert_eq!(new.status, OrderStatus::Confirmed, "{context}"),
            (answer, _) => panic!("{context}: the same key is told {answer:?}"),
        }
        let sold = matches!(self.expected, Expected::Confirmed | Expected::Nothing);
        let rest = if sold { 3 } else { 5 };
        let last = shop.buy(purchase(2, "all the rest", &[(product, rest)])).await;
        assert!(
            matches!(&last, Answer::Order(order) if order.status == OrderStatus::Confirmed),
            "{context}: the rest cannot be sold: {last:?}"
        );
        let over = shop.buy(purchase(3, "one more", &[(product, 1)])).await;
        assert!(matches!(over, Answer::Refused(Refusal::SoldOut(_))), "{context}: {over:?}");
        slate::assert_clean(shop, 0, &format!("{context}, all sold")).await;
    }
}
