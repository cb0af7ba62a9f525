//! One YAML document as kubectl understands it, as JSON. The parser's events are put together here, because what a
//! scalar, a key or a merge means differs between YAML libraries, and a deploy must not.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag as RawTag};

use super::json::{self, Json};
use super::scalar::{Scalar, Tag, resolve};
use crate::text::has_more_values;

/// Values that one file may hold, and levels of lists and mappings inside each other.
const MOST_VALUES: usize = 1_000_000;
const MOST_LEVELS: usize = 100;
/// Memory that the anchors and aliases of one file may take, in bytes.
const MOST_REPEATED: usize = 8 << 20;
/// After so many findings in one file the rest of it is not looked at.
const MOST_WRONG: usize = 20;

const TWICE: &str = "stands here and in line";

/// What is wrong in a text, and where: line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What it is.
    pub message: String,
}

/// One document of a file.
pub struct Document {
    /// Its value; null when it is empty.
    pub value: Value,
    /// Line of its first text, from 1.
    pub line: usize,
}

/// The documents of `text`, each read by itself. Lines count from the beginning of `text`.
///
/// A file that begins with a brace is a sequence of JSON objects, as it is to kubectl, or YAML when it turns out not to
/// be. Text behind the dashes that separate documents is refused, as kubectl does.
pub fn documents(text: &str) -> Vec<Result<Document, Wrong>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let unix = text.contains("\r\n").then(|| text.replace("\r\n", "\n"));
    let text = unix.as_deref().unwrap_or(text);
    let mut found = Found::default();
    let begin = if text.trim_start().starts_with('{') { found.json_objects(text) } else { 0 };
    if begin < text.len() {
        found.yaml_documents(text, begin);
    }
    found.documents
}

/// What a file holds, as far as it was read.
#[derive(Default)]
struct Found {
    documents: Vec<Result<Document, Wrong>>,
    wrong: usize,
    left: Left,
}

impl Found {
    /// Adds a document; false when the rest of the file is not looked at.
    fn push(&mut self, document: Result<Document, Wrong>) -> bool {
        self.wrong += usize::from(document.is_err());
        self.documents.push(document);
        self.wrong < MOST_WRONG
    }

    /// Reads what is JSON at the beginning of `text`, and returns where YAML begins: behind the first value at the
    /// latest, because kubectl takes what begins with two values for JSON to its end.
    fn json_objects(&mut self, text: &str) -> usize {
        if has_more_values(text.as_bytes(), MOST_VALUES) {
            self.push(Err(Wrong { line: 1, column: 1, message: too_many() }));
            return text.len();
        }
        let mut stream = Deserializer::from_str(text).into_iter::<IgnoredAny>();
        let (mut before, mut counted) = (0, 0);
        loop {
            let rest = &text[stream.byte_offset()..];
            let begin = text.len() - rest.trim_start().len();
            before += text[counted..begin].matches('\n').count();
            counted = begin;
            match stream.next() {
                None => return text.len(),
                Some(Ok(_)) => {
                    let read = json_object(&text[begin..stream.byte_offset()], before, &mut self.left);
                    if !self.push(read) {
                        return text.len();
                    }
                }
                Some(Err(error)) if self.documents.len() > 1 => {
                    self.push(Err(json::wrong(&error, 0)));
                    return text.len();
                }
                Some(Err(_)) => return text.len() - rest.trim_start_matches([' ', '\t']).len(),
            }
        }
    }

    /// Reads YAML in `text` from the offset `begin` on.
    fn yaml_documents(&mut self, text: &str, mut begin: usize) {
        let before = text[..begin].matches('\n').count();
        // Line before the document, and offset of the line that is looked at.
        let (mut first, mut at) = (before, begin);
        for (number, line) in text[begin..].split_inclusive('\n').enumerate() {
            let start = at;
            at += line.len();
            let Some(rest) = line.strip_prefix("---") else { continue };
            let read = document(&text[begin..start], first, &mut self.left);
            let mut goes_on = self.push(read);
            (begin, first) = (at, before + number + 1);
            if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
                let message = "only a comment may stand behind the dashes that separate documents".to_owned();
                goes_on = self.push(Err(Wrong { line: first, column: 4, message }));
            }
            if !goes_on {
                return;
            }
        }
        let read = document(&text[begin..], first, &mut self.left);
        self.push(read);
    }
}

/// The JSON value that `part` is, which begins after `before` lines of its file.
fn json_object(part: &str, before: usize, left: &mut Left) -> Result<Document, Wrong> {
    match serde_json::from_str::<Json>(part) {
        Ok(Json(value)) => Ok(Document { value, line: before + 1 }),
        // YAML's reader knows where a key stood before.
        Err(error) => Err(match document(part, before, left) {
            Err(wrong) if wrong.message.contains(TWICE) => wrong,
            _ => json::wrong(&error, before),
        }),
    }
}

fn too_many() -> String {
    format!("the file holds more than {MOST_VALUES} values")
}

/// The document in `part`, which begins after `before` lines of its file.
fn document(part: &str, before: usize, left: &mut Left) -> Result<Document, Wrong> {
    let blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let line = before + 1 + part.lines().take_while(blank).count();
    refuse_foreign(part, before)?;
    let mut options = Options::default();
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(part, options);
    let composer = Composer { part, parser, before, anchors: HashMap::new(), left, level: 0, end: Span::default() };
    Ok(Document { value: composer.document()?, line })
}

/// Characters that kubectl refuses, or takes for line breaks where others see text.
fn refuse_foreign(part: &str, before: usize) -> Result<(), Wrong> {
    let foreign = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
    };
    let Some((at, c)) = part.char_indices().find(|(_, c)| foreign(*c)) else { return Ok(()) };
    let ahead = &part[..at];
    let column = 1 + ahead.chars().rev().take_while(|c| *c != '\n').count();
    let message = format!("U+{:04X} stands here as it is, which kubectl does not read as others do", u32::from(c));
    Err(Wrong { line: before + 1 + ahead.matches('\n').count(), column, message })
}

/// What a file may still grow by.
struct Left {
    values: usize,
    repeated: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self { values: MOST_VALUES, repeated: MOST_REPEATED }
    }
}

struct Composer<'t, 'f> {
    part: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    /// Lines of the file that come before the document.
    before: usize,
    anchors: HashMap<usize, Anchored>,
    left: &'f mut Left,
    level: usize,
    end: Span,
}

/// A value that aliases may repeat; a scalar is kept as such because it may become a key.
struct Anchored {
    node: Node,
    extent: Extent,
}

/// How large a value is.
#[derive(Clone, Copy, Default)]
struct Extent {
    values: usize,
    /// Of memory, about.
    bytes: usize,
    levels: usize,
}

#[derive(Clone)]
enum Node {
    Scalar(Scalar),
    Collection(Value),
}

/// The entries of a mapping as they come.
#[derive(Default)]
struct Entries {
    map: Map<String, Value>,
    /// Lines of the keys that stand here themselves.
    written: HashMap<String, usize>,
}

impl Extent {
    fn of(node: &Node) -> Self {
        match node {
            Node::Scalar(Scalar::Text(text)) => Self { values: 1, bytes: 80 + text.len(), levels: 0 },
            Node::Scalar(_) => Self { values: 1, bytes: 80, levels: 0 },
            Node::Collection(value) => Self::of_value(value),
        }
    }

    fn of_value(value: &Value) -> Self {
        let one = |text: usize| Self { values: 1, bytes: 80 + text, levels: 0 };
        match value {
            Value::String(text) => one(text.len()),
            Value::Array(items) => items.iter().fold(one(0), |all, item| all.with(0, item)),
            // A key takes as much as a value.
            Value::Object(map) => map.iter().fold(one(0), |all, (key, item)| all.with(80 + key.len(), item)),
            _ => one(0),
        }
    }

    fn with(self, key: usize, item: &Value) -> Self {
        let inner = Self::of_value(item);
        Self {
            values: self.values + inner.values,
            bytes: self.bytes + key + inner.bytes,
            levels: self.levels.max(inner.levels + 1),
        }
    }
}

impl<'t> Composer<'t, '_> {
    fn wrong(&self, span: Span, message: impl Into<String>) -> Wrong {
        Wrong { line: self.before + span.start.line(), column: span.start.col() + 1, message: message.into() }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Wrong> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.end = span;
                Ok((event, span))
            }
            Some(Err(error)) => Err(self.wrong(Span::empty(*error.marker()), error.info())),
            None => Err(self.wrong(self.end, "the document ends too early")),
        }
    }

    fn document(mut self) -> Result<Value, Wrong> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd => return Ok(Value::Null),
                event => {
                    let value = self.value(event, span)?;
                    return self.only(value);
                }
            }
        }
    }

    /// kubectl would silently ignore what follows the first document's end.
    fn only(mut self, value: Value) -> Result<Value, Wrong> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(value),
                _ => return Err(self.wrong(span, "content after the document's end; documents are separated by '---'")),
            }
        }
    }

    fn value(&mut self, event: Event<'t>, span: Span) -> Result<Value, Wrong> {
        match self.node(event, span)? {
            Node::Scalar(scalar) => scalar.into_json().map_err(|message| self.wrong(span, message)),
            Node::Collection(value) => Ok(value),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Wrong> {
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if style == ScalarStyle::DoubleQuoted && span.slice(self.part).is_some_and(escapes_slash) {
                    return Err(self.wrong(span, "the escape \\/ is of JSON: a slash needs none"));
                }
                let scalar = resolve(&text, plain, tag_of(tag.as_deref())).map_err(|why| self.wrong(span, why))?;
                (Node::Scalar(scalar), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (self.below(0, span, Self::sequence)?, anchor),
            Event::MappingStart(_, anchor, _) => (self.below(0, span, Self::mapping)?, anchor),
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(self.wrong(span, "a value is expected here")),
        };
        if anchor != 0 {
            let extent = Extent::of(&node);
            self.repeat(extent, span)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), extent });
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Wrong> {
        let Some(extent) = self.anchors.get(&id).map(|anchored| anchored.extent) else {
            return Err(self.wrong(span, "an alias that contains itself"));
        };
        self.count(extent.values, span)?;
        self.repeat(extent, span)?;
        self.below(extent.levels, span, |composer| Ok(composer.anchors[&id].node.clone()))
    }

    /// What `read` reads one level further down, with `levels` below it.
    fn below(
        &mut self,
        levels: usize,
        span: Span,
        read: impl FnOnce(&mut Self) -> Result<Node, Wrong>,
    ) -> Result<Node, Wrong> {
        self.level += 1;
        if self.level + levels > MOST_LEVELS {
            return Err(self.wrong(span, format!("there are more than {MOST_LEVELS} levels")));
        }
        let read = read(self);
        self.level -= 1;
        read
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Wrong> {
        let left = self.left.values.checked_sub(values);
        self.left.values = left.ok_or_else(|| self.wrong(span, too_many()))?;
        Ok(())
    }

    fn repeat(&mut self, extent: Extent, span: Span) -> Result<(), Wrong> {
        let left = self.left.repeated.checked_sub(extent.bytes);
        let message = "the anchors and aliases of the file repeat more than any manifest needs";
        self.left.repeated = left.ok_or_else(|| self.wrong(span, message))?;
        Ok(())
    }

    fn sequence(&mut self) -> Result<Node, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node::Collection(Value::Array(items))),
                (event, span) => items.push(self.value(event, span)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Node, Wrong> {
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Node::Collection(Value::Object(entries.map)));
            }
            let merges = is_merge(&event);
            let key = self.node(event, span)?;
            let (event, at) = self.next()?;
            if merges {
                let sources = self.value(event, at)?;
                entries.merge(sources).map_err(|message| self.wrong(at, message))?;
            } else {
                let key = key_of(key).map_err(|message| self.wrong(span, message))?;
                let line = self.before + span.start.line();
                if let Some(first) = entries.written.insert(key.clone(), line) {
                    return Err(self.wrong(span, format!("the key {key:?} {TWICE} {first}")));
                }
                let value = self.value(event, at)?;
                entries.map.insert(key, value);
            }
        }
    }
}

impl Entries {
    /// kubectl's order: a merge takes effect where it stands, and of several the first wins.
    fn merge(&mut self, sources: Value) -> Result<(), &'static str> {
        match sources {
            Value::Object(entries) => self.map.extend(entries),
            Value::Array(sources) => {
                for source in sources.into_iter().rev() {
                    let Value::Object(entries) = source else { return Err("only mappings can be merged") };
                    self.map.extend(entries);
                }
            }
            _ => return Err("only mappings can be merged"),
        }
        Ok(())
    }
}

/// Whether `quoted` holds `\/`, which kubectl's YAML does not know.
fn escapes_slash(quoted: &str) -> bool {
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next() == Some('/') {
            return true;
        }
    }
    false
}

fn is_merge(event: &Event) -> bool {
    match event {
        Event::Scalar(text, style, _, None) => text == "<<" && *style == ScalarStyle::Plain,
        Event::Scalar(text, _, _, Some(tag)) => text == "<<" && tag.suffix() == "merge",
        _ => false,
    }
}

fn key_of(node: Node) -> Result<String, &'static str> {
    match node {
        Node::Scalar(scalar) => scalar.into_key().ok_or("null and numbers beyond 64 bits cannot be keys"),
        Node::Collection(_) => Err("a list or mapping cannot be a key"),
    }
}

fn tag_of(tag: Option<&RawTag>) -> Tag {
    match tag {
        None => Tag::Absent,
        Some(tag) if tag.handle() == "tag:yaml.org,2002:" => Tag::core(tag.suffix()),
        Some(_) => Tag::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Inputs, and what kubectl's own decoder made of each.
    const RECORDED: &str = include_str!("../../tests/fixtures/yaml/as-kubectl-reads.json");

    /// Where this reader is stricter on purpose, or differs in what no manifest holds.
    const DIFFERENT: [&str; 5] = ["doc-end-dots-more", "dup-conv", "dup-flow", "dup", "ls"];

    fn read(text: &str) -> Value {
        let mut values = Vec::new();
        for document in documents(text) {
            match document {
                Ok(document) if document.value.is_null() => {}
                Ok(document) => values.push(whole(document.value)),
                Err(_) => return "refused".into(),
            }
        }
        Value::Array(values)
    }

    /// Floats without a fraction as integers: JSON does not tell them apart.
    fn whole(value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(whole).collect(),
            Value::Object(map) => map.into_iter().map(|(key, value)| (key, whole(value))).collect(),
            Value::Number(number) if !number.is_i64() => {
                number.as_f64().and_then(super::super::scalar::number_of).unwrap_or(Value::Null)
            }
            other => other,
        }
    }

    #[test]
    fn everything_is_read_as_kubectl_reads_it() {
        let recorded: Map<String, Value> = serde_json::from_str(RECORDED).expect("recordings");
        assert!(recorded.len() > 180);
        let different: Vec<&str> = recorded
            .iter()
            .filter(|(_, entry)| read(entry["yaml"].as_str().expect("a text")) != whole(entry["kubectl"].clone()))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(different, DIFFERENT);
    }

    #[test]
    fn documents_know_their_lines() {
        let all = documents("# a comment\n---\n\na: 1\n--- # more\nb: 2\n---\n# nothing\n");
        let all: Vec<(Value, usize)> = all.into_iter().map(|d| d.expect("fine")).map(|d| (d.value, d.line)).collect();
        assert_eq!(all[1], (json!({"a": 1}), 4));
        assert_eq!(all[2], (json!({"b": 2}), 6));
        let json = documents("{\"a\": 1}\n\n{\"b\": 2}\n");
        assert_eq!(json[1].as_ref().map(|document| document.line).ok(), Some(3));
    }

    #[test]
    fn what_is_larger_or_deeper_than_any_manifest_is_refused() {
        let deep = |levels: usize| format!("b:\n  {}{}\n", "[".repeat(levels), "]".repeat(levels));
        for (text, line, message) in [
            (
                format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1001), "*a, ".repeat(1000)),
                2,
                "the anchors and aliases of the file repeat more than any manifest needs",
            ),
            (format!("{{\"a\": [0{}]}}", ",0".repeat(1_000_000)), 1, "the file holds more than 1000000 values"),
            (deep(100), 2, "there are more than 100 levels"),
        ] {
            let Some(Err(wrong)) = documents(&text).pop() else { panic!("it was read") };
            assert_eq!((wrong.line, wrong.message.as_str()), (line, message));
        }
        assert!(documents(&deep(99))[0].is_ok());
    }

    #[test]
    fn after_many_findings_the_rest_of_a_file_is_not_looked_at() {
        for text in ["a: [\n---\n".repeat(30), "{\"a\": 1, \"a\": 2}\n".repeat(30)] {
            assert_eq!(documents(&text).len(), 20);
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_both_lines() {
        let all = documents("x: 1\n---\na: 1\nb: 2\na: 3\n");
        let Some(Err(wrong)) = all.get(1) else { panic!("it was read") };
        assert_eq!((wrong.line, wrong.column), (5, 1));
        assert_eq!(wrong.message, "the key \"a\" stands here and in line 3");
    }
}
