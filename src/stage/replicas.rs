//! Replicas whose autoscaler is gone from the manifests: these say again how many there are.

use serde_json::Value;

use crate::cluster::MANAGER;
use crate::error::Result;
use crate::plan::changes::{Changed, Changes};
use crate::plan::fields::{entries, is_applied_by};
use crate::stage::Context;

/// Marks the workloads whose replicas an autoscaler had and the manifests set again. Those that an autoscaler scales
/// which hdeploy did not apply are left to it: the API server names the conflict.
pub async fn regain(context: &Context, mut changes: Changes) -> Result<Changes> {
    for changed in changes.writes_mut() {
        let Some(scaled) = changed.scaled() else { continue };
        changed.regains_replicas = !scaled.by_autoscaler || autoscalers(context, changed).await?.iter().all(is_ours);
    }
    Ok(changes)
}

/// The owners of the live object without those who hold its replicas for an autoscaler; `None` when these stay.
pub async fn regained(context: &Context, changed: &Changed) -> Result<Option<Vec<Value>>> {
    let Some(scaled) = changed.scaled().filter(|_| changed.regains_replicas) else { return Ok(None) };
    let key = changed.object.key();
    for autoscaler in autoscalers(context, changed).await? {
        let name = autoscaler["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let message = format!(
            "the autoscaler {name} still scales it and is not in the manifests; once it is not wanted: \
             kubectl delete hpa {name} -n {namespace}"
        );
        context.events.warn(key.to_string(), message);
    }
    Ok(Some(scaled.others))
}

async fn autoscalers(context: &Context, changed: &Changed) -> Result<Vec<Value>> {
    let key = changed.object.key();
    let namespace = key.namespace.as_deref();
    let mut all = context.cluster.list_all("autoscaling/v2", "HorizontalPodAutoscaler", namespace, None).await?;
    all.retain(|autoscaler| {
        let target = &autoscaler["spec"]["scaleTargetRef"];
        target["kind"] == key.kind.as_str() && target["name"] == key.name.as_str()
    });
    Ok(all)
}

/// Whether an earlier deploy applied it.
fn is_ours(autoscaler: &Value) -> bool {
    entries(autoscaler).iter().any(|entry| is_applied_by(entry, MANAGER))
}
