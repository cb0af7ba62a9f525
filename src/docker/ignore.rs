//! `.dockerignore`: which files of a context stay at home, by the rules of moby's `patternmatcher`.

use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// Memory that one expression may take, and what those of a file may add up to: letters, and as many for each.
const LARGEST_REGEX: usize = 1 << 20;
const MOST_LETTERS: usize = 64 << 10;
const LETTERS_EACH: usize = 64;

/// The patterns of one file, in order: the last one that matches wins.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    text: String,
    exception: bool,
    how: How,
}

#[derive(Debug)]
enum How {
    Exact,
    Prefix,
    Suffix,
    Regex(Regex),
}

/// Which patterns matched a folder; what lies in it starts from there.
#[derive(Clone, Debug, Default)]
pub(super) struct Matched(Vec<bool>);

impl Ignore {
    /// Reads `text`, the content of `file`.
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        let mut letters = MOST_LETTERS;
        for (number, line) in text.lines().enumerate() {
            let pattern = parse_line(line, &mut letters).map_err(|why| {
                Error::refused(format!("{}:{}: not a pattern: {}", file.display(), number + 1, line.trim()))
                    .because(why)
                    .hint("correct the line; '#' starts a comment")
            })?;
            patterns.extend(pattern);
        }
        Ok(Self { patterns })
    }

    /// Whether `path` (relative, with `/`) is left out, given what matched its folder.
    pub(super) fn excludes(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut matched = vec![false; self.patterns.len()];
        let mut excluded = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = parent.0.get(index).copied().unwrap_or(false);
            if !hit {
                // A pattern that could change nothing is not looked at, nor remembered for what lies below.
                if pattern.exception != excluded {
                    continue;
                }
                hit = pattern.matches(path);
            }
            matched[index] = hit;
            if hit {
                excluded = !pattern.exception;
            }
        }
        (excluded, Matched(matched))
    }

    /// Whether an exception may bring back something below the excluded folder `path`.
    pub(super) fn may_return_below(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.patterns.iter().filter(|pattern| pattern.exception).any(|pattern| {
            pattern.text.contains(['*', '?', '[', '\\']) || format!("{}/", pattern.text).starts_with(&folder)
        })
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.how {
            How::Exact => path == self.text,
            How::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            How::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            How::Regex(regex) => regex.is_match(path),
        }
    }
}

fn parse_line(line: &str, letters: &mut usize) -> Result<Option<Pattern>, Box<dyn std::error::Error + Send + Sync>> {
    // Only a '#' in the first column starts a comment.
    if line.starts_with('#') {
        return Ok(None);
    }
    let line = line.trim();
    let (exception, text) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    if text.is_empty() {
        return if exception { Err("'!' alone excepts nothing".into()) } else { Ok(None) };
    }
    let cleaned = clean(text);
    let text = match cleaned.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => cleaned,
    };
    // Spaces that the slashes hid go as well: `/ a` and `a /` are `a`.
    let text = if exception { text.trim_end() } else { text.trim() }.to_owned();
    if !is_well_formed(&text) || (exception && text == "/") {
        return Err("a '[' without its ']', an empty class or a '\\' at the end".into());
    }
    let how = compile(&text)?;
    if let How::Regex(regex) = &how {
        let left = letters.checked_sub(LETTERS_EACH + regex.as_str().len());
        *letters = left.ok_or("the wildcards of this file are more than a build needs")?;
    }
    Ok(Some(Pattern { text, exception, how }))
}

/// Whether Go's `filepath.Match` reads it; BuildKit refuses the others.
fn is_well_formed(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let read = match c {
            '\\' => chars.next().is_some(),
            '[' => is_class(&mut chars),
            _ => true,
        };
        if !read {
            return false;
        }
    }
    true
}

/// Reads what follows a `[`, up to its `]`.
fn is_class(chars: &mut Peekable<Chars<'_>>) -> bool {
    let member = |chars: &mut Peekable<Chars<'_>>| match chars.next() {
        None | Some('-' | ']') => false,
        Some('\\') => chars.next().is_some(),
        Some(_) => true,
    };
    chars.next_if_eq(&'^');
    loop {
        if !member(chars) || (chars.next_if_eq(&'-').is_some() && !member(chars)) {
            return false;
        }
        if chars.next_if_eq(&']').is_some() {
            return true;
        }
    }
}

/// `a//b/./c/../d/` as `a/b/d`, as Go's `filepath.Clean` does it.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

fn compile(pattern: &str) -> Result<How, regex::Error> {
    let mut regex = String::from("^");
    let mut how = How::Exact;
    let mut is_regex = false;
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(?:.*/)?");
                    is_regex = true;
                } else if matches!(how, How::Exact) && !is_regex {
                    how = How::Prefix;
                } else {
                    regex.push_str(".*");
                    is_regex = true;
                }
                if first {
                    how = How::Suffix;
                    is_regex = false;
                }
            }
            '*' => {
                is_regex = true;
                regex.push_str("[^/]*");
            }
            '?' => {
                is_regex = true;
                regex.push_str("[^/]");
            }
            '[' | ']' => {
                is_regex = true;
                regex.push(c);
            }
            '\\' => {
                is_regex |= chars.peek().is_some();
                match chars.next() {
                    Some(next) if next.is_alphanumeric() => regex.extend(['\\', next]),
                    Some(next) => regex.push_str(&regex::escape(&next.to_string())),
                    None => regex.push('\\'),
                }
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => regex.extend(['\\', c]),
            c => regex.push(c),
        }
        first = false;
    }
    if !is_regex {
        return Ok(how);
    }
    regex.push('$');
    RegexBuilder::new(&without_sets(&regex)).size_limit(LARGEST_REGEX).build().map(How::Regex)
}

/// In a class, `[`, `&` and `~` stand for themselves in Go's expressions and for sets in this crate's.
fn without_sets(regex: &str) -> String {
    let mut same = String::with_capacity(regex.len());
    let mut inside = false;
    let mut chars = regex.chars();
    while let Some(c) = chars.next() {
        match c {
            '[' | '&' | '~' if inside => same.push('\\'),
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        same.push(c);
        if c == '\\' {
            same.extend(chars.next());
        }
    }
    same
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    /// Whether `path` is left out, walking down to it as the context does.
    fn excluded(patterns: &str, path: &str) -> bool {
        let ignore = Ignore::parse(patterns, Path::new(".dockerignore")).expect(patterns);
        let mut state = (false, Matched::default());
        for (index, _) in path.match_indices('/').chain([(path.len(), "")]) {
            state = ignore.excludes(&path[..index], &state.1);
        }
        state.0
    }

    #[test]
    fn patterns_match_as_mobys_do() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b/a", false),
            ("/a", "a", true),
            ("a/", "a/b", true),
            ("/ a", "a", true),
            ("a /", "a", true),
            ("./a", "a", true),
            ("a/../b", "b", true),
            ("*", "a", true),
            ("*.go", "a/b.go", false),
            ("*/*.go", "a/b.go", true),
            ("**/*.go", "b.go", true),
            ("**/*.go", "a/c/b.go", true),
            ("**", "a/b", true),
            ("**/", "a", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**/a", "x/y/a", true),
            ("**/a", "a", true),
            ("**/a", "ba", false),
            ("**a", "ba", true),
            ("**/a/**", "x/a/y", true),
            ("**/a/**", "a/y", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("?.txt", "a.txt", true),
            ("?.txt", "ab.txt", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "afe", true),
            ("a[[b]e", "a[e", true),
            ("a[b&&c]e", "a&e", true),
            ("a.b", "axb", false),
            ("a*.b", "aXxb", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a b", "a b", true),
            ("  a  ", "a", true),
            ("a\r\nb\r\n", "b", true),
            ("# a\na", "a", true),
            ("#a", "#a", false),
            (" #a", "#a", true),
            ("\u{feff}a", "a", true),
            ("{a}+$", "{a}+$", true),
            ("", "a", false),
        ] {
            assert_eq!(excluded(pattern, path), expected, "{pattern:?} on {path:?}");
        }
    }

    #[test]
    fn the_last_match_wins_and_exceptions_reach_below_excluded_folders() {
        for (patterns, path, expected) in [
            ("*\n!a", "a", false),
            ("*\n!a", "a/x", false),
            ("*\n!a", "b", true),
            ("!a\na", "a", true),
            ("docs\n!docs/README.md", "docs/README.md", false),
            ("docs\n!docs/README.md", "docs/x", true),
            ("docs\n! docs/README.md\ndocs/*", "docs/README.md", true),
            ("*\n!*.md\nx.md", "x.md", true),
            ("*\n!**/*.go", "a/b/c.go", false),
            // Docker 20.10's own client still brought this one back; later ones do not.
            ("**/*.go\n!a/b/c", "a/b/c/x.go", true),
            ("x\n!x/y/z\nx/y", "x/y/z", false),
        ] {
            assert_eq!(excluded(patterns, path), expected, "{patterns:?} on {path:?}");
        }
    }

    #[test]
    fn excluded_folders_are_entered_only_when_something_may_return() {
        let ignore = |text| Ignore::parse(text, Path::new(".dockerignore")).expect("valid");
        assert!(!ignore("node_modules\n!src/a").may_return_below("node_modules"));
        assert!(ignore("a\n!a/b/c").may_return_below("a/b"));
        assert!(ignore("a\n!**/keep").may_return_below("a"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_line() {
        for text in ["a\n!", "a\n[a", "a\n[]a]", "a\n[b-]", "a\n!/", "a\nb\\"] {
            let error = Ignore::parse(text, Path::new("x/.dockerignore")).expect_err(text);
            assert!(error.message.starts_with("x/.dockerignore:2: "), "{}", error.message);
        }
    }

    #[test]
    fn any_input_is_read_or_refused() {
        let mut samples = fuzz::files(&["tests/fixtures", "deploy-k3s"], &["ignore"]);
        samples.extend(
            [
                "# x\n*\n!src\n**/*.go\na/**/b\n?.txt\na[b-d]e\n[^a]\n\\*\n/ a\n./a/../b//c/\n".to_owned(),
                "?".repeat(16_000),
                "**/".repeat(5000) + "a",
                "*a".repeat(8000),
                "[a-\u{10ffff}]".repeat(2000),
                "[^a]?*\n".repeat(2500),
                format!("[{}]", "a-z".repeat(5000)),
                "!a/*\n".repeat(4000),
                "a/../".repeat(4000),
            ]
            .map(String::into_bytes),
        );
        let words = [
            "!", "**", "**/", "*", "?", "[a-z]", "[^", "]", "\\", "/", "..", "\n", "\\d", "\\p", "\\b", "(?i)",
            "{9999}",
        ];
        fuzz::reader(module_path!(), &samples, &words, |input| {
            let Ok(ignore) = Ignore::parse(&String::from_utf8_lossy(input), Path::new(".dockerignore")) else { return };
            let (_, folder) = ignore.excludes("src", &Matched::default());
            for path in
                ["src/main.go", "src/日本", "src/a b/c.txt", "src/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"]
            {
                let _ = (ignore.excludes(path, &folder), ignore.may_return_below(path));
            }
        });
    }
}
