//! Secrets are learnt as they are read, and masked wherever text leaves the program.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::text::{CUT, plain_lines};

/// What stands where a secret stood.
pub const MASK: &str = "•••••";

/// Values shorter than this are masked by field, never by value: they would blacken ordinary words.
const SHORTEST: usize = 8;
/// Bytes of a value that are learnt, and how many of them are looked for at once.
const LONGEST_VALUE: usize = 64 << 10;
const LONGEST_PIECE: usize = 1 << 10;

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
    patterns: HashSet<String>,
    /// Made when it is first needed after something was learnt; `None` inside when that is not possible.
    finder: OnceLock<Option<Finder>>,
}

impl Redactor {
    /// Learns `value`: itself, line by line when it has several (a PEM key), as it is shown, escaped as in JSON and in
    /// URLs, and in base64 at all three offsets. Of a value that is a whole file, its beginning is learnt.
    pub fn learn(&self, value: &str) {
        let value = &value[..value.floor_char_boundary(LONGEST_VALUE)];
        let mut patterns = Vec::new();
        for line in value.split(['\n', '\r']).map(str::trim).filter(|line| line.len() >= SHORTEST) {
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
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.patterns.len();
        known.patterns.extend(patterns.iter().flat_map(|pattern| pieces(pattern)));
        if known.patterns.len() > before {
            known.finder = OnceLock::new();
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

    /// `text` without every known value, and without the parts of known values that were left beside a cut.
    pub fn mask(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if known.patterns.is_empty() {
            return text.to_owned();
        }
        match known.finder.get_or_init(|| Finder::new(known.patterns.iter().cloned().collect())) {
            Some(finder) => finder.mask(text),
            None => MASK.to_owned(),
        }
    }

    /// What may be shown of `text`: without values, and without what would move a cursor. Taking that out may tear values
    /// apart, and join what stood apart.
    pub fn shown(&self, text: &str) -> String {
        self.mask(&plain_lines(&self.mask(text)))
    }
}

/// Finds patterns by their first letters, and what a cut has left of them by their last ones as well.
struct Finder {
    patterns: Vec<String>,
    heads: AhoCorasick,
    tails: AhoCorasick,
}

impl Finder {
    fn new(patterns: Vec<String>) -> Option<Self> {
        let heads = patterns.iter().map(|pattern| &pattern[..pattern.ceil_char_boundary(SHORTEST)]);
        let tails = patterns.iter().map(|pattern| &pattern[pattern.floor_char_boundary(pattern.len() - SHORTEST)..]);
        let (heads, tails) = (AhoCorasick::new(heads).ok()?, AhoCorasick::new(tails).ok()?);
        Some(Self { patterns, heads, tails })
    }

    fn mask(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut shown = 0;
        for found in self.found(text) {
            if found.start >= shown {
                masked.push_str(&text[shown..found.start]);
                masked.push_str(MASK);
            }
            shown = shown.max(found.end);
        }
        masked + &text[shown..]
    }

    /// Where something of a known value stands, by beginnings. Stretches may overlap.
    fn found(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for hit in self.heads.find_overlapping_iter(text) {
            let (pattern, start) = (&self.patterns[hit.pattern()], hit.start());
            let end = start + same_beginning(&text[start..], pattern);
            if end - start == pattern.len() || text[end..].starts_with(CUT) {
                found.push(start..end);
            } else if let Some(cut) = text[start..end].rfind(CUT) {
                // What looks like a letter of the value may be the mark.
                found.push(start..start + cut);
            }
        }
        if text.contains(CUT) {
            for hit in self.tails.find_overlapping_iter(text) {
                let end = hit.end();
                let start = end - same_end(&text[..end], &self.patterns[hit.pattern()]);
                if text[..start].ends_with(CUT) {
                    found.push(start..end);
                } else if let Some(cut) = text[start..end].find(CUT) {
                    found.push(start + cut..end);
                }
            }
        }
        found.sort_unstable_by_key(|found| found.start);
        found
    }
}

/// How many bytes both begin with.
fn same_beginning(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}

/// How many bytes both end with.
fn same_end(one: &str, other: &str) -> usize {
    one.chars().rev().zip(other.chars().rev()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum()
}

/// `pattern` in parts that are quickly compared; each may be masked by itself.
fn pieces(pattern: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while rest.len() > LONGEST_PIECE + SHORTEST {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(LONGEST_PIECE));
        pieces.push(piece.to_owned());
        rest = behind;
    }
    pieces.push(rest.to_owned());
    pieces
}

/// The ways in which `value` may appear in a text.
fn forms(value: &str) -> Vec<String> {
    let words = value.split_whitespace().collect::<Vec<_>>().join(" ");
    // Sentences are told without their full stop.
    let mut forms = vec![value.trim_end_matches('.').to_owned(), value.to_owned(), plain_lines(value), words];
    let json = serde_json::Value::from(value).to_string();
    forms.push(json[1..json.len() - 1].to_owned());
    forms.push(percent_encoded(value));
    for offset in 0..3 {
        forms.extend(base64_inside(value.as_bytes(), offset));
    }
    forms.retain(|form| form.len() >= SHORTEST);
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

/// Whether eight bytes of `secret`, wherever in it, stand in `text`. Marks of a cut do not count: they may stand for themselves.
#[cfg(test)]
pub fn leaks(text: &str, secret: &str) -> bool {
    let ends = |start: usize| secret[start..].char_indices().map(move |(at, c)| start + at + c.len_utf8());
    let own = |piece: &str| piece.len() - piece.matches(CUT).count() * CUT.len_utf8();
    let piece = |start: usize| ends(start).map(|end| &secret[start..end]).find(|piece| own(piece) >= SHORTEST);
    secret.char_indices().filter_map(|(start, _)| piece(start)).any(|piece| text.contains(piece))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{beginning, both_ends};
    use proptest::prelude::*;

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

    #[test]
    fn values_that_overlap_are_masked_together() {
        let redactor = Redactor::default();
        redactor.learn("made-up-one-SHARED-PART");
        redactor.learn("SHARED-PART-and-another");
        assert_eq!(redactor.mask("a made-up-one-SHARED-PART-and-another b"), format!("a {MASK} b"));
    }

    #[test]
    fn what_is_joined_by_taking_out_escapes_is_masked() {
        let text = TOKEN.replace("+0123", "\u{1b}[0m+01\u{7}23");
        let shown = redactor().shown(&format!("{text}\tx"));
        assert_eq!(shown, format!("{MASK}    x"));
    }

    #[test]
    fn a_value_that_is_a_long_file_is_learnt_quickly_and_masked_in_parts() {
        let redactor = Redactor::default();
        let lines = crate::fuzz::many(20_000, |number| format!("made-up line {number}\n"));
        let line = "0123456789".repeat(10_000);
        redactor.learn(&lines);
        redactor.learn(&line);
        assert!(!redactor.mask(&line[..60_000]).contains("0123456789"));
        assert_eq!(redactor.mask("made-up line 2000"), MASK);
    }

    proptest! {
        #[test]
        fn no_piece_of_a_secret_is_left_wherever_it_is_cut(
            secret in "[A-Z0-9+/=…é日\"\\\\%\u{1}]{8,90}",
            before in "[a-z \n]{0,60}…?",
            behind in "…?[a-z \n]{0,60}",
            letters in 0..200_usize,
        ) {
            let redactor = Redactor::default();
            redactor.learn(&secret);
            let text = format!("{before}{secret}{behind}");
            for text in [text.clone(), beginning(&text, letters), both_ends(&text, letters)] {
                for shown in [redactor.mask(&text), redactor.shown(&text)] {
                    prop_assert!(!leaks(&shown, secret.trim()), "{shown:?}");
                    prop_assert!(!leaks(&shown, &plain_lines(secret.trim())), "{shown:?}");
                }
            }
        }

        #[test]
        fn text_without_secrets_stays_as_it_is(text in "[a-z \n…]{0,200}") {
            prop_assert_eq!(redactor().mask(&text), text);
        }
    }
}
