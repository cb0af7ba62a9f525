//! YAML as a tree that remembers where everything stands.
//!
//! serde-saphyr reads into types; a configuration whose findings shall all be told at once, each in its place, needs
//! the tree first. It is built from the events of the same parser.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::source::{Place, Sources};

/// Aliases multiply; a file that grows beyond this, or deeper, is no configuration.
const MOST_NODES: usize = 10_000;
const MOST_LEVELS: usize = 64;
/// Bytes of all texts, those that anchors and aliases repeat included.
const MOST_TEXT: usize = 4 << 20;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Yaml,
}

/// What a value is, before it is known what it should be.
#[derive(Clone, Debug)]
pub(super) enum Yaml {
    /// A scalar; `plain` when it stands without quotes and so may be a number, a boolean or null.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One line of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    /// Whether it is null: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Yaml::Text { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The entries when it is a map.
    pub fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Yaml::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text when it is a scalar, as written.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn what(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Yaml::Text { .. } => "a text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a map",
        }
    }
}

/// Reads the one document of `text`. `None` after a finding that leaves nothing to go on with; duplicate keys, tags and
/// further documents are findings too, but reading goes on.
pub(super) fn parse(text: &str, file: usize, sources: &Sources) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { parser: Parser::new_from_str(text), file, sources, anchors: HashMap::new(), nodes: 0, text: 0 };
    match reader.document() {
        Ok(root) => Some(root.unwrap_or_else(|| Node { place: Place::start(file), value: Yaml::Map(Vec::new()) })),
        Err((place, message)) => {
            sources.report(place, message);
            None
        }
    }
}

type Stop = (Place, String);

struct Reader<'a, P> {
    parser: P,
    file: usize,
    sources: &'a Sources,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    text: usize,
}

type Next<'i> = Result<(Event<'i>, Span), serde_saphyr::granit_parser::ScanError>;

impl<'i, P: Iterator<Item = Next<'i>>> Reader<'_, P> {
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        while let Some((event, place)) = self.next()? {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    self.sources.report(place, "a configuration is one document; a second one begins here");
                    break;
                }
                event if event.is_node() => root = Some(self.node(event, place, 0)?),
                _ => {}
            }
        }
        Ok(root)
    }

    fn next(&mut self) -> Result<Option<(Event<'i>, Place)>, Stop> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => {}
                Some(Ok((event, span))) => return Ok(Some((event, self.place(&span)))),
                Some(Err(error)) => {
                    let at = *error.marker();
                    return Err((self.place(&Span::empty(at)), format!("no YAML: {}", error.info())));
                }
            }
        }
    }

    fn place(&self, span: &Span) -> Place {
        let (start, end) = (span.start, span.end);
        let width = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { usize::MAX };
        Place { file: self.file, line: start.line(), column: start.col() + 1, width: width.max(1) }
    }

    fn node(&mut self, event: Event<'i>, place: Place, level: usize) -> Result<Node, Stop> {
        let length = if let Event::Scalar(text, ..) = &event { text.len() } else { 0 };
        self.count(place, level, 1, length)?;
        let anchor = event.anchor_id();
        let value = match event {
            Event::Alias(id) => return self.alias(id, place, level),
            Event::Scalar(text, style, _, tag) => self.scalar(text.into_owned(), style, tag.as_deref(), place),
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(tag.as_deref(), place);
                self.list(level)?
            }
            Event::MappingStart(_, _, tag) => {
                self.refuse_tag(tag.as_deref(), place);
                self.map(level)?
            }
            _ => return Err((place, "no YAML: a value is missing here".into())),
        };
        let node = Node { place, value };
        if let Some(id) = anchor {
            let extent = extent(&node);
            self.count(place, level, extent.nodes, extent.text)?;
            self.anchors.insert(id, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, place: Place, level: usize, nodes: usize, text: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        self.text += text;
        if self.nodes > MOST_NODES || self.text > MOST_TEXT || level > MOST_LEVELS {
            return Err((place, "this is larger or deeper than any configuration".into()));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, place: Place, level: usize) -> Result<Node, Stop> {
        let Some(extent) = self.anchors.get(&id).map(extent) else {
            return Err((place, "this alias stands inside the value that it names".into()));
        };
        self.count(place, level + extent.levels, extent.nodes, extent.text)?;
        Ok(self.anchors[&id].clone())
    }

    fn scalar(&self, text: String, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Yaml {
        let is_text = tag.is_some_and(|tag| tag.core_suffix() == Some("str"));
        if !is_text {
            self.refuse_tag(tag, place);
        }
        Yaml::Text { text, plain: style == ScalarStyle::Plain && !is_text }
    }

    fn refuse_tag(&self, tag: Option<&Tag>, place: Place) {
        if let Some(tag) = tag.filter(|tag| tag.suffix() != "!" && !tag.original().is_empty()) {
            self.sources.report(place, format!("the tag {} means nothing here", tag.original()));
        }
    }

    fn list(&mut self, level: usize) -> Result<Yaml, Stop> {
        let mut items = Vec::new();
        while let Some((event, place)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, place, level + 1)?);
        }
        Ok(Yaml::List(items))
    }

    fn map(&mut self, level: usize) -> Result<Yaml, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        while let Some((event, place)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, place, level + 1)?;
            let Some((event, place)) = self.next()? else { break };
            let value = self.node(event, place, level + 1)?;
            match key.value {
                Yaml::Text { text, plain: true } if text == "<<" => merged.push(value),
                Yaml::Text { text, .. } => self.enter(&mut entries, Entry { key: text, place: key.place, value }),
                _ => self.sources.report(key.place, "a key is a text"),
            }
        }
        for node in merged {
            self.merge(&mut entries, node);
        }
        Ok(Yaml::Map(entries))
    }

    fn enter(&self, entries: &mut Vec<Entry>, entry: Entry) {
        match entries.iter().find(|earlier| earlier.key == entry.key) {
            Some(first) => {
                let message = format!("the key {:?} stands here again; first in line {}", entry.key, first.place.line);
                self.sources.report_both(first.place, entry.place, message);
            }
            None => entries.push(entry),
        }
    }

    /// `<<: *defaults` or `<<: [*a, *b]`: what is there already wins.
    fn merge(&self, entries: &mut Vec<Entry>, node: Node) {
        match node.value {
            Yaml::Map(more) => {
                for entry in more {
                    if !entries.iter().any(|known| known.key == entry.key) {
                        entries.push(entry);
                    }
                }
            }
            Yaml::List(maps) if maps.iter().all(|map| map.map().is_some()) => {
                for map in maps {
                    self.merge(entries, map);
                }
            }
            _ => self.sources.report(node.place, "<< takes a map or a list of maps"),
        }
    }
}

/// How much a value is: values in it, bytes of their texts and keys, and levels.
#[derive(Default)]
struct Extent {
    nodes: usize,
    text: usize,
    levels: usize,
}

fn extent(node: &Node) -> Extent {
    let add = |all: Extent, (key, child): (usize, &Node)| {
        let inner = extent(child);
        Extent {
            nodes: all.nodes + inner.nodes,
            text: all.text + key + inner.text,
            levels: all.levels.max(inner.levels + 1),
        }
    };
    let one = Extent { nodes: 1, ..Extent::default() };
    match &node.value {
        Yaml::Text { text, .. } => Extent { text: text.len(), ..one },
        Yaml::List(items) => items.iter().map(|item| (0, item)).fold(one, add),
        Yaml::Map(entries) => entries.iter().map(|entry| (entry.key.len(), &entry.value)).fold(one, add),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<String>) {
        let sources = Sources::new(Path::new("/"));
        let file = sources.add(Path::new("/c.yaml"), text);
        (parse(text, file, &sources), sources.findings())
    }

    fn at(node: &Node, key: &str) -> Node {
        node.map().and_then(|map| map.iter().find(|entry| entry.key == key)).expect(key).value.clone()
    }

    #[test]
    fn places_count_from_one_in_characters() {
        let (root, findings) = read("# a\nä: {b: 'c'}\n");
        assert!(findings.is_empty(), "{findings:?}");
        let value = at(&at(&root.expect("a tree"), "ä"), "b");
        assert_eq!((value.place.line, value.place.column, value.place.width), (2, 8, 3));
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        let (root, findings) = read("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n");
        assert!(findings.is_empty(), "{findings:?}");
        let more = at(&root.expect("a tree"), "more");
        assert_eq!((at(&more, "x").text(), at(&more, "y").text()), (Some("1"), Some("3")));
    }

    #[test]
    fn a_duplicate_key_names_both_lines() {
        let (_, findings) = read("a: 1\nb: 2\na: 3\n");
        assert_eq!(
            findings,
            [
                "c.yaml:3:1: the key \"a\" stands here again; first in line 1\n    1 | a: 1\n      | ^\n    3 | a: 3\n      | ^"
            ]
        );
    }

    #[test]
    fn broken_yaml_tags_and_second_documents_are_findings() {
        for text in
            ["a: [1", "a: *nowhere", "a: !!binary aGk=", "a: 1\n---\nb: 2\n", "? [a]\n: b\n", "a:\n\tb: 1", "&a [*a]"]
        {
            let (_, findings) = read(text);
            assert_eq!(findings.len(), 1, "{text:?}: {findings:?}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_stopped() {
        let line = |n: usize| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n.wrapping_sub(1)).repeat(10));
        let text: String = std::iter::once("a0: &a0 [x, x, x]\n".to_owned()).chain((1..5).map(line)).collect();
        let (root, findings) = read(&text);
        assert!(root.is_none() && findings[0].contains("larger or deeper"), "{findings:?}");
    }

    #[test]
    fn depths_that_no_configuration_has_are_stopped() {
        let (root, findings) = read(&format!("a: {}x{}\n", "[".repeat(70), "]".repeat(70)));
        assert!(root.is_none() && findings[0].contains("larger or deeper"), "{findings:?}");
    }
}
