//! The two streams, their colours and widths, and text that fits.

use std::io::{self, Write};

use console::{Style, Term, measure_text_width};

/// A stream that falls silent at the first failed write: a reader that is gone is no reason to stop a deploy.
pub(super) struct Output<W> {
    stream: Option<W>,
}

impl<W: Write> Output<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream: Some(stream) }
    }

    /// Writes `text` and ends the line.
    pub(super) fn line(&mut self, text: &str) {
        let Some(stream) = &mut self.stream else { return };
        // One write per line, so that lines of several processes do not mix.
        let written = stream.write_all(format!("{text}\n").as_bytes()).and_then(|()| stream.flush());
        if written.is_err() {
            self.stream = None;
        }
    }
}

/// Standard error: everything on the way.
pub(super) fn stderr() -> Output<io::Stderr> {
    Output::new(io::stderr())
}

/// Standard output: what remains.
pub(super) fn stdout() -> Output<io::Stdout> {
    Output::new(io::stdout())
}

/// The columns of `term`, when it is a terminal.
pub(super) fn width(term: &Term) -> Option<usize> {
    term.is_term().then(|| term.size_checked()).flatten().map(|(_, columns)| usize::from(columns))
}

/// Colours, or none. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// What `term` shows, unless `NO_COLOR` is set.
    pub(super) fn of(term: &Term) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!refused && term.features().colors_supported())
    }

    fn with(self, style: Style, text: &str) -> String {
        if text.is_empty() { String::new() } else { style.force_styling(self.0).apply_to(text).to_string() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with(Style::new().dim(), text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with(Style::new().green(), text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.with(Style::new().yellow(), text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with(Style::new().red().bold(), text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.with(Style::new().cyan(), text)
    }
}

/// `text` in at most `width` columns; what does not fit becomes `…`.
pub(super) fn fit(text: &str, width: usize) -> String {
    if width == 0 { String::new() } else { console::truncate_str(text, width, "…").into_owned() }
}

/// `text` followed by spaces up to `width` columns.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(measure_text_width(text))))
}

/// `text` in lines of at most `width` columns, broken between words; a word that is too long stays whole, for it is
/// most likely something to copy.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        wrap_line(line, width, &mut lines);
    }
    lines
}

fn wrap_line(text: &str, width: usize, lines: &mut Vec<String>) {
    let mut current = String::new();
    for word in text.split(' ') {
        if !current.is_empty() && measure_text_width(&current) + 1 + measure_text_width(word) > width {
            lines.push(std::mem::take(&mut current));
        } else if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed(usize);

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            assert_eq!(self.0, 1, "a closed pipe is not written to again");
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_falls_silent() {
        let mut output = Output::new(Closed(0));
        output.line("one");
        output.line("two");
    }

    #[test]
    fn text_is_wrapped_between_words_and_long_words_stay_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a 0123456789 b", 5), ["a", "0123456789", "b"]);
        assert_eq!(wrap("one\n\ntwo", 20), ["one", "", "two"]);
    }

    #[test]
    fn fitting_counts_columns_and_ignores_colour() {
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("日本語", 5), "日本…");
        let painted = fit(&Paint(true).red("abcdef"), 4);
        assert_eq!(measure_text_width(&painted), 4);
        assert_eq!(Paint(false).red("x"), "x");
    }
}
