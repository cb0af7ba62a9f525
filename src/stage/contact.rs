//! Whether a namespace is seen: clocks stand still while it is not, people are told, and it is not waited for without end.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cluster::Watch;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::stage::Context;
use crate::verdict::Snapshot;

/// Contact that is back within this time was never lost, for people.
pub(super) const BLINK: Duration = Duration::from_secs(1);
/// Contact may be lost for so long when nothing else limits it.
const CONTACT: Duration = Duration::from_mins(5);
/// Waits until the namespace shows what `found` looks for, at most for `limit` while it is seen; whether it did.
///
/// # Errors
/// When it has not been seen for too long.
pub async fn until(
    context: &Context,
    watch: &mut Watch,
    limit: Duration,
    mut found: impl FnMut(&Snapshot) -> bool,
) -> Result<bool> {
    let (mut clock, mut contact) = (Clock::default(), Contact::new(context, watch.namespace()));
    loop {
        let synced = watch.synced();
        clock.run(synced);
        let left = limit.saturating_sub(clock.now());
        if synced {
            contact.found();
            if found(&watch.snapshot()) {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
        } else {
            contact.lost(watch)?;
        }
        let _ = timeout(if synced { left } else { BLINK }, watch.changed()).await;
    }
}

/// Whether a namespace is seen, for people.
pub(super) struct Contact<'a> {
    context: &'a Context,
    namespace: String,
    lost: Option<Instant>,
    told: bool,
}

impl<'a> Contact<'a> {
    pub fn new(context: &'a Context, namespace: &str) -> Self {
        Self { context, namespace: namespace.to_owned(), lost: None, told: false }
    }

    /// To be called again and again while `watch` is blind.
    ///
    /// # Errors
    /// When it has been so for too long.
    pub fn lost(&mut self, watch: &Watch) -> Result<()> {
        let since = *self.lost.get_or_insert_with(Instant::now);
        let limit = self.context.settle.timeout.unwrap_or(CONTACT);
        if since.elapsed() >= limit {
            let trouble = watch.trouble().unwrap_or_else(|| "the API server has not answered yet".to_owned());
            let message = format!("contact was lost for {} s: {trouble}", limit.as_secs());
            return Err(Error::new(Kind::Unknown, message)
                .hint("when the API server answers again, run the same command again"));
        }
        // The first lists may take their time.
        if let Some(trouble) = watch.trouble().filter(|_| since.elapsed() >= BLINK && !self.told) {
            self.told = true;
            let message = format!("contact is lost, and nothing is decided until it is back: {trouble}");
            self.context.events.send(Event::Warning { subject: self.namespace.clone(), message });
        }
        Ok(())
    }

    pub fn found(&mut self) {
        let since = self.lost.take();
        if let Some(since) = since.filter(|_| std::mem::take(&mut self.told)) {
            let message = format!("contact is back after {} s", since.elapsed().as_secs());
            self.context.events.note(self.namespace.clone(), message);
        }
    }
}

/// Runs while the namespace is seen.
#[derive(Default)]
pub(super) struct Clock {
    before: Duration,
    since: Option<Instant>,
}

impl Clock {
    pub fn run(&mut self, seen: bool) {
        if seen {
            self.since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.since.take() {
            self.before += since.elapsed();
        }
    }

    pub fn now(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
