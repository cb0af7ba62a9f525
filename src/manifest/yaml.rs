//! One YAML document as kubectl understands it, as JSON. The parser's events are put together here, because what a
//! scalar, a key or a merge means differs between YAML libraries, and a deploy must not.

use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Map, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag as RawTag};

use super::json::{self, Json};
use super::scalar::{Scalar, Tag, resolve};

/// Values that one document may grow to by aliases.
const MOST_VALUES: usize = 1_000_000;

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

impl Wrong {
    fn at(span: Span, message: impl Into<String>) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1, message: message.into() }
    }
}

impl From<ScanError> for Wrong {
    fn from(error: ScanError) -> Self {
        let marker = *error.marker();
        Self { line: marker.line(), column: marker.col() + 1, message: error.info() }
    }
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
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut documents = Vec::new();
    let consumed = if text.trim_start().starts_with('{') { json_objects(&text, &mut documents) } else { 0 };
    if consumed < text.len() {
        yaml_documents(&text, consumed, &mut documents);
    }
    documents
}

/// Reads what is JSON at the beginning of `text`, and returns where YAML begins: behind the first value at the latest,
/// because kubectl takes what begins with two values for JSON to its end.
fn json_objects(text: &str, documents: &mut Vec<Result<Document, Wrong>>) -> usize {
    let mut stream = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    loop {
        let rest = &text[stream.byte_offset()..];
        let start = text.len() - rest.trim_start().len();
        match stream.next() {
            None => return text.len(),
            Some(Ok(_)) => documents.push(json_object(text, start, stream.byte_offset())),
            Some(Err(error)) if documents.len() > 1 => {
                documents.push(Err(Wrong { line: error.line(), column: error.column(), message: json::words(&error) }));
                return text.len();
            }
            Some(Err(_)) => return text.len() - rest.trim_start_matches([' ', '\t']).len(),
        }
    }
}

/// The JSON value in `text` from `start` to `end`.
fn json_object(text: &str, start: usize, end: usize) -> Result<Document, Wrong> {
    let before = text[..start].matches('\n').count();
    let part = &text[start..end];
    match serde_json::from_str::<Json>(part) {
        Ok(Json(value)) => Ok(Document { value, line: before + 1 }),
        // YAML's reader knows where a key stood before.
        Err(error) => Err(match document(part, before) {
            Err(wrong) if json::is_twice(&error) => wrong,
            _ => Wrong { line: before + error.line(), column: error.column(), message: json::words(&error) },
        }),
    }
}

fn yaml_documents(text: &str, from: usize, documents: &mut Vec<Result<Document, Wrong>>) {
    let before = text[..from].matches('\n').count();
    let (mut part, mut start) = (String::new(), before);
    for (number, line) in text[from..].split_inclusive('\n').enumerate() {
        let Some(rest) = line.strip_prefix("---") else {
            part.push_str(line);
            continue;
        };
        documents.push(document(&part, start));
        part.clear();
        start = before + number + 1;
        if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
            let message = "only a comment may stand behind the dashes that separate documents".to_owned();
            documents.push(Err(Wrong { line: start, column: 4, message }));
        }
    }
    documents.push(document(&part, start));
}

/// The document in `part`, which begins after `before` lines of its file.
fn document(part: &str, before: usize) -> Result<Document, Wrong> {
    let blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let line = before + 1 + part.lines().take_while(blank).count();
    refuse_foreign(part, before)?;
    // Empty lines in front let the parser count as the file does.
    let value = parse(&("\n".repeat(before) + part))?;
    Ok(Document { value, line })
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

fn parse(text: &str) -> Result<Value, Wrong> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    Composer { text, parser, anchors: HashMap::new(), values: 0, end: Span::default() }.document()
}

struct Composer<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    values: usize,
    end: Span,
}

/// A value that aliases may repeat; a scalar is kept as such because it may become a key.
#[derive(Clone)]
struct Anchored {
    node: Node,
    values: usize,
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
    written: HashMap<String, Span>,
}

impl<'t> Composer<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), Wrong> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.end = span;
                Ok((event, span))
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(Wrong::at(self.end, "the document ends too early")),
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
                _ => return Err(Wrong::at(span, "content after the document's end; documents are separated by '---'")),
            }
        }
    }

    fn value(&mut self, event: Event<'t>, span: Span) -> Result<Value, Wrong> {
        match self.node(event, span)? {
            Node::Scalar(scalar) => scalar.into_json().map_err(|message| Wrong::at(span, message)),
            Node::Collection(value) => Ok(value),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span) -> Result<Node, Wrong> {
        let before = self.values;
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                if style == ScalarStyle::DoubleQuoted && span.slice(self.text).is_some_and(escapes_slash) {
                    return Err(Wrong::at(span, "the escape \\/ is of JSON: a slash needs none"));
                }
                let scalar = resolve(&text, plain, tag_of(tag.as_deref())).map_err(|why| Wrong::at(span, why))?;
                (Node::Scalar(scalar), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Node::Collection(self.sequence()?), anchor),
            Event::MappingStart(_, anchor, _) => (Node::Collection(self.mapping()?), anchor),
            Event::Alias(id) => return self.alias(id, span),
            _ => return Err(Wrong::at(span, "a value is expected here")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), values: self.values - before });
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Wrong> {
        let Some(anchored) = self.anchors.get(&id).cloned() else {
            return Err(Wrong::at(span, "an alias that contains itself"));
        };
        self.count(anchored.values, span)?;
        Ok(anchored.node)
    }

    fn count(&mut self, values: usize, span: Span) -> Result<(), Wrong> {
        self.values += values;
        if self.values > MOST_VALUES {
            return Err(Wrong::at(span, format!("the document holds more than {MOST_VALUES} values")));
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                (event, span) => items.push(self.value(event, span)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, Wrong> {
        let mut entries = Entries::default();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Object(entries.map));
            }
            let merges = is_merge(&event);
            let key = self.node(event, span)?;
            let (event, at) = self.next()?;
            if merges {
                let sources = self.value(event, at)?;
                entries.merge(sources).map_err(|message| Wrong::at(at, message))?;
            } else {
                let key = key_of(key).map_err(|message| Wrong::at(span, message))?;
                let value = self.value(event, at)?;
                entries.insert(key, span, value)?;
            }
        }
    }
}

impl Entries {
    fn insert(&mut self, key: String, span: Span, value: Value) -> Result<(), Wrong> {
        if let Some(first) = self.written.get(&key) {
            let line = first.start.line();
            return Err(Wrong::at(span, format!("the key {key:?} stands here and in line {line}")));
        }
        self.written.insert(key.clone(), span);
        self.map.insert(key, value);
        Ok(())
    }

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

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}|[-a{}\\[\\]:&*!<>|'\"# \\n0-9.]{0,120}") {
            for wrong in documents(&text).into_iter().filter_map(Result::err) {
                proptest::prop_assert!(wrong.line >= 1 && !wrong.message.is_empty());
            }
        }
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
    fn aliases_do_not_multiply_without_end() {
        let text = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1001), "*a, ".repeat(1000));
        let Some(Err(wrong)) = documents(&text).pop() else { panic!("it was read") };
        assert_eq!((wrong.line, wrong.message.as_str()), (2, "the document holds more than 1000000 values"));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_with_both_lines() {
        let all = documents("x: 1\n---\na: 1\nb: 2\na: 3\n");
        let Some(Err(wrong)) = all.get(1) else { panic!("it was read") };
        assert_eq!((wrong.line, wrong.column), (5, 1));
        assert_eq!(wrong.message, "the key \"a\" stands here and in line 3");
    }
}
