//! Writing down what is about to change, and putting it back when a deploy did not come to its end.

use std::time::Duration;

use serde_json::Value;

use crate::cluster::{ApplyError, ApplyOptions, Lease, MANAGER, Refusal};
use crate::error::{Error, Kind, Result};
use crate::manifest::rendered::APPLIED;
use crate::manifest::{is_never_deleted, publish};
use crate::model::{ObjectKey, Tag};
use crate::plan::fields::FieldSet;
use crate::release::journal::{Before, Entry, Journal};
use crate::stage::Context;

const GONE: Duration = Duration::from_mins(2);

/// The proof that the lock is held and that what is about to change was written down. Nothing is written without it.
pub struct Open<'a> {
    lease: &'a Lease,
}

impl Open<'_> {
    /// Does `work`, which writes.
    ///
    /// # Errors
    /// When the lock is lost, before or meanwhile.
    pub async fn write<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.lease.hold(work).await
    }

    /// Forgets what was changed: it stays.
    pub async fn close(self, context: &Context) -> Result<()> {
        self.lease.hold(context.cluster.delete_journal(&context.config.namespace)).await?
    }
}

/// Does `work` while holding the lock of the namespace, and lets go of it whatever comes of it.
///
/// # Errors
/// [`Kind::Locked`] when another deploy holds it.
pub async fn under_lock(context: &Context, doing: &str, work: impl AsyncFnOnce(&Lease) -> Result<()>) -> Result<()> {
    let lease = context.cluster.lock(&context.config.namespace, doing).await?;
    let outcome = work(&lease).await;
    lease.release().await;
    outcome
}

/// Writes down every object that is about to change, as it is now.
pub async fn open<'a>(context: &Context, lease: &'a Lease, release: &Tag, entries: Vec<Entry>) -> Result<Open<'a>> {
    let journal = Journal { release: release.to_string(), entries };
    lease.hold(context.cluster.write_journal(&context.config.namespace, &journal)).await??;
    Ok(Open { lease })
}

/// What came of a deploy, and of closing its journal: one that stays is what the next deploy begins with.
pub fn told(outcome: Result<()>, closed: Result<()>) -> Result<()> {
    match (outcome, closed) {
        (outcome, Ok(())) => outcome,
        (Ok(()), Err(error)) => Err(error
            .detail("everything runs, but the journal of this deploy could not be taken away")
            .hint("without that, the next deploy puts back what this one changed")),
        // The lock is lost, and with it the say over the journal.
        (Err(error), Err(other)) if error.message == other.message => Err(error),
        (Err(error), Err(_)) => Err(error
            .detail("its journal could not be taken away: the next deploy puts back what this one changed")
            .hint("hdeploy recover does only that")),
    }
}

/// Restores what the journal of the namespace holds, when there is one. Returns the live objects that were restored;
/// `None` without a journal.
///
/// # Errors
/// [`Kind::Stranded`] when something could not be put back; the journal stays then.
pub async fn unfinished(context: &Context, lease: &Lease) -> Result<Option<Vec<Value>>> {
    let namespace = &context.config.namespace;
    let Some(journal) = context.cluster.read_journal(namespace).await? else { return Ok(None) };
    let said = format!("release {} was not finished; what it changed is put back first", journal.release);
    context.events.warn("journal", said);
    let restored = restore(context, lease, &journal).await?;
    lease.hold(context.cluster.delete_journal(namespace)).await??;
    Ok(Some(restored))
}

/// Puts every object of `journal` back: what existed before what did not, each in the order of its first writing.
async fn restore(context: &Context, lease: &Lease, journal: &Journal) -> Result<Vec<Value>> {
    let mut restored = Vec::new();
    let (mut gaps, mut left) = (Vec::new(), false);
    context.wrote.set();
    for entry in &journal.entries {
        if let Some(before) = &entry.before {
            match lease.hold(put_back(context, entry, before)).await? {
                Ok(Some(live)) => restored.push(live),
                Ok(None) => left = true,
                Err(error) => gaps.push(error),
            }
        }
    }
    let made = journal.entries.iter().rev().filter(|entry| entry.before.is_none());
    if left || !gaps.is_empty() {
        // What was not put back may need what was made for it.
        made.for_each(|entry| {
            context.events.warn(entry.object.to_string(), "may be in use and is left, if it was made");
        });
    } else {
        for entry in made {
            gaps.extend(lease.hold(take_away(context, entry)).await?.err());
        }
    }
    if gaps.is_empty() {
        return Ok(restored);
    }
    Err(Error::several(
        Kind::Stranded,
        format!("not all that release {} changed could be put back", journal.release),
        gaps,
    )
    .hint("mend the cause, then: hdeploy recover"))
}

/// Applies what the object was. One that somebody else changed, deleted or made anew since is left alone, and so are
/// replicas that somebody else has set since.
async fn put_back(context: &Context, entry: &Entry, before: &Before) -> Result<Option<Value>> {
    let key = &entry.object;
    let mut live = context.cluster.get(key).await?;
    let mut body = before.body.clone();
    if entry.deleted {
        if live.as_ref().is_some_and(|live| is_going(live, &before.uid)) {
            context.cluster.wait_gone(key, Some(&before.uid), GONE).await?;
            live = None;
        }
        if live.is_some() {
            // The deploy did not come that far.
            return Ok(live);
        }
    } else {
        body["metadata"]["uid"] = before.uid.clone().into();
    }
    if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut)
        && live.is_some_and(|live| !sets_replicas(&live))
    {
        spec.shift_remove("replicas");
    }
    match context.cluster.apply(&body, ApplyOptions { dry_run: false, force: false }).await {
        Ok(applied) => {
            verify(key, &before.body, &applied.value)?;
            context.events.note(key.to_string(), "put back as it was");
            Ok(Some(applied.value))
        }
        Err(error) if is_another(&error.refusal) => {
            context.events.warn(key.to_string(), "was deleted or made anew by somebody else; left as it is");
            Ok(None)
        }
        Err(ApplyError { refusal: Refusal::Conflict(conflicts), .. }) => {
            let names: Vec<&str> = conflicts.iter().map(|conflict| conflict.manager.as_str()).collect();
            let message = format!("fields of it were set by {} since; left as it is", names.join(", "));
            context.events.warn(key.to_string(), message);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn sets_replicas(live: &Value) -> bool {
    FieldSet::applied_by(live, MANAGER).has(&["spec", "replicas"])
}

/// Whether the object is the one with `uid`, and being deleted.
fn is_going(live: &Value, uid: &str) -> bool {
    live["metadata"]["uid"] == uid && live["metadata"].get("deletionTimestamp").is_some()
}

/// Whether the object is not the one any more that was changed.
fn is_another(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Changed(text) => text.contains("uid mismatch"),
        Refusal::Invalid(findings) => findings.iter().any(|finding| finding.contains("metadata.uid")),
        _ => false,
    }
}

/// Whether the object has the values that it had.
fn verify(key: &ObjectKey, wanted: &Value, live: &Value) -> Result<()> {
    let owned = FieldSet::applied_by(live, MANAGER);
    if owned.cut(wanted) == owned.cut(live) {
        return Ok(());
    }
    Err(Error::new(Kind::Stranded, format!("{key} is not what it was, although the API server took it")))
}

/// Deletes an object that the unfinished deploy made, and only that one.
async fn take_away(context: &Context, entry: &Entry) -> Result<()> {
    let key = &entry.object;
    // The log of a Job is still wanted.
    if is_never_deleted(key) || key.kind == "Job" {
        return Ok(());
    }
    let Some(live) = context.cluster.get(key).await? else { return Ok(()) };
    // Copies go when nothing names them any more.
    if publish::is_copy(&live) {
        return Ok(());
    }
    let ours = live["metadata"]["annotations"].get(APPLIED).is_some()
        && !FieldSet::applied_by(&live, MANAGER).paths().is_empty();
    if !ours {
        context.events.warn(key.to_string(), "was not made by the unfinished deploy; left as it is");
        return Ok(());
    }
    let uid = live["metadata"]["uid"].as_str();
    context.cluster.delete(key, uid).await?;
    context.cluster.wait_gone(key, uid, GONE).await?;
    context.events.note(key.to_string(), "deleted: it was not there before");
    Ok(())
}
