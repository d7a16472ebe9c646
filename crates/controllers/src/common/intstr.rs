//! `intstr.IntOrString` as a share of a whole.

use timonier_object::Value;

/// The value as a number, percentages of `total` rounded up or down; `default` where it is unset
/// or malformed.
pub fn scaled(value: &Value, total: i64, round_up: bool, default: i64) -> i64 {
    if let Some(n) = value.as_i64() {
        return n;
    }
    let percent =
        value.as_str().and_then(|s| s.strip_suffix('%')).and_then(|s| s.parse::<i64>().ok());
    let Some(percent) = percent else { return default };
    let product = percent.saturating_mul(total);
    if round_up { product.saturating_add(99) / 100 } else { product / 100 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        assert_eq!(scaled(&Value::from("25%"), 3, true, 0), 1);
        assert_eq!(scaled(&Value::from("25%"), 3, false, 0), 0);
        assert_eq!(scaled(&Value::from(2), 3, false, 0), 2);
        assert_eq!(scaled(&Value::from("x"), 3, false, 7), 7);
    }
}
