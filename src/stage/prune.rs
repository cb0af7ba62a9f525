//! Objects that the manifests hold no longer: found, and deleted when that was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Lease, MANAGER};
use crate::error::Result;
use crate::event::{Applied, Event};
use crate::manifest::rendered::APPLIED;
use crate::manifest::{Rendered, publish, wave};
use crate::model::ObjectKey;
use crate::plan::changes::{Changes, Removal};
use crate::plan::fields::FieldSet;
use crate::plan::owners::entries;
use crate::stage::Context;
use crate::stage::apply::Rollout;

/// How long a deleted object may take to go: longer than any sensible grace period.
const GONE: Duration = Duration::from_mins(5);

/// The objects that were applied, are still there as such, and are no longer in the manifests; in the order in which
/// they would be applied.
pub async fn removals(context: &Context, rendered: &Rendered) -> Result<Vec<Removal>> {
    let unwanted = unwanted(context, rendered).await?;
    let mut live = context.cluster.live(&unwanted).await?;
    live.retain(|_, live| is_ours(live));
    live.retain(|_, live| live["metadata"].get("deletionTimestamp").is_none());
    let mut removals: Vec<Removal> = live.into_iter().map(|(key, live)| Removal::new(key, live)).collect();
    removals.sort_by_key(|removal| wave::kind_of(&removal.live));
    Ok(removals)
}

/// Whether the object is still what hdeploy made of it: nobody else has taken everything over but hdeploy's own note.
fn is_ours(live: &Value) -> bool {
    let own = FieldSet::applied_by(live, MANAGER).paths();
    let is_note = |path: &String| path.ends_with(APPLIED);
    let others = entries(live).iter().any(|entry| entry["manager"] != MANAGER && entry.get("subresource").is_none());
    own.iter().any(|path| !is_note(path)) || (!own.is_empty() && !others)
}

async fn unwanted(context: &Context, rendered: &Rendered) -> Result<Vec<ObjectKey>> {
    let inventory = context.cluster.inventory(&context.config.namespace).await?;
    Ok(inventory.keys().filter(|key| !rendered.is_wanted(key)).cloned().collect())
}

/// Notes that the objects are about to be the product's.
pub async fn note_applied(context: &Context, rollout: &Rollout<'_>) -> Result<()> {
    let namespace = &context.config.namespace;
    let before = context.cluster.inventory(namespace).await?;
    let mut after = before.clone();
    let kept =
        rollout.rendered.objects().iter().filter(|object| object.kind() != "Job" && !publish::is_copy(&object.value));
    kept.for_each(|object| after.add(object.key()));
    if after == before {
        return Ok(());
    }
    context.wrote.set();
    rollout.journal.write(context.cluster.store_inventory(namespace, &after)).await?
}

/// Notes which of the objects that nobody wants are there no longer.
pub async fn note_gone(context: &Context, lease: &Lease, rendered: &Rendered) -> Result<()> {
    let unwanted = unwanted(context, rendered).await?;
    let live = context.cluster.live(&unwanted).await?;
    let mut gone = unwanted.iter().filter(|key| !live.contains_key(key)).peekable();
    if gone.peek().is_none() {
        return Ok(());
    }
    let namespace = &context.config.namespace;
    let mut inventory = context.cluster.inventory(namespace).await?;
    gone.for_each(|key| inventory.remove(key));
    lease.hold(context.cluster.store_inventory(namespace, &inventory)).await?
}

/// Says what is left although nobody wants it any more.
pub fn tell(context: &Context, changes: &Changes) {
    let deleted: Vec<&ObjectKey> = changes.deletions().map(|removal| &removal.key).collect();
    for removal in changes.removals().iter().filter(|removal| !deleted.contains(&&removal.key)) {
        let what = if removal.is_kept { "it is never deleted by hdeploy" } else { "--prune deletes it" };
        context.events.warn(removal.key.to_string(), format!("no longer in the manifests; {what}"));
    }
}

/// Deletes them, and returns how many there were: what uses others before what it uses, and each only if it is still the object that was looked at.
pub async fn delete(context: &Context, rollout: &Rollout<'_>) -> Result<usize> {
    let mut deleted = 0;
    let mut by_wave: BTreeMap<_, Vec<&Removal>> = BTreeMap::new();
    for removal in rollout.changes.deletions() {
        by_wave.entry(wave::kind_of(&removal.live)).or_default().push(removal);
    }
    for removals in by_wave.into_values().rev() {
        for removal in &removals {
            context.wrote.set();
            rollout.journal.write(context.cluster.delete(&removal.key, removal.uid())).await??;
        }
        for removal in removals {
            context.cluster.wait_gone(&removal.key, removal.uid(), GONE).await?;
            context.events.send(Event::ObjectApplied { object: removal.key.clone(), outcome: Applied::Deleted });
            deleted += 1;
        }
    }
    Ok(deleted)
}
