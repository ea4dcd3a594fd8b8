//! Money: whole minor units and a currency, with checked arithmetic only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::Quantity;

/// An ISO 4217 currency code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// Active ISO 4217 codes whose minor unit is not a hundredth, with the number of decimals.
/// Source: ISO 4217 list one, "minor unit" column.
const OTHER_DECIMALS: [(&str, u32); 23] = [
    ("BHD", 3),
    ("BIF", 0),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
    ("XPF", 0),
];

/// Active ISO 4217 codes with two decimals.
const TWO_DECIMALS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP \
    BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD \
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA \
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON \
    RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS \
    UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG";

impl Currency {
    /// Pounds sterling.
    pub const GBP: Self = Self(*b"GBP");
    /// Euro.
    pub const EUR: Self = Self(*b"EUR");

    /// The three letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is made of ASCII letters")
    }

    /// Decimals of the major unit: 2 for most, 0 for the yen, 3 for the dinar.
    pub fn decimals(self) -> u32 {
        OTHER_DECIMALS.iter().find(|(code, _)| *code == self.as_str()).map_or(2, |(_, decimals)| *decimals)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::UnknownCurrency)?;
        let known = OTHER_DECIMALS.iter().any(|(code, _)| *code == text)
            || TWO_DECIMALS.split(' ').any(|code| code == text);
        if known { Ok(Self(code)) } else { Err(MoneyError::UnknownCurrency) }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount: whole minor units (pence, cents) of one currency.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    #[serde(rename = "amount")]
    pub minor: i64,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub currency: Currency,
}

/// Why an amount is not money, or two amounts cannot be put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MoneyError {
    #[error("not an ISO 4217 currency code, such as EUR")]
    UnknownCurrency,
    #[error("the total is larger than any amount of money can be")]
    Overflow,
    #[error("the amounts are in different currencies")]
    MixedCurrencies,
}

impl Money {
    /// `minor` units of `currency`.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// Two currencies, or a sum that does not fit.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies);
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// The price of `quantity` units.
    ///
    /// # Errors
    /// A product that does not fit.
    pub fn times(self, quantity: Quantity) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity.get())).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        let unit = 10_u64.pow(decimals);
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match decimals {
            0 => write!(f, "{sign}{minor} {}", self.currency),
            _ => write!(
                f,
                "{sign}{}.{:0width$} {}",
                minor / unit,
                minor % unit,
                self.currency,
                width = decimals as usize
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(n: u32) -> Quantity {
        Quantity::new(n).expect("positive")
    }

    #[test]
    fn arithmetic_is_checked() {
        let euro = Money::new(i64::MAX, Currency::EUR);
        assert_eq!(euro.plus(Money::new(1, Currency::EUR)), Err(MoneyError::Overflow));
        assert_eq!(euro.times(quantity(2)), Err(MoneyError::Overflow));
        assert_eq!(euro.plus(Money::new(1, Currency::GBP)), Err(MoneyError::MixedCurrencies));
        assert_eq!(Money::new(250, Currency::EUR).times(quantity(3)), Ok(Money::new(750, Currency::EUR)));
    }

    #[test]
    fn only_iso_codes_are_currencies() {
        for good in ["EUR", "GBP", "JPY", "KWD", "VND"] {
            assert!(good.parse::<Currency>().is_ok(), "{good}");
        }
        for bad in ["", "EU", "EURO", "eur", "AAA", "E R", "€"] {
            assert_eq!(bad.parse::<Currency>(), Err(MoneyError::UnknownCurrency), "{bad}");
        }
    }

    #[test]
    fn shown_in_major_units() {
        assert_eq!(Money::new(-1205, Currency::EUR).to_string(), "-12.05 EUR");
        assert_eq!(Money::new(500, "JPY".parse().expect("a currency")).to_string(), "500 JPY");
        assert_eq!(Money::new(1_500, "KWD".parse().expect("a currency")).to_string(), "1.500 KWD");
    }
}
