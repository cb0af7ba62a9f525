//! Live rows at the foot of a terminal, finished lines above them.

use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::output::{self, Paint};
use super::screen::Screen;
use super::summary::summary;
use super::text::{Line, say_more};
use crate::event::{Event, Message, Messages};

/// How often rows are drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Shows `messages` until the channel closes.
pub(super) async fn show(mut messages: Messages) {
    let mut terminal = Terminal::new();
    let mut ticks = interval(FRAME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(Message::Event(event)) => terminal.event(&event),
                Some(Message::Progress(progress)) => terminal.screen.progress(&progress, terminal.began.elapsed()),
                None => break,
            },
            _ = ticks.tick() => terminal.draw(),
        }
    }
    terminal.close();
}

struct Terminal {
    term: Term,
    paint: Paint,
    began: Instant,
    screen: Screen,
    multi: MultiProgress,
    /// As many as there are live rows. What each shows is decided anew for every frame.
    bars: Vec<ProgressBar>,
}

impl Terminal {
    fn new() -> Self {
        let term = Term::stderr();
        Self {
            paint: Paint::of(&term),
            term,
            began: Instant::now(),
            screen: Screen::default(),
            multi: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            bars: Vec::new(),
        }
    }

    /// Asked for every frame: windows are resized. The last column stays free, some terminals wrap when it is used.
    fn width(&self) -> usize {
        output::width(&self.term).unwrap_or(80).saturating_sub(1)
    }

    fn event(&mut self, event: &Event) {
        if let Some(line) = self.screen.event(event, self.began.elapsed()) {
            self.print(&line);
        }
        for line in say_more(event) {
            self.print(&line);
        }
        if matches!(event, Event::RunFinished { .. }) {
            self.finish(event);
        }
    }

    fn print(&mut self, line: &Line) {
        self.draw();
        for text in self.screen.lasting(line, self.width(), self.paint) {
            // A terminal that is gone is no reason to stop a deploy.
            let _ = self.multi.println(text);
        }
    }

    fn draw(&mut self) {
        let rows = self.screen.live(self.width(), self.began.elapsed(), self.paint);
        while self.bars.len() > rows.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        while self.bars.len() < rows.len() {
            self.bars.push(self.multi.add(row()));
        }
        for (bar, text) in self.bars.iter().zip(rows) {
            bar.set_message(text);
        }
    }

    /// The summary is data: it goes to standard output, below everything else when both are the same terminal.
    fn finish(&mut self, event: &Event) {
        self.close();
        let lines = summary(event, self.screen.target.as_ref(), output::width(&Term::stdout()));
        let mut out = output::stdout();
        for line in lines.unwrap_or_default() {
            out.line(&line);
        }
    }

    fn close(&mut self) {
        for line in self.screen.abandoned() {
            self.print(&line);
        }
        self.draw();
        let _ = self.multi.clear();
    }
}

fn row() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style)
}
