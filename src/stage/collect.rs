//! Copies of ConfigMaps and Secrets that nobody can need any more are deleted.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{Lease, MANAGER};
use crate::error::Result;
use crate::manifest::Rendered;
use crate::manifest::publish::PUBLISHED;
use crate::model::ObjectKey;
use crate::plan::fields::FieldSet;
use crate::stage::Context;

/// Whatever may start a pod again with what it was started with before: old ReplicaSets are what a rollback uses.
const USERS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "ControllerRevision"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
];

/// Deletes the copies that are not among `rendered` and that nothing in their namespace names. What cannot be deleted
/// stays until the next deploy; that is no reason to fail this one.
pub async fn unused_copies(context: &Context, lease: &Lease, rendered: &Rendered) {
    let wanted: BTreeSet<ObjectKey> = rendered.keys().into_iter().collect();
    let allowed = context.config.allowed_namespaces.iter().map(String::as_str);
    let namespaces: BTreeSet<&str> = wanted.iter().filter_map(|key| key.namespace.as_deref()).chain(allowed).collect();
    for namespace in namespaces {
        if let Err(error) = in_namespace(context, lease, namespace, &wanted).await {
            context.events.warn(namespace, format!("unused copies of configuration are left for later: {error}"));
        }
    }
}

async fn in_namespace(context: &Context, lease: &Lease, namespace: &str, wanted: &BTreeSet<ObjectKey>) -> Result<()> {
    let mut unused = Vec::new();
    for kind in ["ConfigMap", "Secret"] {
        let copies = context.cluster.list_all("v1", kind, Some(namespace), Some(PUBLISHED)).await?;
        let keyed = copies.into_iter().filter_map(|copy| Some((ObjectKey::of(&copy)?, copy)));
        unused.extend(keyed.filter(|(key, copy)| !wanted.contains(key) && is_ours(copy)));
    }
    for (api_version, kind) in USERS {
        if unused.is_empty() {
            return Ok(());
        }
        let users = context.cluster.list_all(api_version, kind, Some(namespace), None).await?;
        unused.retain(|(key, _)| !users.iter().any(|user| names(user, &key.name)));
    }
    for (key, copy) in unused {
        lease.hold(context.cluster.delete(&key, copy["metadata"]["uid"].as_str())).await??;
        context.events.note(key.to_string(), "deleted: nothing uses this copy any more");
    }
    Ok(())
}

fn is_ours(copy: &Value) -> bool {
    !FieldSet::applied_by(copy, MANAGER).paths().is_empty()
}

/// Whether `name` stands anywhere in `value`.
fn names(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| names(item, name)),
        Value::Object(map) => map.values().any(|value| names(value, name)),
        _ => false,
    }
}
