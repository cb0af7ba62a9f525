//! Values that are written down or taken from elsewhere: `{env: NAME}`, `{file: path}`, `{envFile: path, key: NAME}`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::LARGEST;
use super::env_file::{self, Variable};
use super::secrecy::is_secret_name;
use super::source::{Place, Sources};
use super::tree::{Entry, Node, Yaml};
use crate::redact::Redactor;
use crate::suggest::did_you_mean;
use crate::text::text_of;

const SOURCES: [&str; 3] = ["env", "file", "envFile"];

/// Whether `node` is exactly a map that says where a value comes from. A list below `env`, as Kubernetes has it, is
/// none.
pub(super) fn is_reference(node: &Node) -> bool {
    let Some(entries) = node.map() else { return false };
    let has = |key: &str| entries.iter().any(|entry| entry.key == key);
    let known = |entry: &Entry| {
        entry.value.text().is_some()
            && !entry.value.is_null()
            && (SOURCES.contains(&entry.key.as_str())
                || entry.key == "default"
                || (entry.key == "key" && has("envFile")))
    };
    SOURCES.iter().filter(|source| has(source)).count() == 1
        && has("envFile") == has("key")
        && entries.iter().all(known)
}

/// A value as found.
pub(super) struct Found {
    pub text: String,
    /// Where from, in words: `B of prod.env`; empty for a value that is written down.
    pub origin: String,
}

/// Why there is no value.
pub(super) enum Lack {
    /// The place that it should come from does not have it: where from, and what is wrong.
    Missing { origin: String, place: Place, message: String },
    /// It is no value at all; a finding was reported.
    Wrong,
}

/// Reads values, each file once.
pub(super) struct Values<'a> {
    pub sources: &'a Sources,
    redactor: &'a Redactor,
    environment: &'a dyn Fn(&str) -> Option<String>,
    placeholders: Vec<String>,
    env_files: RefCell<HashMap<PathBuf, Rc<Vec<Variable>>>>,
}

impl<'a> Values<'a> {
    /// `placeholders` are texts that no value may contain.
    pub fn new(
        sources: &'a Sources,
        redactor: &'a Redactor,
        environment: &'a dyn Fn(&str) -> Option<String>,
        placeholders: Vec<String>,
    ) -> Self {
        Self { sources, redactor, environment, placeholders, env_files: RefCell::default() }
    }

    /// The text of `node`, which stands under `name`. `None` after a finding.
    pub fn text(&self, node: &Node, name: &str) -> Option<String> {
        match self.find(node, name) {
            Ok(found) => Some(found.text),
            Err(Lack::Wrong) => None,
            Err(Lack::Missing { place, message, .. }) => {
                self.sources.report(place, message);
                None
            }
        }
    }

    /// The text of `node`, or why there is none.
    pub fn find(&self, node: &Node, name: &str) -> Result<Found, Lack> {
        let found = self.look_up(node, name)?;
        let elsewhere = found.origin.split(' ').next().filter(|from| !from.is_empty());
        if elsewhere.is_some_and(|from| is_secret_name(name) || is_secret_name(from)) {
            self.learn(&found.text);
        }
        self.refuse_placeholder(node.place, name, &found.text);
        Ok(found)
    }

    /// The value of `entry`, whose key is a name of the product's: when that promises a secret, the redactor learns the
    /// value even if it is written down here.
    pub fn product_text(&self, entry: &Entry) -> Option<String> {
        let text = self.text(&entry.value, &entry.key)?;
        self.learn_promised(&entry.key, &text);
        Some(text)
    }

    /// Teaches the redactor `value` if its name promises a secret. `key` alone says which secret is meant.
    pub fn learn_promised(&self, name: &str, value: &str) {
        if name != "key" && is_secret_name(name) {
            self.learn(value);
        }
    }

    /// Teaches the redactor.
    pub fn learn(&self, value: &str) {
        self.redactor.learn(value);
    }

    fn look_up(&self, node: &Node, name: &str) -> Result<Found, Lack> {
        match &node.value {
            Yaml::Text { text, .. } if !node.is_null() => Ok(Found { text: text.clone(), origin: String::new() }),
            Yaml::Map(entries) if is_reference(node) => self.follow(entries),
            _ => {
                let hint = if node.is_null() {
                    "write \"\" for an empty text"
                } else {
                    "or {env: …}, {file: …}, {envFile: …, key: …}"
                };
                self.sources.report(node.place, format!("{name} is a text; this is {}: {hint}", node.what()));
                Err(Lack::Wrong)
            }
        }
    }

    fn follow(&self, entries: &[Entry]) -> Result<Found, Lack> {
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let text = |key: &str| get(key).and_then(Node::text);
        let found = match (get("env"), get("file"), get("envFile"), get("key")) {
            (Some(node), ..) => self.in_environment(node),
            (_, Some(node), ..) => self.in_file(node),
            (_, _, Some(file), Some(key)) => self.in_env_file(file, key),
            _ => Err(Lack::Wrong),
        };
        match (found, text("default")) {
            (Err(Lack::Missing { origin, .. }), Some(default)) => Ok(Found { text: default.to_owned(), origin }),
            (found, _) => found,
        }
    }

    fn in_environment(&self, node: &Node) -> Result<Found, Lack> {
        let name = node.text().unwrap_or_default();
        if !env_file::is_variable_name(name) {
            self.sources.report(node.place, format!("{name:?} cannot be the name of an environment variable"));
            return Err(Lack::Wrong);
        }
        let origin = format!("{name} of the environment");
        match (self.environment)(name) {
            Some(text) => Ok(Found { text, origin }),
            None => Err(missing(origin, node.place, format!("the environment variable {name} is not set"))),
        }
    }

    fn in_file(&self, node: &Node) -> Result<Found, Lack> {
        let path = self.sources.path(node.place, node.text().unwrap_or_default());
        let origin = self.sources.shown(&path);
        match self.read(&path) {
            Ok(text) => Ok(Found { text: text.trim_end_matches(['\n', '\r']).to_owned(), origin }),
            Err(message) => Err(missing(origin, node.place, message)),
        }
    }

    fn in_env_file(&self, file: &Node, key: &Node) -> Result<Found, Lack> {
        let name = key.text().unwrap_or_default();
        let written = file.text().unwrap_or_default();
        let origin = format!("{name} of {written}");
        let variables = match self.env_file(file) {
            Ok(variables) => variables,
            Err(message) => return Err(missing(origin, file.place, message)),
        };
        if let Some(variable) = variables.iter().find(|variable| variable.name == name) {
            return Ok(Found { text: variable.value.clone(), origin });
        }
        let near = did_you_mean(name, variables.iter().map(|variable| variable.name.as_str()));
        Err(missing(origin, key.place, format!("{written} has no {name}{near}")))
    }

    /// The variables of the env file that `node` names.
    pub fn env_file(&self, node: &Node) -> Result<Rc<Vec<Variable>>, String> {
        let path = self.sources.path(node.place, node.text().unwrap_or_default());
        if let Some(known) = self.env_files.borrow().get(&path) {
            return Ok(Rc::clone(known));
        }
        let text = self.read(&path)?;
        let variables = Rc::new(env_file::parse(&text, self.sources.add(&path, &text), self.sources));
        self.env_files.borrow_mut().insert(path, Rc::clone(&variables));
        Ok(variables)
    }

    /// The text of a file, or what is wrong.
    pub fn read(&self, path: &Path) -> Result<String, String> {
        text_of(path, LARGEST).map_err(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => format!("the file {} does not exist", self.sources.shown(path)),
            std::io::ErrorKind::InvalidData => format!("the file {} is not UTF-8", self.sources.shown(path)),
            _ => format!("cannot read {}: {cause}", self.sources.shown(path)),
        })
    }

    /// Notes a text that somebody forgot to replace.
    pub fn refuse_placeholder(&self, place: Place, name: &str, text: &str) {
        let declared = self.placeholders.iter().find(|known| !known.is_empty() && text.contains(known.as_str()));
        if let Some(left) = declared.cloned().or_else(|| placeholder(text)) {
            self.sources.report(place, format!("{name} still has the placeholder {left:?}"));
        }
    }
}

fn missing(origin: String, place: Place, message: String) -> Lack {
    Lack::Missing { origin, place, message }
}

/// `CHANGEME` in any spelling, `TODO` as a word, or `<words>`. A mail address or markup in angle brackets is none.
fn placeholder(text: &str) -> Option<String> {
    let folded: String = text.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    if folded.to_ascii_uppercase().contains("CHANGEME") {
        return Some("CHANGEME".into());
    }
    if text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "TODO") {
        return Some("TODO".into());
    }
    let inside = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '…');
    if text.contains("</") {
        return None;
    }
    text.split('<').skip(1).filter_map(|part| Some(part.split_once('>')?.0)).find_map(|words| {
        (words.starts_with(|c: char| c.is_alphabetic() || matches!(c, '.' | '…')) && words.chars().all(inside))
            .then(|| format!("<{words}>"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        let sources = Sources::new(Path::new("/"));
        super::super::tree::parse(text, sources.add(Path::new("/c"), text), &sources).expect(text)
    }

    #[test]
    fn only_exact_maps_are_references() {
        for text in ["{env: A}", "{file: a}", "{envFile: a, key: B}", "{env: A, default: b}", "{file: a, default: ''}"]
        {
            assert!(is_reference(&node(text)), "{text}");
        }
        for text in [
            "{env: [{name: A}]}",
            "{env: {a: b}}",
            "{env: A, image: b}",
            "{key: a, name: b}",
            "{envFile: a}",
            "{env: A, file: b}",
            "{env: A, key: b}",
            "{}",
            "env",
        ] {
            assert!(!is_reference(&node(text)), "{text}");
        }
    }

    #[test]
    fn placeholders_are_told_from_mail_addresses_and_markup() {
        for text in ["CHANGEME", "x-change-me-y", "change_me", "<your token>", "https://<host>/x", "<…>", "TODO: set"]
        {
            assert!(placeholder(text).is_some(), "{text}");
        }
        for text in ["Team <noreply@example.test>", "a < b", "<b>x</b>", "TODOS", "my_TODO_list", "1 <> 2", ""] {
            assert!(placeholder(text).is_none(), "{text}");
        }
    }
}
