//! Maps with known keys: everything that is asked for is checked, and everything else is a finding.

use std::path::PathBuf;

use super::source::Place;
use super::tree::{Entry, Node, Yaml};
use super::value::Values;
use crate::suggest::{did_you_mean, nearest};

/// One map of the configuration.
pub(super) struct Fields<'a> {
    values: &'a Values<'a>,
    /// What it is called in messages: `services.api`; empty for the whole file.
    name: String,
    place: Place,
    entries: &'a [Entry],
    /// Known keys that unknown ones were probably meant to be.
    meant: Vec<String>,
}

impl<'a> Fields<'a> {
    /// `node` as a map that may have `known` keys. `None` after a finding when it is no map.
    pub fn open(values: &'a Values<'a>, node: &'a Node, name: &str, known: &[&str]) -> Option<Self> {
        let entries = entries(values, node, name)?;
        let mut meant = Vec::new();
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let near = did_you_mean(&entry.key, known.iter().copied());
            values.sources.report(entry.place, format!("unknown key {:?}{near}", entry.key));
            meant.extend(nearest(&entry.key, known.iter().copied()).first().map(|&key| key.to_owned()));
        }
        Some(Self { values, name: name.to_owned(), place: node.place, entries, meant })
    }

    /// What `key` is called in messages.
    pub fn name_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Where the map begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The value of `key`, if there is one.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value).filter(|node| !node.is_null())
    }

    /// The value of `key`; that there is none is a finding, unless a mistyped key was told already.
    pub fn required(&self, key: &str) -> Option<&'a Node> {
        let found = self.get(key);
        if found.is_none() && !self.meant.iter().any(|meant| meant == key) {
            let message = format!("{} is missing", self.name_of(key));
            self.values.sources.report(self.place, message);
        }
        found
    }

    /// A text that may be absent.
    pub fn text(&self, key: &str) -> Option<String> {
        self.values.text(self.get(key)?, &self.name_of(key))
    }

    /// A text that may not be absent or empty.
    pub fn required_text(&self, key: &str) -> Option<String> {
        let node = self.required(key)?;
        let text = self.values.text(node, &self.name_of(key))?;
        if text.trim().is_empty() {
            self.values.sources.report(node.place, format!("{} is empty", self.name_of(key)));
            return None;
        }
        Some(text)
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> bool {
        let Some(text) = self.text(key) else { return false };
        text.parse().unwrap_or_else(|_| {
            self.report(key, format!("{} is true or false", self.name_of(key)));
            false
        })
    }

    /// A path, counted from the file in which it stands.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let node = self.get(key)?;
        let text = self.values.text(node, &self.name_of(key))?;
        Some(self.values.sources.path(node.place, &text))
    }

    /// The items of a list that may be absent.
    pub fn list(&self, key: &str) -> &'a [Node] {
        self.get(key).map_or(&[], |node| items(self.values, node, &self.name_of(key)))
    }

    /// The texts of a list that may be absent, with their places.
    pub fn texts(&self, key: &str) -> Vec<(Place, String)> {
        texts(self.values, self.list(key), &self.name_of(key))
    }

    /// The entries of a map that may be absent.
    pub fn map(&self, key: &str) -> &'a [Entry] {
        self.get(key).and_then(|node| entries(self.values, node, &self.name_of(key))).unwrap_or_default()
    }

    /// Notes that the value of `key` is wrong.
    pub fn report(&self, key: &str, message: impl Into<String>) {
        let place = self.get(key).map_or(self.place, |node| node.place);
        self.values.sources.report(place, message);
    }
}

fn entries<'a>(values: &Values<'_>, node: &'a Node, name: &str) -> Option<&'a [Entry]> {
    let entries = node.map();
    if entries.is_none() {
        let name = if name.is_empty() { "a configuration" } else { name };
        values.sources.report(node.place, format!("{name} is a map; this is {}", node.what()));
    }
    entries
}

/// The items of `node`; that it is no list is a finding.
pub(super) fn items<'a>(values: &Values<'_>, node: &'a Node, name: &str) -> &'a [Node] {
    if let Yaml::List(items) = &node.value {
        return items;
    }
    values.sources.report(node.place, format!("{name} is a list; this is {}", node.what()));
    &[]
}

/// The texts of `nodes`, with their places.
pub(super) fn texts(values: &Values<'_>, nodes: &[Node], name: &str) -> Vec<(Place, String)> {
    nodes.iter().filter_map(|node| Some((node.place, values.text(node, name)?))).collect()
}
