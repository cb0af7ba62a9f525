//! The displays. Only this module prints.
//!
//! Progress, warnings and errors go to standard error; the summary of a finished run is data and goes to standard
//! output, so that `hdeploy … > deployed.txt` keeps what runs and the terminal keeps the way there. For programs,
//! everything is data.
//!
//! A stream that nobody reads any more (a closed pipe) falls silent and the deploy goes on: half a deploy is worse than
//! an unwatched one.

mod failure;
mod json;
mod lines;
mod objects;
mod output;
mod plan;
mod screen;
mod summary;
mod terminal;
mod text;

use std::env;
use std::io::{self, Write as _};

use crate::error::{Error, Result};
use crate::event::Messages;

pub use failure::{panic_hook, report_error, report_next};
pub use json::print_schema;
pub use objects::{Format, print_objects};
pub use plan::print_plan;
pub use text::duration;

/// How a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Live lines for a person at a terminal, plain lines for everybody else (a pipe, a file, CI, `TERM=dumb`).
    #[default]
    Auto,
    /// Live lines, also in CI. Standard error that is no terminal gets plain lines all the same.
    Terminal,
    /// Plain lines, one per outcome, each with its time in UTC.
    Lines,
    /// Lines of JSON on standard output, for programs.
    Json,
}

/// Shows `messages` until every sender is gone.
///
/// The display has a thread of its own: a terminal stopped with Ctrl-S or a pipe that is read slowly holds up neither
/// the deploy nor the renewal of its lease. Its timers are the runtime's, which run while the deploy is waited for.
pub async fn run(messages: Messages, view: View) {
    let runtime = tokio::runtime::Handle::current();
    let display = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            if view == View::Json {
                json::show(messages).await;
            } else if is_live(view, &Surroundings::look()) {
                terminal::show(messages).await;
            } else {
                lines::show(messages).await;
            }
        });
    });
    // A display that panicked has said so through the panic hook; the deploy's outcome is another matter.
    let _ = display.await;
}

/// Prints `text` on standard output.
///
/// # Errors
/// When that takes no more, for example on a full disk. A reader that is gone is none.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(format!("{}\n", text.trim_end()).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::refused("standard output did not take everything").because(error))
        }
        _ => Ok(()),
    }
}

/// What decides between the views.
struct Surroundings {
    /// Standard error is a terminal.
    terminal: bool,
    /// It understands cursor movement.
    clever: bool,
    /// The variable that CI systems set. Some of them offer a terminal whose log is read afterwards.
    ci: bool,
}

impl Surroundings {
    fn look() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            terminal: console::Term::stderr().is_term(),
            clever: set("TERM").is_some_and(|term| term != "dumb"),
            ci: set("CI").is_some_and(|value| value != "false"),
        }
    }
}

fn is_live(view: View, around: &Surroundings) -> bool {
    match view {
        View::Lines | View::Json => false,
        View::Terminal => around.terminal && around.clever,
        View::Auto => around.terminal && around.clever && !around.ci,
    }
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_lines_need_a_clever_terminal_and_in_ci_a_flag() {
        let person = Surroundings { terminal: true, clever: true, ci: false };
        let ci = Surroundings { ci: true, ..person };
        let pipe = Surroundings { terminal: false, ..person };
        let dumb = Surroundings { clever: false, ..person };
        assert!(is_live(View::Auto, &person) && !is_live(View::Lines, &person));
        assert!(!is_live(View::Auto, &ci) && is_live(View::Terminal, &ci));
        for around in [pipe, dumb] {
            assert!(!is_live(View::Auto, &around) && !is_live(View::Terminal, &around));
        }
    }
}
