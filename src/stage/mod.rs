//! The stages of a deploy, one file each: the only callers of the edges.

pub mod admission;
pub mod apply;
pub mod build;
pub mod catalogue;
pub mod changes;
pub mod chart;
pub mod collect;
pub mod contact;
pub mod draft;
pub mod endless;
pub mod evidence;
pub mod gate;
pub mod journal;
pub mod preflight;
pub mod prune;
pub mod replicas;
pub mod settle;
pub mod survey;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};

pub use crate::cluster::MANAGER;

use crate::cluster::Cluster;
use crate::config::{Config, Settle};
use crate::error::{Error, Kind};
use crate::event::Events;
use crate::registry::Registry;

/// The answers of all `questions`, in their order, at most `limit` under way at once. One that takes long holds up no other.
pub(crate) async fn side_by_side<T>(questions: impl Iterator<Item = impl Future<Output = T>>, limit: usize) -> Vec<T> {
    let numbered = questions.enumerate().map(|(number, question)| async move { (number, question.await) });
    let mut answers: Vec<(usize, T)> = stream::iter(numbered).buffer_unordered(limit).collect().await;
    answers.sort_unstable_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// What every stage works with.
#[derive(Clone)]
pub struct Context {
    /// What is meant.
    pub config: Arc<Config>,
    /// Who hears of it.
    pub events: Events,
    /// Where images go.
    pub registry: Registry,
    /// Where objects go.
    pub cluster: Cluster,
    /// How long is waited for what was applied.
    pub settle: Settle,
    /// Whether anything was written to the cluster.
    pub wrote: Wrote,
}

/// Remembers that a value was written: from then on a failure is no refusal any more.
#[derive(Clone, Default)]
pub struct Wrote(Arc<AtomicBool>);

impl Wrote {
    /// To be called before the first write leaves, so that a write whose answer is lost counts as one.
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether anything may have been written.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// `error` as the kind that it is by now.
    pub fn classify(&self, error: Error) -> Error {
        match error.kind {
            Kind::Refused if self.get() => error.with_kind(Kind::Stranded),
            Kind::Unknown if !self.get() => error.with_kind(Kind::Refused),
            _ => error,
        }
    }
}
