//! Replicas whose autoscaler is gone from the manifests: these say again how many there are.

use serde_json::Value;

use crate::cluster::MANAGER;
use crate::error::Result;
use crate::plan::changes::Changed;
use crate::plan::fields::is_applied_by;
use crate::stage::Context;

/// The owners of the live object without those who hold its replicas for an autoscaler; `None` when there are none, or
/// when an autoscaler that is not ours still scales it: the API server then names the conflict.
pub async fn taken_back(context: &Context, changed: &Changed) -> Result<Option<Vec<Value>>> {
    let Some(scaled) = changed.scaled() else { return Ok(None) };
    let others = live_autoscalers(context, changed).await?;
    if scaled.by_autoscaler && others.iter().any(|autoscaler| !is_ours(autoscaler)) {
        return Ok(None);
    }
    for autoscaler in others {
        let name = autoscaler["metadata"]["name"].as_str().unwrap_or_default();
        let message = format!(
            "the autoscaler {name} is not in the manifests any more and still scales it; once it is not wanted: \
             kubectl delete hpa {name} -n {}",
            changed.object.key().namespace.unwrap_or_default()
        );
        context.events.warn(changed.object.key().to_string(), message);
    }
    Ok(Some(scaled.others))
}

async fn live_autoscalers(context: &Context, changed: &Changed) -> Result<Vec<Value>> {
    let key = changed.object.key();
    let namespace = key.namespace.as_deref();
    let mut all = context.cluster.list_all("autoscaling/v2", "HorizontalPodAutoscaler", namespace, None).await?;
    all.retain(|autoscaler| {
        let target = &autoscaler["spec"]["scaleTargetRef"];
        target["kind"] == key.kind.as_str() && target["name"] == key.name.as_str()
    });
    Ok(all)
}

/// Whether it was applied by an earlier deploy.
fn is_ours(autoscaler: &Value) -> bool {
    crate::plan::fields::entries(autoscaler).iter().any(|entry| is_applied_by(entry, MANAGER))
}
