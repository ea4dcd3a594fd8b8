//! The saga matrix: at each of the four steps, everything that can go wrong with its action or its
//! undo. Each case ends in the right state with nothing left behind.

use holdfast::domain::{Reason, StepName};

use crate::support::misbehaving::{Fault, Half};

use super::plot::{Cancel, Expected, Plot, Then};

use Expected::{Cancelled, Confirmed, Failed, Nothing};
use Half::{Act, Undo};
use StepName::{ConfirmOrder, CreateOrder, ReserveStock, TakePayment};

const ALWAYS: u32 = u32::MAX;

/// Many times what is tried before an action is given up, or a refused undo sticks.
const LONG: u32 = 40;

const REFUSED: Fault = Fault::Rejected(Reason::ConcurrentModification);

fn silent(effect: bool, times: u32) -> Fault {
    Fault::Silent { effect, times }
}

/// Plays the fault at each step; `ends` says how that goes on and ends.
fn at_each_step(fault: Fault, ends: [(Then, Expected); 4]) {
    for (step, (then, expected)) in StepName::ALL.into_iter().zip(ends) {
        Plot::new(&[(step, Act, fault)], then, expected).play();
    }
}

#[test]
fn without_faults_an_order_is_confirmed() {
    Plot::new(&[], Then::Ends, Confirmed).play();
}

#[test]
fn a_declined_payment_fails_the_order() {
    Plot::new(&[], Then::Ends, Failed(Reason::PaymentDeclined)).paid_with("tok_declined").play();
}

#[test]
fn tokens_whose_answer_is_lost_end_without_money_taken_or_with_an_order() {
    for (token, expected) in [
        ("tok_timeout_before", Failed(Reason::PaymentUnknown)),
        ("tok_timeout_after", Failed(Reason::PaymentUnknown)),
        ("tok_late", Failed(Reason::PaymentUnknown)),
        ("tok_duplicate", Confirmed),
    ] {
        Plot::new(&[], Then::Ends, expected).paid_with(token).play();
    }
}

#[test]
fn a_rejected_step_undoes_those_before_it() {
    let failed = (Then::Ends, Failed(Reason::ConcurrentModification));
    at_each_step(REFUSED, [(Then::Ends, Nothing), (Then::Ends, Nothing), failed, failed]);
}

#[test]
fn a_step_that_answers_at_the_fourth_try_goes_on() {
    for effect in [false, true] {
        at_each_step(silent(effect, 3), [(Then::Ends, Confirmed); 4]);
    }
}

#[test]
fn a_step_that_never_answers_and_has_no_effect_is_given_up() {
    for (step, expected) in
        [(ReserveStock, Nothing), (CreateOrder, Nothing), (TakePayment, Failed(Reason::PaymentUnknown))]
    {
        Plot::new(&[(step, Act, silent(false, ALWAYS))], Then::Ends, expected).play();
    }
}

#[test]
fn a_confirmation_that_has_no_answer_for_long_is_made_in_the_end() {
    for effect in [false, true] {
        Plot::new(&[(ConfirmOrder, Act, silent(effect, LONG))], Then::Ends, Confirmed).play();
    }
}

#[test]
fn a_step_that_never_answers_and_has_its_effect_is_undone() {
    for (step, expected) in [
        (ReserveStock, Nothing),
        (CreateOrder, Failed(Reason::CreateOrderFailed)),
        (TakePayment, Failed(Reason::PaymentUnknown)),
    ] {
        Plot::new(&[(step, Act, silent(true, ALWAYS))], Then::Ends, expected).play();
    }
}

#[test]
fn an_order_refused_after_a_try_without_answer_leaves_nothing_behind() {
    // The first try may still be on its way when the second is refused.
    for effect in [false, true] {
        let expected = if effect { Failed(Reason::ConcurrentModification) } else { Nothing };
        let faults = [(CreateOrder, Act, silent(effect, 1)), (CreateOrder, Act, REFUSED)];
        Plot::new(&faults, Then::Ends, expected).play();
    }
}

#[test]
fn a_process_that_dies_before_a_step_loses_no_order() {
    let before = Fault::Crash { effect: false };
    let (nothing, confirmed) = ((Then::Dies, Nothing), (Then::Dies, Confirmed));
    at_each_step(before, [nothing, nothing, confirmed, confirmed]);
}

#[test]
fn a_process_that_dies_after_a_step_loses_no_order() {
    let after = Fault::Crash { effect: true };
    let (nothing, confirmed) = ((Then::Dies, Nothing), (Then::Dies, Confirmed));
    at_each_step(after, [nothing, confirmed, confirmed, confirmed]);
}

#[test]
fn a_worker_that_panics_before_a_step_loses_no_order() {
    let before = Fault::Panic { effect: false };
    let (nothing, confirmed) = ((Then::IsLost, Nothing), (Then::IsLost, Confirmed));
    at_each_step(before, [nothing, nothing, confirmed, confirmed]);
}

#[test]
fn a_worker_that_panics_after_a_step_loses_no_order() {
    let after = Fault::Panic { effect: true };
    let (nothing, confirmed) = ((Then::IsLost, Nothing), (Then::IsLost, Confirmed));
    at_each_step(after, [nothing, confirmed, confirmed, confirmed]);
}

#[test]
fn a_step_that_acts_twice_acts_once() {
    at_each_step(Fault::Twice, [(Then::Ends, Confirmed); 4]);
}

/// A way to have `step` undone: what makes it so, and how it ends when the undo works.
fn ways_to_undo(step: StepName) -> Vec<Plot> {
    let declined = Plot::new(&[], Then::Ends, Failed(Reason::PaymentDeclined)).paid_with("tok_declined");
    let refused_at = |step, expected| Plot::new(&[(step, Act, REFUSED)], Then::Ends, expected);
    let silent_at =
        |step, effect, expected| Plot::new(&[(step, Act, silent(effect, ALWAYS))], Then::Ends, expected);
    let cancelled = Plot::new(&[], Then::Ends, Cancelled).cancelled(Cancel::OnceConfirmed);
    match step {
        ReserveStock => {
            vec![refused_at(CreateOrder, Nothing), silent_at(ReserveStock, true, Nothing), declined]
        }
        CreateOrder => vec![
            silent_at(CreateOrder, false, Nothing),
            silent_at(CreateOrder, true, Failed(Reason::CreateOrderFailed)),
            declined,
        ],
        TakePayment => vec![
            silent_at(TakePayment, false, Failed(Reason::PaymentUnknown)),
            silent_at(TakePayment, true, Failed(Reason::PaymentUnknown)),
            refused_at(ConfirmOrder, Failed(Reason::ConcurrentModification)),
            cancelled,
        ],
        ConfirmOrder => vec![cancelled],
    }
}

/// Plays the fault at the undo of each step, whatever brought the undo about; `adapt` says how
/// that differs from an undo that works.
fn at_each_undo(fault: Fault, adapt: impl Fn(StepName, Plot) -> Plot) {
    for step in StepName::ALL {
        for mut plot in ways_to_undo(step) {
            plot.faults.push((step, Undo, fault));
            adapt(step, plot).play();
        }
    }
}

#[test]
fn a_step_undone_twice_is_undone_once() {
    at_each_undo(Fault::Twice, |_, plot| plot);
}

#[test]
fn an_undo_that_has_no_answer_for_long_is_done_in_the_end() {
    for effect in [false, true] {
        at_each_undo(silent(effect, LONG), |_, plot| plot);
    }
}

#[test]
fn an_undo_that_is_refused_sticks_until_it_is_resumed() {
    for then in [Then::Sticks, Then::SticksAndDies] {
        at_each_undo(REFUSED, |step, plot| match step {
            // There is no order to be stuck; the hold is swept, or made good at the next start.
            ReserveStock if plot.expected == Nothing => Plot { then: Then::IsLost, ..plot },
            ReserveStock => plot.gate_lags(),
            CreateOrder if plot.expected == Nothing => Plot { then: Then::IsLost, ..plot },
            CreateOrder | TakePayment | ConfirmOrder => Plot { then, ..plot },
        });
    }
}

#[test]
fn a_process_that_dies_before_an_undo_undoes_or_goes_on() {
    at_each_undo(Fault::Crash { effect: false }, |step, plot| {
        // A step that had no answer before, or was refused for no lasting reason, is simply repeated.
        let goes_on = match step {
            CreateOrder => plot.expected == Failed(Reason::CreateOrderFailed),
            TakePayment => plot.cancel == Cancel::Never,
            ReserveStock | ConfirmOrder => false,
        };
        let expected = if goes_on { Confirmed } else { plot.expected };
        Plot { then: Then::Dies, expected, ..plot }
    });
}

#[test]
fn a_process_that_dies_after_an_undo_goes_on_undoing() {
    at_each_undo(Fault::Crash { effect: true }, |_, plot| Plot { then: Then::Dies, ..plot });
}

#[test]
fn a_worker_that_panics_before_an_undo_undoes() {
    at_each_undo(Fault::Panic { effect: false }, |step, plot| {
        let plot = Plot { then: Then::IsLost, ..plot };
        match step {
            ReserveStock if plot.expected != Nothing => plot.gate_lags(),
            // The order is taken up where it can be paid, and nothing stands against that.
            CreateOrder if plot.expected == Failed(Reason::CreateOrderFailed) => {
                Plot { expected: Confirmed, ..plot }
            }
            _ => plot,
        }
    });
}

#[test]
fn a_worker_that_panics_after_an_undo_goes_on_undoing() {
    at_each_undo(Fault::Panic { effect: true }, |step, plot| {
        let plot = Plot { then: Then::IsLost, ..plot };
        if step == CreateOrder && plot.expected != Nothing { plot.gate_lags() } else { plot }
    });
}
