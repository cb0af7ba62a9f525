//! Objects to the API server: one wave, side by side.

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::cluster::{self, ApplyError, ApplyOptions, Conflict, Refusal};
use crate::error::{Error, Kind, Result};
use crate::event::{Applied, Event};
use crate::manifest::{Object, Rendered, Wave};
use crate::model::ObjectKey;
use crate::plan::request::Request;
use crate::stage::Context;

/// How many requests to the API server are under way at once.
const CONCURRENT: usize = 8;
/// How often an autoscaler may move the replicas between our reading and our writing.
const REPLICA_RACES: usize = 10;

/// An object as the API server answered it.
pub struct AppliedObject {
    /// Which.
    pub key: ObjectKey,
    /// The live object after the write.
    pub value: Value,
    /// What came of it.
    pub outcome: Applied,
}

/// Applies the objects of `wave`.
///
/// # Errors
/// After every object of the wave was tried, so that the error names all that failed.
pub async fn wave(
    context: &Context,
    request: &Request,
    rendered: &Rendered,
    wave: &Wave,
) -> Result<Vec<AppliedObject>> {
    let answers = stream::iter(&wave.objects)
        .map(|object| async move { one(context, request, rendered, object).await })
        .buffered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
    let mut applied = Vec::new();
    let mut errors = Vec::new();
    for answer in answers {
        match answer {
            Ok(object) => applied.push(object),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        return Ok(applied);
    }
    let message = format!("the API server refused objects of the wave {}", wave.kind);
    let unknown = errors.iter().any(|error| error.kind == Kind::Unknown);
    let kind = if unknown { Kind::Unknown } else { Kind::Stranded };
    Err(Error::several(kind, message, errors)
        .hint("mend the cause and run the same command again: what stands already is left as it is"))
}

async fn one(context: &Context, request: &Request, rendered: &Rendered, object: &Object) -> Result<AppliedObject> {
    let key = object.key();
    let options = ApplyOptions { dry_run: false, force: request.force_conflicts };
    context.wrote.set();
    let answer = send(context, rendered, object, options).await.map_err(|error| refused(object, error))?;
    context.events.send(Event::ObjectApplied { object: key.clone(), outcome: answer.outcome });
    warn(context, object, answer.warnings);
    Ok(AppliedObject { key, value: answer.value, outcome: answer.outcome })
}

/// Says what the API server warns of.
pub fn warn(context: &Context, object: &Object, warnings: Vec<String>) {
    for warning in warnings {
        context.events.warn(object.known_as().to_string(), warning);
    }
}

/// The refusal of an object, with the place in the manifests.
pub fn refused(object: &Object, error: ApplyError) -> Error {
    let mut error = Error::from(ApplyError { object: object.known_as(), ..error });
    error.message = format!("{}: {}", object.source, error.message);
    error
}

/// Sends `object`. A workload whose replicas an autoscaler sets is sent with the live number, so that the write does not
/// move it.
pub async fn send(
    context: &Context,
    rendered: &Rendered,
    object: &Object,
    options: ApplyOptions,
) -> Result<cluster::AppliedObject, ApplyError> {
    let Some(minimum) = rendered.minimum_replicas(&object.key()) else {
        return accepted(context, &object.value, options).await;
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let mut value = object.value.clone();
        value["spec"]["replicas"] = live_replicas(context, object).await.unwrap_or_else(|| json!(minimum));
        match accepted(context, &value, options).await {
            Err(ApplyError { refusal: Refusal::Conflict(_), .. }) if tries < REPLICA_RACES => {}
            answer => return answer,
        }
    }
}

/// `None` also when the API server cannot be asked: it will not take the write then either.
async fn live_replicas(context: &Context, object: &Object) -> Option<Value> {
    let live = context.cluster.get(&object.key()).await.ok()??;
    live.pointer("/spec/replicas").cloned()
}

/// Applies `value`. Fields that only an earlier `kubectl apply` of the same manifests has set are taken over.
pub async fn accepted(
    context: &Context,
    value: &Value,
    options: ApplyOptions,
) -> Result<cluster::AppliedObject, ApplyError> {
    match context.cluster.apply(value, options).await {
        Err(ApplyError { refusal: Refusal::Conflict(conflicts), .. }) if conflicts.iter().all(from_kubectl_apply) => {
            context.cluster.apply(value, ApplyOptions { force: true, ..options }).await
        }
        answer => answer,
    }
}

fn from_kubectl_apply(conflict: &Conflict) -> bool {
    conflict.manager == "kubectl-client-side-apply"
}
