//! Every word that a page says, in the visitor's language. A further language is a further file in `locales/` and a
//! line here.

use std::sync::LazyLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::types::FluentNumber;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

use crate::domain::{Money, Timestamp};

/// A language of the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    English,
    Vietnamese,
}

/// The words of one language.
struct Texts {
    bundle: FluentBundle<FluentResource>,
    /// What stands between thousands, and before the decimals.
    group: String,
    decimal: String,
}

static TEXTS: LazyLock<[Texts; 2]> = LazyLock::new(|| {
    [
        Texts::read(Language::English, include_str!("../../../locales/en.ftl")),
        Texts::read(Language::Vietnamese, include_str!("../../../locales/vi.ftl")),
    ]
});

/// What is asked for when somebody's language is not there.
const OTHERWISE: Language = Language::English;

/// Signs of currencies; others are written by their code.
const SYMBOLS: [(&str, &str); 5] = [("EUR", "€"), ("GBP", "£"), ("JPY", "¥"), ("USD", "$"), ("VND", "₫")];

impl Language {
    /// Every language there is.
    pub const ALL: [Self; 2] = [Self::English, Self::Vietnamese];

    /// Its code. Source: BCP 47.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Vietnamese => "vi",
        }
    }

    /// The language of a code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.code() == code)
    }

    /// The language that a browser prefers. `accepted` is what it says in Accept-Language, where browsers name what
    /// they like best first.
    pub fn preferred(accepted: &str) -> Self {
        let primary = |range: &str| range.split(['-', ';']).next().map(str::trim).and_then(Self::of_code);
        accepted.split(',').find_map(primary).unwrap_or(OTHERWISE)
    }

    /// A text without gaps. One that is missing is shown as its key.
    pub fn text(self, key: &str) -> String {
        self.texts().text(key, None)
    }

    /// A text with gaps that are filled in.
    pub fn text_with<const N: usize>(
        self,
        key: &str,
        gaps: [(&'static str, FluentValue<'static>); N],
    ) -> String {
        self.texts().text(key, Some(&gaps.into_iter().collect()))
    }

    /// A whole number.
    pub fn number(self, number: i64) -> String {
        let digits = grouped(&number.unsigned_abs().to_string(), &self.texts().group);
        if number < 0 { format!("−{digits}") } else { digits }
    }

    /// A number with one decimal.
    pub fn decimal(self, number: f64) -> String {
        let tenths = (number * 10.0).round() as i64;
        let decimal = &self.texts().decimal;
        format!("{}{decimal}{}", self.number(tenths / 10), tenths.abs() % 10)
    }

    /// An amount of money with its currency.
    pub fn money(self, money: Money) -> String {
        let texts = self.texts();
        let decimals = money.currency.decimals();
        let unit = 10_u64.pow(decimals);
        let minor = money.minor.unsigned_abs();
        let mut amount = grouped(&(minor / unit).to_string(), &texts.group);
        if decimals > 0 {
            let rest = minor % unit;
            amount.push_str(&format!("{}{rest:0width$}", texts.decimal, width = decimals as usize));
        }
        if money.minor < 0 {
            amount.insert(0, '−');
        }
        let code = money.currency.as_str();
        let symbol = SYMBOLS.iter().find(|(known, _)| *known == code);
        let (key, symbol) = symbol.map_or(("money-code", code), |(_, symbol)| ("money", symbol));
        self.text_with(key, [("symbol", symbol.to_owned().into()), ("amount", amount.into())])
    }

    /// A moment, in UTC.
    pub fn moment(self, at: Timestamp) -> String {
        self.written(at, "moment-format")
    }

    /// A moment to the second, in UTC.
    pub fn instant(self, at: Timestamp) -> String {
        self.written(at, "instant-format")
    }

    /// The time of day, in UTC.
    pub fn clock(self, at: Timestamp) -> String {
        self.written(at, "clock-format")
    }

    fn written(self, at: Timestamp, format: &str) -> String {
        let Ok(time) = jiff::Timestamp::from_millisecond(at.0) else { return at.to_string() };
        time.strftime(&self.text(format)).to_string()
    }

    fn texts(self) -> &'static Texts {
        match self {
            Self::English => &TEXTS[0],
            Self::Vietnamese => &TEXTS[1],
        }
    }
}

impl Texts {
    fn read(language: Language, text: &'static str) -> Self {
        let id: LanguageIdentifier = language.code().parse().expect("a code of a language");
        let resource = FluentResource::try_new(text.to_owned());
        let resource = resource.unwrap_or_else(|(_, errors)| panic!("{}.ftl: {errors:?}", language.code()));
        let mut bundle = FluentBundle::new_concurrent(vec![id]);
        // Marks for mixed writing directions would end up in titles and attributes.
        bundle.set_use_isolating(false);
        bundle.set_formatter(Some(match language {
            Language::English => |value, _| shown(Language::English, value),
            Language::Vietnamese => |value, _| shown(Language::Vietnamese, value),
        }));
        bundle.add_resource(resource).unwrap_or_else(|errors| panic!("{}.ftl: {errors:?}", language.code()));
        let mut texts = Self { bundle, group: String::new(), decimal: String::new() };
        texts.group = texts.text("number-group", None);
        texts.decimal = texts.text("number-decimal", None);
        texts
    }

    fn text(&self, key: &str, gaps: Option<&FluentArgs<'_>>) -> String {
        let pattern = self.bundle.get_message(key).and_then(|message| message.value());
        let Some(pattern) = pattern else {
            tracing::error!(key, "a text is missing");
            return key.to_owned();
        };
        self.bundle.format_pattern(pattern, gaps, &mut Vec::new()).into_owned()
    }
}

/// Numbers in texts are written like all others.
fn shown(language: Language, value: &FluentValue<'_>) -> Option<String> {
    match value {
        FluentValue::Number(FluentNumber { value, .. }) if value.fract() == 0.0 => {
            Some(language.number(*value as i64))
        }
        _ => None,
    }
}

/// Digits in groups of three.
fn grouped(digits: &str, mark: &str) -> String {
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push_str(mark);
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::domain::{Currency, Reason};

    use super::*;

    fn money(minor: i64, currency: &str) -> Money {
        Money::new(minor, currency.parse::<Currency>().expect("a currency"))
    }

    #[test]
    fn numbers_and_money_are_written_as_the_visitor_does() {
        use Language::{English, Vietnamese};
        assert_eq!([English.number(1_234_567), English.number(-12)], ["1,234,567", "−12"]);
        assert_eq!(Vietnamese.number(1_234_567), "1.234.567");
        assert_eq!(English.money(money(123_456, "EUR")), "€1,234.56");
        assert_eq!(English.money(money(-100_000, "CHF")), "CHF\u{a0}−1,000.00");
        assert_eq!(Vietnamese.money(money(5_000_000, "VND")), "5.000.000\u{a0}₫");
        assert_eq!(Vietnamese.money(money(5, "USD")), "0,05\u{a0}$");
    }

    #[test]
    fn a_browser_gets_the_language_it_prefers() {
        assert_eq!(Language::preferred("vi-VN,vi;q=0.9,en;q=0.8"), Language::Vietnamese);
        assert_eq!(Language::preferred("de, en-GB;q=0.8, vi;q=0.5"), Language::English);
        assert_eq!(Language::preferred("fr, en"), Language::English);
        assert_eq!(Language::preferred("\u{fffd};;q=x"), OTHERWISE);
    }

    #[test]
    fn every_text_that_a_page_asks_for_is_there() {
        let mut rooms = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates")];
        let mut asked = 0;
        while let Some(room) = rooms.pop() {
            for entry in std::fs::read_dir(room).expect("templates") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    rooms.push(path);
                    continue;
                }
                let template = std::fs::read_to_string(&path).expect("a template");
                for call in ["page.t(\"", "page.t1(\""] {
                    for key in template.split(call).skip(1).filter_map(|rest| rest.split('"').next()) {
                        assert_ne!(Language::English.text(key), key, "{}", path.display());
                        asked += 1;
                    }
                }
            }
        }
        assert!(asked > 100, "{asked}");
    }

    #[test]
    fn every_reason_has_its_texts() {
        for reason in Reason::ALL {
            for place in ["reason", "why"] {
                let key = format!("{place}-{}", super::super::orders::reason_word(reason));
                assert_ne!(Language::English.text(&key), key);
            }
        }
    }

    #[test]
    fn every_language_has_the_same_texts() {
        let keys = |text: &str| -> BTreeSet<String> {
            let named = |line: &str| {
                let (key, _) = line.split_once(" =")?;
                key.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                    .then(|| key.to_owned())
            };
            text.lines().filter(|line| !line.starts_with([' ', '#'])).filter_map(named).collect()
        };
        let english = keys(include_str!("../../../locales/en.ftl"));
        assert_eq!(english, keys(include_str!("../../../locales/vi.ftl")));
        assert!(english.len() > 50);
    }
}
