//! What a deploy changes, against what is live now.

use futures_util::{TryStreamExt as _, stream};
use serde_json::Value;

use crate::cluster::{Lease, MANAGER};
use crate::error::{Error, Kind, Result};
use crate::manifest::Rendered;
use crate::plan::changes::{Changed, Changes};
use crate::plan::request::Request;
use crate::stage::{Context, prune, replicas};

const CONCURRENT: usize = 8;
/// How often somebody may write to an object between our reading and our taking over: controllers do so right after it
/// was made.
const RACES: usize = 30;

/// Lists what is live and compares.
pub async fn against_live(context: &Context, request: &Request, rendered: &Rendered) -> Result<Changes> {
    let keys = rendered.keys();
    let (live, removals) = tokio::try_join!(context.cluster.live(&keys), prune::removals(context, rendered))?;
    // Values that are about to be replaced are secrets still.
    live.values().for_each(|live| context.events.keep_secret(live));
    let changes = Changes::of(rendered, live, MANAGER).with_removals(removals, request.prune);
    replicas::regain(context, changes).await
}

/// Takes over what `kubectl apply` owns of the objects that will be sent, takes back replicas whose autoscaler is gone, and
/// pins those that will be let go of.
/// No value changes by it.
pub async fn take_over(context: &Context, lease: &Lease, changes: &mut Changes) -> Result<()> {
    stream::iter(changes.writes_mut().map(Ok::<_, Error>))
        .try_for_each_concurrent(CONCURRENT, |changed| async move { one(context, lease, changed).await })
        .await
}

async fn one(context: &Context, lease: &Lease, changed: &mut Changed) -> Result<()> {
    let key = changed.object.key();
    // Of some kinds owners may never be noted.
    let mut noted = false;
    for _ in 0..RACES {
        let Some(live) = &changed.live else { return Ok(()) };
        let written = if let Some(body) = changed.of_nobody().filter(|_| !noted) {
            let written = lease.hold(context.cluster.own(live, &body)).await??;
            noted = written.is_some();
            written
        } else if let Some(owners) = changed.owners_to_set(MANAGER) {
            lease.hold(context.cluster.set_owners(live, &owners)).await??
        } else if let Some(body) = changed.rolling_update_to_own(MANAGER) {
            lease.hold(context.cluster.own(live, &body)).await??
        } else if let Some(replicas) = changed.replicas_to_pin(MANAGER).filter(|replicas| !is_pinned(live, *replicas)) {
            lease.hold(context.cluster.pin_replicas(live, replicas)).await??
        } else {
            return Ok(());
        };
        changed.live = match written {
            Some(live) => Some(live),
            None => context.cluster.get(&key).await?,
        };
    }
    Err(Error::new(Kind::Refused, format!("somebody keeps writing to {key}, so its fields cannot be taken over"))
        .hint("see who: kubectl get --show-managed-fields -o yaml"))
}

/// Whether the replicas are held by another applier already, with this value.
fn is_pinned(live: &Value, replicas: i64) -> bool {
    let holds = |entry: &Value| {
        entry["operation"] == "Apply"
            && entry["manager"] != MANAGER
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    };
    live["spec"]["replicas"] == replicas && crate::plan::owners::entries(live).iter().any(holds)
}
