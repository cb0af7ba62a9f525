//! The last words: errors and panics, masked.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};

use console::Term;

use super::output::{self, Paint};
use crate::error::Error;
use crate::redact::Redactor;

/// Prints `error` to standard error: what, why, the findings, and what to do next. Everything is masked.
pub fn report_error(error: &Error, redactor: &Redactor) {
    output::stderr().line(&error_text(error, redactor, Paint::of(&Term::stderr())));
}

/// Prints what to do next to standard error.
pub fn report_next(hint: &str) {
    output::stderr().line(&next_line(hint, Paint::of(&Term::stderr())));
}

/// From here on a panic is reported masked, and with a backtrace when `RUST_BACKTRACE` asks for one.
pub fn panic_hook(redactor: &Redactor) {
    let redactor = redactor.clone();
    panic::set_hook(Box::new(move |info| {
        output::stderr().line(&panic_text(info, &Backtrace::capture(), &redactor));
    }));
}

fn error_text(error: &Error, redactor: &Redactor, paint: Paint) -> String {
    let told = |text: &str| redactor.shown(text);
    let mut lines = vec![format!("{} {}", paint.red("error:"), indented(&told(&error.message), "  "))];
    for cause in error.causes() {
        lines.push(format!("  because {}", indented(&told(&cause), "    ")));
    }
    for detail in &error.details {
        lines.push(format!("  {}", indented(&told(detail), "  ")));
    }
    for hint in &error.hints {
        lines.push(next_line(&told(hint), paint));
    }
    lines.join("\n")
}

fn next_line(hint: &str, paint: Paint) -> String {
    format!("{} {}", paint.cyan("next:"), indented(hint, "      "))
}

/// Every line but the first begins with `indent`.
fn indented(text: &str, indent: &str) -> String {
    text.trim_end().replace('\n', &format!("\n{indent}"))
}

fn panic_text(info: &PanicHookInfo<'_>, backtrace: &Backtrace, redactor: &Redactor) -> String {
    let message = info.payload_as_str().unwrap_or("unknown cause");
    let place = info.location().map_or(String::new(), |place| format!(" ({place})"));
    let mut text = format!("error: a bug in the program: {message}{place}\n");
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&backtrace.to_string());
    } else {
        text.push_str("next: run again with RUST_BACKTRACE=1 and report what it prints");
    }
    redactor.shown(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::leaks;
    use crate::text::{beginning, both_ends};

    const TOKEN: &str = "made-up-token-0123";

    fn redactor() -> Redactor {
        let redactor = Redactor::default();
        redactor.learn(TOKEN);
        redactor
    }

    #[test]
    fn an_error_says_what_why_where_and_what_next() {
        let refused = std::io::Error::other(format!("401 for Bearer {TOKEN}"));
        let error = Error::refused("cannot push api")
            .because(refused)
            .detail("config.yaml:41:3: unknown key\n  41 |   tokn: x\n     |   ^^^^")
            .detail(format!("config.yaml:52:1: \u{1b}[31mnot here\u{1b}[0m {TOKEN}"))
            .hint("check registry.token in config.yaml")
            .hint("hdeploy check");
        insta::assert_snapshot!(error_text(&error, &redactor(), Paint(false)), @r#"
        error: cannot push api
          because 401 for Bearer •••••
          config.yaml:41:3: unknown key
            41 |   tokn: x
               |   ^^^^
          config.yaml:52:1: not here •••••
        next: check registry.token in config.yaml
        next: hdeploy check
        "#);
    }

    #[test]
    fn no_part_of_an_error_holds_a_piece_of_a_secret_wherever_it_was_cut() {
        for place in 0..120 {
            let text = format!("{}{TOKEN}{}", "x".repeat(place), "y".repeat(40));
            for text in [beginning(&text, 60), both_ends(&text, 60), text.replace("-to", "-\u{1b}[0mto")] {
                let error = Error::refused(&text).because(text.clone()).detail(format!("a\n{text}")).hint(&text);
                let several = Error::several(crate::error::Kind::Refused, "two", [error, Error::refused(&text)]);
                let told = error_text(&several, &redactor(), Paint(false));
                assert!(!leaks(&told, TOKEN), "{told}");
            }
        }
    }

    #[test]
    fn colour_marks_the_words_that_stand_there_anyway() {
        let error = Error::refused("no").hint("yes");
        let text = error_text(&error, &redactor(), Paint(true));
        assert_eq!(console::strip_ansi_codes(&text), error_text(&error, &redactor(), Paint(false)));
        assert!(text.contains('\u{1b}'));
    }
}
