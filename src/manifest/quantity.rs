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

fn is_exponent(suffix: &str) -> bool {
    let power = suffix.strip_prefix(['e', 'E']).map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
    power.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
