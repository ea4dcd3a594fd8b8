//! A hold of one product as the text that the gate keeps.

use uuid::Uuid;

use crate::domain::{BasketLine, Digest, Driver, Hold, InstanceId, OrderId, ProductId, Quantity, Timestamp};

/// "saga instance body ordered epoch quantity deadline", as `product.lua` reads it.
pub(super) fn pack(hold: &Hold, saga: OrderId, quantity: Quantity, ordered: bool) -> String {
    let Driver { instance, epoch } = hold.driver;
    let (deadline, body) = (hold.deadline.0, hold.body);
    format!("{saga} {} {body:?} {} {epoch} {quantity} {deadline}", instance.0, u8::from(ordered))
}

/// The hold under a key, and whether it has an order; `None` when the texts are not of this kind.
pub(super) fn unpack(product: ProductId, key: &str, text: &str) -> Option<(Hold, bool)> {
    let mut words = text.split(' ');
    let mut next = || words.next();
    let saga = next()?.parse().ok()?;
    let instance = InstanceId(next()?.parse::<Uuid>().ok()?);
    let body = digest(next()?)?;
    let ordered = match next()? {
        "0" => false,
        "1" => true,
        _ => return None,
    };
    let driver = Driver { instance, epoch: next()?.parse().ok()? };
    let quantity = Quantity::new(next()?.parse().ok()?)?;
    let deadline = Timestamp(next()?.parse().ok()?);
    let lines = [BasketLine { product_id: product, quantity }].into();
    Some((Hold { saga, key: digest(key)?, body, driver, lines, deadline }, ordered))
}

fn digest(hex: &str) -> Option<Digest> {
    let bits = u128::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 32)?;
    Some(Digest(bits.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_back() {
        let quantity = Quantity::new(u32::MAX).expect("not 0");
        let product = ProductId(i64::MAX);
        let hold = Hold {
            saga: OrderId(Uuid::from_u128(1)),
            key: Digest([0; 16]),
            body: Digest([255; 16]),
            driver: Driver { instance: InstanceId(Uuid::from_u128(u128::MAX)), epoch: u32::MAX },
            lines: [BasketLine { product_id: product, quantity }].into(),
            deadline: Timestamp(-5),
        };
        for ordered in [false, true] {
            let text = pack(&hold, hold.saga, quantity, ordered);
            assert_eq!(unpack(product, &format!("{:?}", hold.key), &text), Some((hold.clone(), ordered)));
            assert_eq!(unpack(product, "7", &text), None);
            assert_eq!(unpack(product, &"0".repeat(32), text.trim_end_matches("-5")), None);
            let places = [36, 73, 106, 108].map(|place| text.as_bytes()[place]);
            assert_eq!(places, [b' '; 4], "the script counts characters");
        }
    }
}
