//! Text from outside: read up to a limit, made fit to be shown, and shortened where everybody sees it.

use std::fs::File;
use std::io::{self, Read as _};
use std::iter::Peekable;
use std::path::Path;
use std::str::CharIndices;

/// Stands where something was cut off. Beside it the redactor looks for parts of secrets.
pub const CUT: char = '…';

/// The content of `file`, if it is no longer than `most` bytes: a device or a pipe may go on for ever.
///
/// # Errors
/// What the system says, and `FileTooLarge`.
pub fn bytes_of(file: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let size = if most >> 20 > 0 { format!("{} MiB", most >> 20) } else { format!("{} KiB", most >> 10) };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {size}")));
    }
    Ok(bytes)
}

/// [`bytes_of`] as text.
///
/// # Errors
/// As there, and `InvalidData` for what is not UTF-8.
pub fn text_of(file: &Path, most: usize) -> io::Result<String> {
    let text = String::from_utf8(bytes_of(file, most)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The first line of `bytes` that is not UTF-8, from 1.
pub fn line_beyond_utf8(bytes: &[u8]) -> Option<usize> {
    let before = str::from_utf8(bytes).err()?.valid_up_to();
    Some(bytes[..before].split(|byte| *byte == b'\n').count())
}

/// Whether `json` may hold more than `most` values: each takes many times the memory of its letters.
pub fn has_more_values(json: &[u8], most: usize) -> bool {
    // Every value but the first follows one of these.
    json.iter().filter(|byte| b",:[{".contains(byte)).count() >= most
}

/// One line as a terminal would show it at last: of what carriage returns overwrote only the last, and nothing that
/// would move the cursor or change colours.
pub fn plain(line: &str) -> String {
    let bare = without_escapes(line);
    let last = bare.trim_end().rsplit('\r').next().unwrap_or_default();
    last.replace('\t', "    ").chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned()
}

/// [`plain`], line by line.
pub fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn without_escapes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.char_indices().peekable();
    while let Some((_, c)) = chars.next() {
        if c == '\u{1b}' {
            escape(&mut chars);
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Skips an escape sequence, of which a cut may have left the beginning only: the mark stays.
fn escape(chars: &mut Peekable<CharIndices<'_>>) {
    let mut next = || chars.next_if(|(_, c)| *c != CUT).map(|(_, c)| c);
    match next() {
        Some('[') => while next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
        // A title or link: until BEL, or ESC and a backslash.
        Some(']') => {
            let mut last = ' ';
            while let Some(c) = next() {
                if c == '\u{7}' || (last == '\u{1b}' && c == '\\') {
                    break;
                }
                last = c;
            }
        }
        Some('(' | ')') => drop(next()),
        _ => {}
    }
}

/// The first `letters` of `text`.
pub fn beginning(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}{CUT}", &text[..outside_escapes(text, end)]),
        None => text.to_owned(),
    }
}

/// `text` in about as many `letters`, cut in the middle: causes stand at the end.
pub fn both_ends(text: &str, letters: usize) -> String {
    let count = text.chars().count();
    if count <= letters {
        return text.to_owned();
    }
    let at = |letter: usize| {
        let at = text.char_indices().nth(letter).map_or(text.len(), |(at, _)| at);
        outside_escapes(text, at)
    };
    format!("{}{CUT}{}", &text[..at(letters / 3)], &text[at(count - letters * 2 / 3)..])
}

/// `at`, or where the escape sequence begins in which it lies: half a sequence would hide what stands beside the cut.
fn outside_escapes(text: &str, at: usize) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((begin, c)) = chars.next() {
        if begin >= at {
            break;
        }
        if c == '\u{1b}' {
            escape(&mut chars);
            let end = chars.peek().map_or(text.len(), |(end, _)| *end);
            if at < end {
                return begin;
            }
        }
    }
    at
}

/// What of `line` lies near its letter number `at`, and which of its letters that is then.
pub fn around(line: &str, at: usize) -> (String, usize) {
    const BEFORE: usize = 80;
    const BEHIND: usize = 120;
    let skipped = at.saturating_sub(BEFORE);
    let mut rest = line.chars().skip(skipped);
    let mut near = if skipped > 0 { CUT.to_string() } else { String::new() };
    near.extend(rest.by_ref().take(at - skipped + BEHIND));
    near.extend(rest.next().map(|_| CUT));
    (near, at - skipped + usize::from(skipped > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_terminals_interpret_is_taken_out() {
        for (raw, shown) in [
            ("\u{1b}[31mred\u{1b}[0m\tx\u{7}", "red    x"),
            ("10 %\r50 %\r100 %\r", "100 %"),
            ("\u{1b}]0;title\u{7}x\u{1b}]8;;u\u{1b}\\y", "xy"),
            ("a b\u{8}\u{0} ", "a b"),
            ("\u{1b}(Bok", "ok"),
            ("", ""),
        ] {
            assert_eq!(plain(raw), shown, "{raw:?}");
        }
    }

    #[test]
    fn what_is_shortened_says_so() {
        assert_eq!(beginning("日本語", 2), "日本…");
        assert_eq!(beginning("日本語", 3), "日本語");
        assert_eq!(both_ends("one two three", 6), "on…hree");
        assert_eq!(both_ends("short", 6), "short");
        assert_eq!(around("a short line", 3), ("a short line".to_owned(), 3));
        let long = format!("{}here{}", "a".repeat(500), "b".repeat(500));
        let (near, at) = around(&long, 500);
        assert!(near.starts_with("…aa") && near.ends_with("bb…") && near.chars().count() < 220, "{near}");
        assert!(near.chars().skip(at).collect::<String>().starts_with("here"), "{near}");
    }

    #[test]
    fn a_file_that_does_not_end_is_not_read_to_its_end() {
        let error = bytes_of(Path::new("/dev/zero"), 1 << 20).expect_err("endless");
        assert_eq!(error.to_string(), "it is larger than 1 MiB");
    }
}
