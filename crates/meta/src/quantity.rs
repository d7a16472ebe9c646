//! Quantities: `100m`, `1.5Gi`, `2e3`. Exact to one billionth, as upstream's
//! `k8s.io/apimachinery/pkg/api/resource`.

use alloc::format;
use alloc::string::{String, ToString};
use core::cmp::Ordering;
use core::fmt;

/// How a quantity prints its unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `n u m k M G T P E`.
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// `e3`.
    DecimalExponent,
}

/// An exact amount and the format in which it was written.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    /// Billionths of the unit.
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
/// Upstream caps amounts with binary suffixes at 2^63 - 1 units.
const MAX_NANOS: i128 = (i64::MAX as i128) * NANO;
/// Upstream has no limit for others; here it is 10^29 units. It is a power of ten, so that its text
/// is read back as the same.
const LARGEST: i128 = 10i128.pow(38);

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity { nanos: 0, format: Format::DecimalSi }
    }
}

/// The text upstream gives for a quantity that does not parse.
pub const FORMAT_ERROR: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The text upstream gives for a suffix without meaning.
pub const SUFFIX_ERROR: &str = "unable to parse quantity's suffix";

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

impl Quantity {
    /// A whole number of units.
    pub fn units(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * NANO, format: Format::DecimalSi }
    }

    /// A number of thousandths (millicores).
    pub fn millis(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A number of bytes, printed with binary suffixes.
    pub fn bytes(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * NANO, format: Format::BinarySi }
    }

    /// Reads a quantity. Fractions below one billionth are rounded up. The errors are upstream's.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err(FORMAT_ERROR);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = split_digits(rest);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(rest) => split_digits(rest),
            None => ("", rest),
        };
        // Upstream takes letters, a sign, and digits as the suffix, and then asks what it means.
        let tail = rest.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let (_, end) = split_digits(tail.strip_prefix(['-', '+']).unwrap_or(tail));
        if !end.is_empty() {
            return Err(FORMAT_ERROR);
        }
        let (base, exponent, format) = suffix_scale(rest).ok_or(SUFFIX_ERROR)?;
        let mut nanos = scale(whole, fraction, base, exponent);
        if format == Format::BinarySi {
            nanos = nanos.min(MAX_NANOS);
        }
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// The amount in whole units, rounded up (away from zero), as upstream's `Value()`.
    pub fn value(&self) -> i64 {
        div_up(self.nanos, NANO)
    }

    /// The amount in thousandths, rounded up, as upstream's `MilliValue()`.
    pub fn milli_value(&self) -> i64 {
        div_up(self.nanos, NANO / 1000)
    }

    /// The amount as a float, in units.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether the amount is zero.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// Whether the amount is below zero.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// The format in which the quantity prints.
    pub fn format(&self) -> Format {
        self.format
    }
}

impl core::ops::Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos).clamp(-LARGEST, LARGEST), format }
    }
}

impl core::ops::Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_sub(other.nanos).clamp(-LARGEST, LARGEST), format }
    }
}

fn div_up(n: i128, by: i128) -> i64 {
    let q = n / by;
    let q = if n % by != 0 { q + n.signum() } else { q };
    i64::try_from(q).unwrap_or(if q > 0 { i64::MAX } else { i64::MIN })
}

/// Base (2 or 10), exponent and format of a suffix.
fn suffix_scale(suffix: &str) -> Option<(u32, i32, Format)> {
    use Format::*;
    Some(match suffix {
        "" => (10, 0, DecimalSi),
        "n" => (10, -9, DecimalSi),
        "u" => (10, -6, DecimalSi),
        "m" => (10, -3, DecimalSi),
        "k" => (10, 3, DecimalSi),
        "M" => (10, 6, DecimalSi),
        "G" => (10, 9, DecimalSi),
        "T" => (10, 12, DecimalSi),
        "P" => (10, 15, DecimalSi),
        "E" => (10, 18, DecimalSi),
        "Ki" => (2, 10, BinarySi),
        "Mi" => (2, 20, BinarySi),
        "Gi" => (2, 30, BinarySi),
        "Ti" => (2, 40, BinarySi),
        "Pi" => (2, 50, BinarySi),
        "Ei" => (2, 60, BinarySi),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (10, exponent.parse::<i32>().ok().filter(|e| (-40..=40).contains(e))?, DecimalExponent)
        }
    })
}

/// `whole.fraction * base^exponent` in billionths, rounded up, saturating at [`LARGEST`].
fn scale(whole: &str, fraction: &str, base: u32, exponent: i32) -> i128 {
    let whole = whole.trim_start_matches('0');
    if base == 2 {
        // Both parts alone: their digits together could be more than there is room for.
        let units = shifted(whole, "", 9).saturating_mul(1 << exponent);
        let (kept, cut) = fraction.split_at(fraction.len().min(19));
        let part = divided(digits(kept) << exponent, kept.len() as i32 - 9, cut);
        return units.saturating_add(part).min(LARGEST);
    }
    shifted(whole, fraction, exponent + 9)
}

/// `whole.fraction * 10^ten`, rounded up.
fn shifted(whole: &str, fraction: &str, ten: i32) -> i128 {
    let all = [whole, fraction].concat();
    let all = all.trim_start_matches('0');
    // As many digits as there is room for.
    let (kept, cut) = all.split_at(all.len().min(38));
    divided(digits(kept), fraction.len() as i32 - ten - cut.len() as i32, cut)
}

fn digits(text: &str) -> i128 {
    text.bytes().fold(0, |n, c| n * 10 + i128::from(c - b'0'))
}

/// A number, with digits behind it that were cut off, by a power of ten, rounded up.
fn divided(mut value: i128, ten: i32, cut: &str) -> i128 {
    let mut round_up = cut.bytes().any(|c| c != b'0');
    for _ in ten.min(0)..0 {
        if value == 0 || value >= LARGEST {
            break;
        }
        value = value.saturating_mul(10);
    }
    for _ in 0..ten.max(0) {
        if value == 0 {
            break;
        }
        round_up |= value % 10 != 0;
        value /= 10;
    }
    value.saturating_add(i128::from(round_up)).min(LARGEST)
}

impl fmt::Display for Quantity {
    /// Upstream's canonical form: the largest suffix that leaves no fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0");
        }
        let whole = nanos / NANO as u128;
        let exact = nanos.is_multiple_of(NANO as u128);
        if self.format == Format::BinarySi && exact && (whole >= 1024 || self.nanos < 0) {
            let mut value = whole;
            let mut unit = 0;
            while value.is_multiple_of(1024) && unit < 6 {
                value /= 1024;
                unit += 1;
            }
            return write!(f, "{sign}{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][unit]);
        }
        let mut value = nanos;
        let mut exponent = -9i32;
        let most = if self.format == Format::DecimalExponent { i32::MAX } else { 18 };
        while value.is_multiple_of(1000) && exponent < most {
            value /= 1000;
            exponent += 3;
        }
        let suffix: String = match self.format {
            Format::DecimalExponent if exponent != 0 => format!("e{exponent}"),
            Format::DecimalExponent => String::new(),
            _ => match exponent {
                -9 => "n",
                -6 => "u",
                -3 => "m",
                0 => "",
                3 => "k",
                6 => "M",
                9 => "G",
                12 => "T",
                15 => "P",
                _ => "E",
            }
            .to_string(),
        };
        write!(f, "{sign}{value}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Quantity::parse(text).unwrap().to_string()
    }

    #[test]
    fn canonical_forms_are_upstreams() {
        for (text, expected) in [
            ("0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1024Ki", "1Mi"),
            ("1000k", "1M"),
            ("12e6", "12e6"),
            ("0.5Ki", "512"),
            ("-1", "-1"),
            ("1Ei", "1Ei"),
            ("5000000000n", "5"),
            ("1.0000000001", "1000000001n"),
            ("100Mi", "100Mi"),
            ("1500", "1500"),
            ("1e3", "1e3"),
            (".5", "500m"),
            ("5.", "5"),
            ("100000000000000000000", "100E"),
            ("12e24", "12e24"),
            ("3E33", "100e27"),
            ("999999999999999999999999999999999999999999999", "100000000000E"),
            ("0.00000000000000000000000000000000000000000000001", "1n"),
            ("1.00000000000000000000000000000000000000000000000Ei", "1Ei"),
            ("1.5000000000000000000000000000000000000000000000001Ki", "1536000000001n"),
            ("79228162514264337593543950337", "79228162514264337593543950337"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn texts_are_read_back_as_the_same() {
        for text in ["3E33", "1e40", "99999999999999999999999999999999999999999", "1e-40", "7.7Ei"]
        {
            let quantity = Quantity::parse(text).unwrap();
            assert_eq!(Quantity::parse(&quantity.to_string()), Ok(quantity), "{text}");
        }
        let sum = Quantity::parse("1e40").unwrap() + Quantity::parse("1e40").unwrap();
        assert_eq!(sum, Quantity::parse("1e40").unwrap());
    }

    #[test]
    fn bad_quantities_are_refused() {
        for bad in ["", "1Kb", "a", "1.2.3", "1 Gi", "1e5x"] {
            assert_eq!(Quantity::parse(bad).unwrap_err(), FORMAT_ERROR, "{bad}");
        }
        for bad in ["1mm", "--1", "1e"] {
            assert_eq!(Quantity::parse(bad).unwrap_err(), SUFFIX_ERROR, "{bad}");
        }
        // Upstream takes a missing number for zero.
        assert!(Quantity::parse("m").unwrap().is_zero() && Quantity::parse("+").unwrap().is_zero());
    }

    #[test]
    fn values_round_up() {
        assert_eq!(Quantity::parse("100m").unwrap().value(), 1);
        assert_eq!(Quantity::parse("1500u").unwrap().milli_value(), 2);
        assert_eq!(Quantity::parse("1Gi").unwrap().value(), 1 << 30);
        assert!(Quantity::parse("1024Mi").unwrap() == Quantity::parse("1Gi").unwrap());
        assert_eq!(Quantity::parse("9999999999999999999999999999999").unwrap().value(), i64::MAX);
    }
}
