//! Secrets are learnt as they are read, and masked wherever text leaves the program.

use std::fmt;
use std::sync::{Arc, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// What stands where a secret stood.
pub const MASK: &str = "•••••";

/// Values shorter than this are masked by field, never by value: they would blacken ordinary words.
const SHORTEST: usize = 8;

/// A text that must not be shown. It prints as [`MASK`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `value` as it is. The redactor has to learn it separately.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Knows every secret value of this run and takes it out of text. Clones share what they know.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    patterns: Vec<String>,
    matcher: Option<AhoCorasick>,
}

impl Redactor {
    /// Learns `value`: itself, line by line when it has several (a PEM key), escaped as in JSON and in URLs, and in
    /// base64 at all three offsets.
    pub fn learn(&self, value: &str) {
        let mut patterns = Vec::new();
        for line in value.lines().map(str::trim).filter(|line| line.len() >= SHORTEST) {
            if !line.starts_with("-----") {
                patterns.extend(forms(line));
            }
        }
        if value.len() >= SHORTEST && value.contains('\n') {
            patterns.extend(forms(value));
        }
        if patterns.is_empty() {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = known.patterns.len();
        for pattern in patterns {
            if !known.patterns.contains(&pattern) {
                known.patterns.push(pattern);
            }
        }
        if known.patterns.len() > before {
            known.matcher = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.patterns).ok();
        }
    }

    /// `object` as it may be shown: the values of a Secret and every known value are masked.
    pub fn object(&self, object: &Value) -> Value {
        let mut shown = object.clone();
        if shown["kind"] == "Secret" {
            for field in ["data", "stringData"] {
                for value in shown.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                    *value = MASK.into();
                }
            }
        }
        self.texts(&mut shown);
        shown
    }

    fn texts(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.texts(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.texts(value)),
            _ => {}
        }
    }

    /// `text` with every known value masked.
    pub fn mask(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &known.matcher {
            Some(matcher) => {
                let mut masked = String::with_capacity(text.len());
                matcher.replace_all_with(text, &mut masked, |_, _, out| {
                    out.push_str(MASK);
                    true
                });
                masked
            }
            None => text.to_owned(),
        }
    }
}

/// The ways in which `value` may appear in a text.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    let json = serde_json::Value::from(value).to_string();
    forms.push(json[1..json.len() - 1].to_owned());
    forms.push(percent_encoded(value));
    for offset in 0..3 {
        forms.extend(base64_inside(value.as_bytes(), offset));
    }
    forms.sort();
    forms.dedup();
    forms
}

fn percent_encoded(value: &str) -> String {
    use fmt::Write as _;
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The characters of a base64 text that depend on `value` alone when `offset` bytes (modulo 3) stand before it.
fn base64_inside(value: &[u8], offset: usize) -> Vec<String> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let first = if offset == 0 { 0 } else { offset + 1 };
    let last = bytes.len() / 3 * 4;
    let inside = |text: String| text.get(first..last.min(text.len())).map(str::to_owned);
    [inside(STANDARD_NO_PAD.encode(&bytes)), inside(URL_SAFE_NO_PAD.encode(&bytes))]
        .into_iter()
        .flatten()
        .filter(|text| text.len() >= SHORTEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "made-up/token+0123 \"quoted\"";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.learn(TOKEN);
        redactor
    }

    #[test]
    fn a_known_value_is_masked_in_every_form() {
        let redactor = redactor();
        let user = base64::engine::general_purpose::STANDARD.encode(format!("admin:{TOKEN}"));
        for text in [
            format!("failed with {TOKEN} at once"),
            serde_json::json!({ "token": TOKEN }).to_string(),
            format!("https://example.test/?q={}", percent_encoded(TOKEN)),
        ] {
            let masked = redactor.mask(&text);
            assert!(masked.contains(MASK) && !masked.contains("0123"), "{masked}");
        }
        let masked = redactor.mask(&format!("Authorization: Basic {user}"));
        let rest = masked.replace(MASK, "");
        assert!(rest.len() < "Authorization: Basic ".len() + 14, "{masked}");
    }

    #[test]
    fn base64_is_masked_at_all_three_offsets() {
        let redactor = redactor();
        for before in ["", "a", "ab", "abc"] {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{TOKEN}after"));
            assert!(redactor.mask(&text).contains(MASK), "{before:?}");
        }
    }

    #[test]
    fn a_key_in_several_lines_is_masked_line_by_line() {
        let redactor = Redactor::default();
        redactor.learn("-----BEGIN PRIVATE KEY-----\nMADEUPMADEUPMADEUP\nTAILTAIL\n-----END PRIVATE KEY-----\n");
        assert_eq!(redactor.mask("line MADEUPMADEUPMADEUP"), format!("line {MASK}"));
        assert_eq!(redactor.mask("-----BEGIN PRIVATE KEY-----"), "-----BEGIN PRIVATE KEY-----");
    }

    #[test]
    fn short_values_do_not_blacken_ordinary_words() {
        let redactor = Redactor::default();
        redactor.learn("admin");
        assert_eq!(redactor.mask("admin"), "admin");
    }

    #[test]
    fn a_secret_never_prints() {
        assert_eq!(format!("{:?}", Secret::new(TOKEN)), MASK);
    }
}
