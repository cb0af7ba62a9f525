//! Replicas whose autoscaler is gone from the manifests: these say again how many there are.

use crate::error::Result;
use crate::model::ObjectKey;
use crate::plan::changes::{Changed, Changes};
use crate::stage::Context;

/// Marks the workloads whose replicas an autoscaler had and the manifests set again. Those that another autoscaler
/// scales, one that is not among the removals, are left to it: the API server names the conflict.
pub async fn regain(context: &Context, mut changes: Changes) -> Result<Changes> {
    let removed: Vec<ObjectKey> = changes.removals().iter().map(|removal| removal.key.clone()).collect();
    for changed in changes.writes_mut() {
        let Some(scaled) = changed.scaled() else { continue };
        changed.regains_replicas = !scaled.by_autoscaler
            || autoscalers(context, changed)
                .await?
                .iter()
                .all(|scaler| removed.iter().any(|key| key.identity() == scaler.identity()));
    }
    Ok(changes)
}

/// The live autoscalers of the object.
async fn autoscalers(context: &Context, changed: &Changed) -> Result<Vec<ObjectKey>> {
    let key = changed.object.key();
    let namespace = key.namespace.as_deref();
    let mut all = context.cluster.list_all("autoscaling/v2", "HorizontalPodAutoscaler", namespace, None).await?;
    all.retain(|autoscaler| {
        let target = &autoscaler["spec"]["scaleTargetRef"];
        target["kind"] == key.kind.as_str() && target["name"] == key.name.as_str()
    });
    Ok(all.iter().filter_map(ObjectKey::of).collect())
}
