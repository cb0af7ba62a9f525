//! Quantities of resources, as Kubernetes writes them. The API server refuses a wrong one without saying where it stands.

use serde_json::Value;

const SUFFIXES: [&str; 16] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Whether `value` is a number with or without a suffix: `2`, `0.5`, `100m`, `64Mi`, `1e3`.
pub fn is_quantity(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::String(text) => is_written(text),
        _ => false,
    }
}

fn is_written(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    digits > 0 && number.len() - digits <= 1 && (SUFFIXES.contains(&suffix) || is_exponent(suffix))
}

/// How many billionths it is that the API server writes as `text`: the same for `1Gi` and `1073741824`. It writes no fractions.
pub fn amount(text: &str) -> Option<i128> {
    let end = text.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
    let (number, unit) = match text.split_once('e') {
        Some((number, exponent)) => (number, 10_i128.checked_pow(exponent.parse::<u32>().ok()?.checked_add(9)?)?),
        None => (&text[..end], unit(&text[end..])?),
    };
    number.parse::<i128>().ok()?.checked_mul(unit)
}

/// In billionths.
fn unit(suffix: &str) -> Option<i128> {
    let power =
        |suffixes: &[&str]| (0_u32..).zip(suffixes).find(|(_, known)| **known == suffix).map(|(power, _)| power);
    let decimal = power(&["n", "u", "m", "", "k", "M", "G", "T", "P", "E"]).map(|power| 1000_i128.pow(power));
    let binary = || power(&["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]).map(|power| 1024_i128.pow(power) * 1_000_000_000);
    decimal.or_else(binary)
}

fn is_exponent(suffix: &str) -> bool {
    let power = suffix.strip_prefix(['e', 'E']).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    power.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_the_same_in_every_unit() {
        for (one, other) in [
            ("1Gi", "1073741824"),
            ("128Mi", "134217728"),
            ("1500m", "1500000u"),
            ("129e6", "129M"),
            ("2", "2000m"),
            ("-3k", "-3000"),
            ("1E", "1000P"),
            ("7n", "7n"),
        ] {
            assert!(amount(one).is_some(), "{one}");
            assert_eq!(amount(one), amount(other), "{one} {other}");
        }
        assert_ne!(amount("1Gi"), amount("1G"));
        for text in ["", "m", "abc", "1.5", "1_", "1e", "1ei", "99999999999999999999999999999E"] {
            assert_eq!(amount(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_numbers_with_a_known_suffix() {
        for text in
            ["0", "2", "0.5", ".5", "5.", "100m", "64Mi", "1Gi", "+1", "-1", "1e3", "1E-3", "1E", "12k", "7n", "9u"]
        {
            assert!(is_quantity(&json!(text)), "{text}");
        }
        for text in ["", "m", "5mm", "64MB", "1 Gi", "64mi", "1.2.3", "1e", "1e+", "abc", "0x10", "1_000", "64MI", "."]
        {
            assert!(!is_quantity(&json!(text)), "{text}");
        }
        assert!(is_quantity(&json!(2)) && is_quantity(&json!(0.5)));
        assert!(!is_quantity(&json!(true)) && !is_quantity(&json!(null)) && !is_quantity(&json!({})));
    }
}
