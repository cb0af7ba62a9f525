//! Plain lines for pipes, files and CI: `04:12:07 api       pushed d3708e6 sha256:0a1b2c3d4e5f in 3.2 s`.
//!
//! Times are UTC. Outcomes are printed as they come; what is under way only when it is slow.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use console::{Term, measure_text_width};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::output::{self, pad};
use super::summary::summary;
use super::text::{Level, Line, clock, say, say_more, say_progress};
use crate::event::{Event, Message, Messages, Progress, Target};

/// A subject that said nothing for so long says where it stands, and a run that said nothing that it waits.
const QUIET: Duration = Duration::from_secs(15);

/// Names longer than this stand out of the column.
const WIDEST: usize = 14;

/// Wide enough for the names of the stages.
const NARROWEST: usize = 9;

/// Prints `messages` until the channel closes.
pub(super) async fn show(mut messages: Messages) {
    let (mut err, mut out) = (output::stderr(), output::stdout());
    let began = Instant::now();
    let mut lines = Lines::new(SystemTime::now());
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let said = tokio::select! {
            biased;
            message = messages.recv() => match message {
                Some(Message::Event(event)) => {
                    for line in lines.summary(&event) {
                        out.line(&line);
                    }
                    lines.event(&event, began.elapsed()).into_iter().chain(lines.more(&event, began.elapsed())).collect()
                }
                Some(Message::Progress(progress)) => {
                    lines.progress(&progress, began.elapsed());
                    Vec::new()
                }
                None => return,
            },
            _ = ticks.tick() => lines.tick(began.elapsed()),
        };
        for line in &said {
            err.line(line);
        }
    }
}

/// What has been said, and what is being waited for.
struct Lines {
    began: SystemTime,
    column: usize,
    last: Duration,
    target: Option<Target>,
    under_way: BTreeMap<String, UnderWay>,
}

/// A subject that has not come to its end.
struct UnderWay {
    /// When it last had a line, or came up.
    last: Duration,
    state: String,
    /// Whether `state` has been printed.
    told: bool,
}

impl Lines {
    fn new(began: SystemTime) -> Self {
        Self { began, column: NARROWEST, last: Duration::ZERO, target: None, under_way: BTreeMap::new() }
    }

    fn event(&mut self, event: &Event, now: Duration) -> Option<String> {
        if let Event::RunStarted { target, .. } = event {
            self.target = Some(target.clone());
        }
        let line = say(event)?;
        if matches!(line.level, Level::Done | Level::Failed | Level::Skipped) {
            self.under_way.remove(&line.subject);
        } else if let Some(subject) = self.under_way.get_mut(&line.subject) {
            subject.last = now;
        }
        Some(self.print(&line, now))
    }

    /// What belongs below the line of `event`.
    fn more(&mut self, event: &Event, now: Duration) -> Vec<String> {
        say_more(event).iter().map(|line| self.print(line, now)).collect()
    }

    /// Remembers where a subject stands: [`Self::tick`] says it when the subject has been quiet for long.
    fn progress(&mut self, progress: &Progress, now: Duration) {
        let Line { subject, text, .. } = say_progress(progress);
        let fresh = || UnderWay { last: now, state: String::new(), told: false };
        let known = self.under_way.entry(subject).or_insert_with(fresh);
        if known.state != text {
            *known = UnderWay { last: known.last, state: text, told: false };
        }
    }

    /// What time alone brings about.
    fn tick(&mut self, now: Duration) -> Vec<String> {
        let mut due = Vec::new();
        for (subject, known) in &mut self.under_way {
            if !known.told && now.saturating_sub(known.last) >= QUIET {
                (known.told, known.last) = (true, now);
                due.push(Line { subject: subject.clone(), text: known.state.clone(), level: Level::Info });
            }
        }
        if due.is_empty() && now.saturating_sub(self.last) >= QUIET {
            due = self.heartbeat(now);
        }
        due.iter().map(|line| self.print(line, now)).collect()
    }

    fn heartbeat(&self, now: Duration) -> Vec<Line> {
        let line = |subject: &str, text| Line { subject: subject.to_owned(), text, level: Level::Info };
        if self.under_way.is_empty() {
            return vec![line("", format!("still working, {} since the start", clock(now)))];
        }
        self.under_way.iter().map(|(subject, known)| line(subject, format!("still waiting: {}", known.state))).collect()
    }

    fn summary(&self, event: &Event) -> Vec<String> {
        // A terminal that gets plain lines still has an edge; a file has none.
        summary(event, self.target.as_ref(), output::width(&Term::stdout())).unwrap_or_default()
    }

    fn print(&mut self, line: &Line, now: Duration) -> String {
        self.last = now;
        self.column = self.column.max(measure_text_width(&line.subject).min(WIDEST));
        let time = utc(self.began + now);
        let text = format!("{time} {} {}{}", pad(&line.subject, self.column), prefix(line.level), line.text);
        text.trim_end().to_owned()
    }
}

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Info | Level::Done | Level::Skipped => "",
        Level::Log => "| ",
        Level::Warning => "warning: ",
        Level::Failed => "failed: ",
    }
}

/// `HH:MM:SS` in UTC: the standard library knows no time zones, and logs of several machines compare.
fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{building, every_event, log, object, pushed, waiting};
    use super::*;

    fn lines() -> Lines {
        Lines::new(UNIX_EPOCH + Duration::from_secs(4 * 3600 + 12 * 60 + 7))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_has_time_subject_and_text() {
        let mut lines = lines();
        assert_eq!(
            lines.event(&pushed("api", false), at(1)).as_deref(),
            Some("04:12:08 api       pushed d3708e6 sha256:14c2529eb449 in 3.2 s")
        );
        assert_eq!(lines.event(&log("#9 go build"), at(2)).as_deref(), Some("04:12:09 api       | #9 go build"));
    }

    #[test]
    fn nothing_but_counts_is_left_unsaid() {
        let mut lines = lines();
        let unsaid = every_event()
            .iter()
            .filter(|event| lines.event(event, at(0)).is_none() && lines.more(event, at(0)).is_empty())
            .count();
        assert_eq!(unsaid, 4);
    }

    #[test]
    fn d6_progress_is_said_once_per_quarter_minute_and_only_when_it_changed() {
        let mut lines = lines();
        lines.progress(&waiting("api", "0 of 3"), at(0));
        assert!(lines.tick(at(14)).is_empty());
        lines.progress(&waiting("api", "1 of 3"), at(14));
        assert_eq!(lines.tick(at(15)), ["04:12:22 api       1 of 3"]);
        lines.progress(&waiting("api", "2 of 3"), at(16));
        assert!(lines.tick(at(29)).is_empty());
        assert_eq!(lines.tick(at(30)), ["04:12:37 api       2 of 3"]);
        assert_eq!(lines.tick(at(45)), ["04:12:52 api       still waiting: 2 of 3"]);
        assert!(lines.tick(at(46)).is_empty());
    }

    #[test]
    fn a_log_that_runs_needs_no_progress() {
        let mut lines = lines();
        lines.progress(&building("[1/2]"), at(0));
        lines.event(&log("working"), at(14));
        assert!(lines.tick(at(28)).is_empty());
    }

    #[test]
    fn d6_silence_is_broken_even_when_nothing_is_known() {
        let settled = Event::Settled { workload: object("Deployment", "api"), elapsed: at(1), replicas: 1 };
        let mut lines = lines();
        lines.progress(&waiting("api", "0 of 1"), at(0));
        lines.event(&settled, at(1));
        assert_eq!(lines.tick(at(16)), ["04:12:23           still working, 16 s since the start"]);
    }
}
