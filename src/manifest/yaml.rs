//! YAML text to JSON values, with the numbers, booleans and keys that kubectl's reader makes of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// One document of a file.
pub struct Document {
    /// Its value; null when it is empty.
    pub value: Value,
    /// Line of its first text, from 1.
    pub line: usize,
}

/// What is wrong with a document.
#[derive(Debug)]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    /// From 1; 0 when unknown.
    pub column: usize,
    /// What it is.
    pub message: String,
}

/// Splits `text` as kubectl does: a line that begins with `---` ends a document, whatever else stands on it.
pub fn documents(text: &str) -> Vec<Result<Document, Wrong>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return vec![parse(text, 0)];
    }
    let mut documents = Vec::new();
    let mut start = 0;
    let mut part = String::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with("---") && number > 0 {
            documents.push(parse(&part, start));
            part.clear();
            start = number + 1;
        } else {
            part.push_str(line);
        }
    }
    documents.push(parse(&part, start));
    documents
}

/// Parses one document that begins after `before` lines of its file.
fn parse(text: &str, before: usize) -> Result<Document, Wrong> {
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.starts_with("---");
    let line = before + 1 + text.lines().take_while(|line| blank(line)).count();
    if text.lines().all(blank) {
        return Ok(Document { value: Value::Null, line });
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Yaml>(text, options) {
        Ok(Yaml(value)) => Ok(Document { value, line }),
        Err(error) => Err(wrong(&error, before)),
    }
}

fn wrong(error: &serde_saphyr::Error, before: usize) -> Wrong {
    let at = |location: serde_saphyr::Location| (usize::try_from(location.line()).unwrap_or(0), location.column());
    let (line, column) = error.location().map_or((1, 0), at);
    let mut message = error.to_string();
    // The text ends in the place, counted from the document; ours counts from the file.
    if let Some((words, place)) = message.rsplit_once(" at line ").or_else(|| message.rsplit_once(": line "))
        && place.starts_with(|c: char| c.is_ascii_digit())
    {
        message = words.to_owned();
    }
    Wrong { line: before + line, column: usize::try_from(column).unwrap_or(0), message }
}

/// A value as kubectl's YAML-to-JSON conversion makes it.
struct Yaml(Value);

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor).map(Self)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    /// JSON knows one kind of number: what is whole is written so.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "checked to be whole and small")]
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        const EXACT: f64 = (1_u64 << 53) as f64;
        if value.fract() == 0.0 && value.abs() < EXACT {
            return Ok((value as i64).into());
        }
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that JSON cannot hold"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Value, E> {
        std::str::from_utf8(value).map(Value::from).map_err(|_| E::custom("bytes that are no text"))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Yaml(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Yaml(key), Yaml(value))) = entries.next_entry()? {
            let name = match key {
                Value::String(text) => text,
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                _ => return Err(A::Error::custom("a key that is neither text, number nor boolean")),
            };
            if map.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("the key {name:?} stands here twice")));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(text: &str) -> Value {
        let mut all = documents(text);
        assert_eq!(all.len(), 1, "{text:?}");
        all.remove(0).expect("a document").value
    }

    #[test]
    fn numbers_and_booleans_are_those_of_yaml_1_1() {
        for (text, value) in [
            ("0400", json!(256)),
            ("010", json!(8)),
            ("089", json!(89)),
            ("yes", json!(true)),
            ("NO", json!(false)),
            ("on", json!(true)),
            ("1_000", json!(1000)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("0.5", json!(0.5)),
            ("0x1F", json!(31)),
            ("'yes'", json!("yes")),
            ("12:30:45", json!("12:30:45")),
            ("2001-01-01", json!("2001-01-01")),
            ("!!binary aGk=", json!("hi")),
            ("~", json!(null)),
            ("18446744073709551615", json!(u64::MAX)),
        ] {
            assert_eq!(one(&format!("a: {text}\n")), json!({"a": value}), "{text}");
        }
        assert!(documents("a: .inf\n")[0].is_err());
    }

    #[test]
    fn keys_are_texts_whatever_they_look_like() {
        assert_eq!(one("1: a\ntrue: b\n1.5: c\n"), json!({"1": "a", "true": "b", "1.5": "c"}));
        assert_eq!(one("base: &b {x: 1}\nhere: {<<: *b, z: 2}\n")["here"], json!({"x": 1, "z": 2}));
    }

    #[test]
    fn documents_are_split_at_dashes_and_know_their_lines() {
        let all = documents("# a comment\n---\n\na: 1\n--- # more\nb: 2\n---\n# nothing\n");
        let all: Vec<(Value, usize)> = all.into_iter().map(|d| d.expect("fine")).map(|d| (d.value, d.line)).collect();
        assert_eq!(all[1], (json!({"a": 1}), 4));
        assert_eq!(all[2], (json!({"b": 2}), 6));
        assert_eq!((all[0].0.clone(), all[3].0.clone()), (Value::Null, Value::Null));
        assert_eq!(one("---\na: 1\n"), json!({"a": 1}));
        assert_eq!(one("\u{feff}a: 1\r\nb: x\r\n"), json!({"a": 1, "b": "x"}));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_its_line() {
        let all = documents("x: 1\n---\na: 1\nb: 2\na: 3\n");
        let Err(wrong) = &all[1] else { panic!("it was read") };
        assert_eq!(wrong.line, 5, "{}", wrong.message);
        assert!(wrong.message.contains('a'), "{}", wrong.message);
    }
}
