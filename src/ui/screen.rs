//! What a terminal shows, as data: rows that are under way, and lines that stay. No I/O.

use std::time::Duration;

use console::measure_text_width;

use super::output::{Paint, fit, pad, wrap};
use super::text::{Level, Line, clock, say, say_progress};
use crate::event::{Applied, Event, Progress, Stage, Target};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Columns of the running clock: `59 m 59 s` is the longest usual one.
const CLOCK: usize = 9;

/// Names longer than this are cut in live rows.
const WIDEST: usize = 14;

/// Fewer free columns than this are no room for a log line.
const LOG_ROOM: usize = 16;

/// Something under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    subject: String,
    since: Duration,
    state: String,
    log: String,
}

/// What stands on the screen.
#[derive(Default)]
pub(super) struct Screen {
    rows: Vec<Row>,
    column: usize,
    changed: usize,
    pub(super) target: Option<Target>,
}

impl Screen {
    /// Takes in `event`; returns the line that it leaves for good, if any.
    pub(super) fn event(&mut self, event: &Event, now: Duration) -> Option<Line> {
        if let Event::RunStarted { target, .. } = event {
            self.target = Some(target.clone());
        }
        let line = self.reworded(event, say(event)?);
        self.column = self.column.max(measure_text_width(&line.subject).min(WIDEST));
        match (event, line.level) {
            // The summary names every image.
            (Event::Pinned { .. }, _) => None,
            (Event::RunStarted { .. } | Event::Note { .. }, _) | (_, Level::Warning) => Some(line),
            (_, Level::Log) => {
                self.row(&line.subject, now).log = line.text;
                None
            }
            (_, Level::Info) => {
                self.restart(event, &line, now);
                None
            }
            (_, Level::Done | Level::Failed | Level::Skipped) => {
                self.rows.retain(|row| row.subject != line.subject);
                Some(line)
            }
        }
    }

    /// Objects are counted here rather than listed.
    fn reworded(&mut self, event: &Event, mut line: Line) -> Line {
        match event {
            Event::ObjectApplied { outcome: Applied::Created | Applied::Configured, .. } => {
                self.changed += 1;
                line.text = format!("{} changed, last {}", self.changed, line.text);
            }
            Event::StageFinished { stage: Stage::Apply, .. } => {
                line.text = format!("{}, {} changed", line.text, self.changed);
            }
            _ => {}
        }
        line
    }

    fn restart(&mut self, event: &Event, line: &Line, now: Duration) {
        let row = self.row(&line.subject, now);
        row.state.clone_from(&line.text);
        row.log.clear();
        if matches!(event, Event::BuildStarted { .. }) {
            row.since = now;
        }
    }

    /// Takes in where something stands.
    pub(super) fn progress(&mut self, progress: &Progress, now: Duration) {
        let line = say_progress(progress);
        self.row(&line.subject, now).state = line.text;
    }

    fn row(&mut self, subject: &str, now: Duration) -> &mut Row {
        let index = self.rows.iter().position(|row| row.subject == subject).unwrap_or_else(|| {
            self.column = self.column.max(measure_text_width(subject).min(WIDEST));
            let (subject, state, log) = (subject.to_owned(), String::new(), String::new());
            self.rows.push(Row { subject, since: now, state, log });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }

    /// Whatever has not come to its end, when the run has.
    pub(super) fn abandoned(&mut self) -> Vec<Line> {
        let stopped = |row: Row| Line {
            subject: row.subject,
            text: format!("not finished: {}", row.state),
            level: Level::Skipped,
        };
        self.rows.drain(..).map(stopped).collect()
    }

    /// The live rows, each at most `width` columns wide.
    pub(super) fn live(&self, width: usize, now: Duration, paint: Paint) -> Vec<String> {
        self.rows.iter().map(|row| render(row, self.column, width, now, paint)).collect()
    }

    /// A line that stays: wrapped rather than cut, under a mark.
    pub(super) fn lasting(&self, line: &Line, width: usize, paint: Paint) -> Vec<String> {
        let head = format!("{} {}  ", mark(line.level, paint), pad(&paint.bold(&line.subject), self.column));
        let indent = measure_text_width(&head);
        let texts = wrap(&line.text, width.saturating_sub(indent).max(20));
        let heads = [head].into_iter().chain(std::iter::repeat(" ".repeat(indent)));
        heads.zip(texts).map(|(head, text)| format!("{head}{text}")).collect()
    }
}

/// `⠙ api       12 s       [build 4/6] RUN go build · last line of the log`, in at most `width` columns.
fn render(row: &Row, column: usize, width: usize, now: Duration, paint: Paint) -> String {
    let elapsed = now.saturating_sub(row.since);
    let frame = SPINNER[usize::try_from(now.as_millis() / 100 % 10).unwrap_or(0)];
    let subject = paint.bold(&pad(&fit(&row.subject, column), column));
    let head = format!("{} {subject}  {}  ", paint.cyan(frame), paint.dim(&pad(&clock(elapsed), CLOCK)));
    let text = format!("{head}{}", row.state);
    let room = width.saturating_sub(measure_text_width(&text) + 3);
    let log = if row.log.is_empty() || room < LOG_ROOM { String::new() } else { format!(" · {}", row.log) };
    fit(&format!("{text}{}", paint.dim(&log)), width)
}

fn mark(level: Level, paint: Paint) -> String {
    match level {
        Level::Done => paint.green("✓"),
        Level::Failed => paint.red("✗"),
        Level::Skipped => paint.dim("–"),
        Level::Warning => paint.yellow("!"),
        Level::Info | Level::Log => paint.dim("·"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, building, every_event, every_progress, log, pushed, waiting};
    use super::*;

    const PLAIN: Paint = Paint(false);

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn under_way() -> Screen {
        let mut screen = Screen::default();
        screen.event(&Event::BuildStarted { service: samples::service("api") }, at(0));
        screen.progress(&building("[build 4/6] RUN go build ./..."), at(1));
        screen.event(&log("#9 12.3 compiling a package with a very long name that goes on and on"), at(2));
        screen.progress(&waiting("worker-with-a-long-name", "1 of 3 updated, worker-5d… is starting"), at(3));
        screen
    }

    #[test]
    fn rows_use_the_room_that_there_is() {
        insta::assert_snapshot!(under_way().live(60, at(64), PLAIN).join("\n"), @r#"
        ⠋ api             1 m 04 s   [build 4/6] RUN go build ./...
        ⠋ worker-with-a…  1 m 01 s   1 of 3 updated, worker-5d… is …
        "#);
        insta::assert_snapshot!(under_way().live(120, at(64), PLAIN).join("\n"), @r#"
        ⠋ api             1 m 04 s   [build 4/6] RUN go build ./... · #9 12.3 compiling a package with a very long name that go…
        ⠋ worker-with-a…  1 m 01 s   1 of 3 updated, worker-5d… is starting
        "#);
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let mut screen = under_way();
        for event in every_event() {
            screen.event(&event, at(4));
            for progress in every_progress() {
                screen.progress(&progress, at(5));
            }
            for (width, paint) in (0..220).flat_map(|width| [(width, PLAIN), (width, Paint(true))]) {
                for row in screen.live(width, at(3700), paint) {
                    assert!(measure_text_width(&row) <= width, "{width}: {row}");
                }
            }
        }
    }

    #[test]
    fn what_is_finished_leaves_the_live_rows_and_stays_above() {
        let mut screen = under_way();
        let line = screen.event(&pushed("api", false), at(70)).expect("valid");
        assert_eq!(
            screen.lasting(&line, 60, PLAIN),
            ["✓ api             pushed d3708e6 sha256:14c2529eb449 in 3.2", "                  s"]
        );
        assert_eq!(screen.live(60, at(70), PLAIN).len(), 1);
        assert_eq!(screen.abandoned()[0].level, Level::Skipped);
        assert!(screen.live(60, at(70), PLAIN).is_empty());
    }

    #[test]
    fn nothing_is_told_by_colour_alone() {
        let marks = [Level::Done, Level::Failed, Level::Skipped, Level::Warning, Level::Info];
        let mut texts: Vec<_> = marks.map(|level| mark(level, PLAIN)).into();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), marks.len());
    }
}
