//! The files that were read, places in them, and findings told with the line that they are about.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use super::secrecy;
use crate::text::beginning;

/// So many findings are told, and so many letters of each.
const MOST_FINDINGS: usize = 100;
const LONGEST_MESSAGE: usize = 1000;
/// Bytes of a line that is shown with its finding.
const LONGEST_LINE: usize = 2000;

/// A stretch of one line of one file. Line and column count from 1, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into [`Sources`].
    pub file: usize,
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

impl Place {
    /// Where `file` begins.
    pub fn start(file: usize) -> Self {
        Self { file, line: 1, column: 1, width: 1 }
    }
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    shown: String,
    lines: Vec<String>,
}

/// Every file that was read, in the order of reading, and what was found wrong in them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    from: PathBuf,
    files: RefCell<Vec<Source>>,
    findings: RefCell<Vec<(Place, Option<Place>, String)>>,
}

impl Sources {
    /// Paths are shown relative to `from` where they lie below it.
    pub fn new(from: &Path) -> Self {
        Self { from: clean(from), ..Self::default() }
    }

    /// Takes in the text of `path`; the result is the `file` of its places.
    pub fn add(&self, path: &Path, text: &str) -> usize {
        let lines = text.lines().map(|line| line.trim_start_matches('\u{feff}').to_owned()).collect();
        let mut files = self.files.borrow_mut();
        files.push(Source { path: path.to_owned(), shown: self.shown(path), lines });
        files.len() - 1
    }

    /// `path` as a person at `from` would write it.
    pub fn shown(&self, path: &Path) -> String {
        shown(path, &self.from).display().to_string()
    }

    /// `text` as a path, counted from the folder of the file that holds `place`.
    pub fn path(&self, place: Place, text: &str) -> PathBuf {
        let files = self.files.borrow();
        let folder = files.get(place.file).and_then(|source| source.path.parent());
        clean(&folder.unwrap_or(&self.from).join(text))
    }

    /// `config.yaml:41`.
    pub fn origin(&self, place: Place) -> String {
        let files = self.files.borrow();
        let name = files.get(place.file).and_then(|source| source.path.file_name());
        format!("{}:{}", name.unwrap_or_default().to_string_lossy(), place.line)
    }

    /// Notes that something is wrong at `place`.
    pub fn report(&self, place: Place, message: impl Into<String>) {
        self.findings.borrow_mut().push((place, None, message.into()));
    }

    /// The same, where an earlier place belongs to it.
    pub fn report_both(&self, first: Place, place: Place, message: impl Into<String>) {
        self.findings.borrow_mut().push((place, Some(first), message.into()));
    }

    /// Everything that was reported, in the order of files and lines.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = self.findings.borrow().clone();
        findings.sort();
        findings.dedup();
        let told = findings.iter().take(MOST_FINDINGS);
        let mut texts: Vec<String> = told.map(|(place, first, message)| self.tell(*place, *first, message)).collect();
        if findings.len() > MOST_FINDINGS {
            texts.push(format!("and {} more", findings.len() - MOST_FINDINGS));
        }
        texts
    }

    fn tell(&self, place: Place, first: Option<Place>, message: &str) -> String {
        let files = self.files.borrow();
        let Some(source) = files.get(place.file) else { return message.to_owned() };
        let message = beginning(message, LONGEST_MESSAGE);
        let mut text = format!("{}:{}:{}: {message}", source.shown, place.line, place.column);
        if let Some(first) = first.filter(|first| first.file == place.file) {
            text.push_str(&excerpt(source, first));
        }
        text.push_str(&excerpt(source, place));
        text
    }
}

/// The line and a mark under the place. A line that gives a secret is shown without it: the redactor does not mask
/// short values, and a file that cannot be parsed has taught it nothing.
fn excerpt(source: &Source, place: Place) -> String {
    let Some(line) = source.lines.get(place.line.saturating_sub(1)) else { return String::new() };
    if line.len() > LONGEST_LINE {
        return String::new();
    }
    let line = secrecy::without_value(line);
    let length = line.chars().count();
    let before = place.column.saturating_sub(1);
    let width = place.width.min(length.saturating_sub(before)).max(1);
    let indent: String = line.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let mut text = format!("\n{:>5} | {}", place.line, line.trim_end());
    if before <= length {
        let _ = write!(text, "\n      | {indent}{}", "^".repeat(width));
    }
    text
}

/// `path` as a person at `from` would write it: relative where it lies below.
pub(crate) fn shown(path: &Path, from: &Path) -> PathBuf {
    let path = clean(path);
    match path.strip_prefix(from) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_owned(),
        _ => path,
    }
}

/// `path` without `.` and with each `..` taken off the folder before it, as a shell does: a link is not followed, so
/// that the path stays the one that the person wrote.
pub(super) fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut cleaned, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir if cleaned.file_name().is_some() => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            other => cleaned.push(other),
        }
        cleaned
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_line_and_column_and_marks_the_place() {
        let sources = Sources::new(Path::new("/srv/product"));
        let file = sources.add(Path::new("/srv/product/deploy-k3s/config.yaml"), "a: 1\n  servces:\n");
        sources.report(Place { file, line: 2, column: 3, width: 7 }, "unknown key \"servces\"");
        assert_eq!(
            sources.findings(),
            ["deploy-k3s/config.yaml:2:3: unknown key \"servces\"\n    2 |   servces:\n      |   ^^^^^^^"]
        );
    }

    #[test]
    fn a_secret_is_not_shown_with_its_line() {
        let sources = Sources::new(Path::new("/"));
        let file = sources.add(Path::new("/c.yaml"), "  password: s3cr3t'\nAPI_TOKEN=abc\n");
        sources.report(Place { file, line: 1, column: 13, width: 7 }, "wrong");
        sources.report(Place { file, line: 2, column: 11, width: 3 }, "wrong");
        let told = sources.findings().join("\n");
        assert!(!told.contains("s3cr3t") && !told.contains("abc"), "{told}");
    }

    #[test]
    fn paths_are_cleaned_as_a_shell_does() {
        for (path, cleaned) in [("/a/b/../c/./d", "/a/c/d"), ("/../a", "/a"), ("../a", "../a"), ("a/../../b", "../b")] {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned));
        }
    }
}
