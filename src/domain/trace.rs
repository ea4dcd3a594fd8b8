//! Traces: how everything that is done for one order, on whichever server, is found together.
//!
//! A trace is named by its order, whose id has as many bits, and what others stand under is made from that id, too.
//! So whoever knows the order knows its trace, and nobody keeps one.
//!
//! Source of the text form: W3C Trace Context, level 1, section 3.2 (`traceparent`).

use std::fmt;

use super::ids::OrderId;

/// One thing that was done, by which others stand under it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext {
    pub trace: u128,
    pub span: u64,
    /// Whether it is shown to anybody.
    pub sampled: bool,
}

impl TraceContext {
    /// The request that has brought an order about, under which everything else stands.
    pub fn of_request(order: OrderId, sampled: bool) -> Self {
        Self::of(order, 0, sampled)
    }

    /// That an event was published, however often it is.
    pub fn of_event(order: OrderId, sequence: u32, sampled: bool) -> Self {
        Self::of(order, sequence, sampled)
    }

    fn of(order: OrderId, place: u32, sampled: bool) -> Self {
        let id = order.0.as_u64_pair().1;
        Self { trace: order.0.as_u128(), span: scatter(id ^ scatter(place.into())).max(1), sampled }
    }

    /// Reads a `traceparent`; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        // Later versions may add something at the end.
        let is_whole = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !is_whole || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// As `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// Which orders are traced: the same ones on every server, so that a trace is whole or is not there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    ratio: f64,
}

impl Sampling {
    /// So large a part of all orders, from 0 to 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio }
    }

    /// Whether an order is one of them.
    pub fn takes(self, order: OrderId) -> bool {
        // The first half of a UUID v7 is its time, and some bits of the second are the same in all: only all of the
        // second half together is as good as random.
        let bits = scatter(order.0.as_u64_pair().1) >> 11;
        (bits as f64) < self.ratio * (1_u64 << 53) as f64
    }
}

/// Makes of numbers that are alike numbers that are not; no two become the same.
/// Source: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
pub fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;
    use crate::ports::clock::{Clock as _, SystemClock};

    #[test]
    fn a_context_is_written_as_it_is_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).expect("the specification's example");
        assert_eq!(context.trace, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.span, context.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(context.to_string(), text);
        let of_order = TraceContext::of_event(OrderId(Uuid::from_u128(7)), 3, false);
        assert_eq!(TraceContext::parse(&of_order.to_string()), Some(of_order));
        // A later version may say more.
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(TraceContext::parse(later).is_some_and(|context| !context.sampled));
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn orders_of_the_same_moment_are_taken_as_often_as_said() {
        let orders: Vec<_> = (0..20_000).map(|_| SystemClock.new_order_id()).collect();
        for (ratio, least, most) in
            [(0.0, 0, 0), (0.1, 1_800, 2_200), (0.5, 9_700, 10_300), (1.0, 20_000, 20_000)]
        {
            let sampling = Sampling::new(ratio);
            let taken = orders.iter().filter(|order| sampling.takes(**order)).count();
            assert!((least..=most).contains(&taken), "{taken} of 20000 at {ratio}");
        }
    }

    #[test]
    fn every_span_of_a_trace_has_a_name_of_its_own() {
        let order = SystemClock.new_order_id();
        let mut spans: HashSet<_> =
            (1..100).map(|sequence| TraceContext::of_event(order, sequence, true).span).collect();
        spans.insert(TraceContext::of_request(order, true).span);
        assert_eq!(spans.len(), 100);
    }
}
