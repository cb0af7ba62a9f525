//! Objects to the API server: one wave, side by side.

use serde_json::{Value, json};

use crate::cluster::{self, ApplyError, ApplyOptions, MANAGER};
use crate::error::{Error, Kind, Result};
use crate::event::{Applied, Event};
use crate::manifest::{Object, Rendered, Wave, WaveKind};
use crate::model::ObjectKey;
use crate::plan::changes::{Action, Changes};
use crate::plan::owners::left_by_others;
use crate::plan::request::Request;
use crate::stage::settle::Awaited;
use crate::stage::{Context, journal, side_by_side};

/// How many requests to the API server are under way at once.
const CONCURRENT: usize = 8;

/// What is rolled out.
pub struct Rollout<'a> {
    /// The objects.
    pub rendered: &'a Rendered,
    /// Which of them change.
    pub changes: Changes,
    /// The proof that they may.
    pub journal: journal::Open<'a>,
}

/// An object as the API server answered it.
pub struct AppliedObject {
    /// Which.
    pub key: ObjectKey,
    /// The live object after the write.
    pub value: Value,
    /// What came of it.
    pub outcome: Applied,
}

impl AppliedObject {
    /// The same, as it is waited for.
    pub fn awaited(self) -> Awaited {
        Awaited { object: self.value, changed: self.outcome != Applied::Unchanged }
    }
}

/// Makes the namespace of the product when it is not there: the lock and the journal lie in it.
pub async fn namespace(context: &Context, rendered: &Rendered) -> Result<()> {
    let name = &context.config.namespace;
    let Some(object) = rendered.objects().iter().find(|o| o.kind() == "Namespace" && o.name() == *name) else {
        return Ok(());
    };
    if context.cluster.get(&object.key()).await?.is_some() {
        return Ok(());
    }
    context.wrote.set();
    let made = context.cluster.apply(&object.value, ApplyOptions::default()).await;
    let made = made.map_err(|error| refused(object, error))?;
    context.events.send(Event::ObjectApplied { object: object.key(), outcome: made.outcome });
    Ok(())
}

/// Applies the objects of `wave` that are to change; the others are passed on as they are.
///
/// # Errors
/// After every object of the wave was tried, so that the error names all that failed.
pub async fn wave(
    context: &Context,
    request: &Request,
    rollout: &mut Rollout<'_>,
    wave: &Wave,
) -> Result<Vec<AppliedObject>> {
    let answers = wave.objects.iter().map(|object| one(context, request, rollout, object));
    let answers = side_by_side(answers, CONCURRENT).await;
    if wave.kind == WaveKind::Workloads {
        // Hundreds may be waited for now, and nobody asks again how they were.
        rollout.changes.forget(wave);
    }
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

async fn one(context: &Context, request: &Request, rollout: &Rollout<'_>, object: &Object) -> Result<AppliedObject> {
    let key = object.key();
    let changed = rollout.changes.get(&key).expect("waves hold what was compared");
    if let (Action::Keep, Some(live)) = (changed.action, &changed.live) {
        return Ok(AppliedObject { key, value: without_owners(live.clone()), outcome: Applied::Unchanged });
    }
    let options = ApplyOptions { dry_run: false, force: request.force_conflicts };
    context.wrote.set();
    let sent = send(context, rollout.rendered, object, changed.live.as_ref(), options);
    let answer = rollout.journal.write(sent).await?;
    let answer = answer.map_err(|error| refused(object, error))?;
    context.events.send(Event::ObjectApplied { object: key.clone(), outcome: answer.outcome });
    warn(context, object, answer.warnings);
    let forced = changed.live.iter().filter(|_| options.force);
    for (who, fields) in forced.flat_map(|before| left_by_others(before, &answer.value, MANAGER)) {
        let stays = format!("what {who} set beside it stays: {}", fields.join(", "));
        context.events.warn(object.known_as().to_string(), stays);
    }
    Ok(AppliedObject { key, value: without_owners(answer.value), outcome: answer.outcome })
}

/// Who manages which field is most of many an object, and nobody asks for it as long as the object is waited for.
fn without_owners(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
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

/// Sends `object` over what is `live` of it. A new workload whose replicas an autoscaler sets begins with the least that it allows.
pub async fn send(
    context: &Context,
    rendered: &Rendered,
    object: &Object,
    live: Option<&Value>,
    options: ApplyOptions,
) -> Result<cluster::AppliedObject, ApplyError> {
    let minimum = rendered.minimum_replicas(&object.key()).filter(|_| live.is_none());
    match minimum {
        None => context.cluster.apply_over(live, &object.value, options).await,
        Some(minimum) => {
            let mut value = object.value.clone();
            value["spec"]["replicas"] = json!(minimum);
            context.cluster.apply_over(None, &value, options).await
        }
    }
}
