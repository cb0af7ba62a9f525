//! Everything that can be known before work starts is found out here, at once and within seconds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::cluster::{AppliedObject, ApplyError, ApplyOptions, MANAGER, Refusal};
use crate::config::Service;
use crate::docker::Docker;
use crate::error::{Error, Kind, Result};
use crate::manifest::needs::Need;
use crate::manifest::{Draft, Object, Rendered, pod_security};
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName};
use crate::plan::changes::{Changed, Changes};
use crate::plan::intent::Intent;
use crate::plan::request::Request;
use crate::stage::build::Images;
use crate::stage::survey::Survey;
use crate::stage::{Context, apply, changes, draft as drafts};

/// How many requests to the API server are under way at once.
const CONCURRENT: usize = 12;

/// Finds out whether registry and cluster are there at all.
///
/// # Errors
/// Both, when neither is.
pub async fn reach(context: &Context) -> Result<()> {
    let (registry, cluster) = tokio::join!(context.registry.check(), context.cluster.check());
    Error::all([registry.err(), cluster.err()].into_iter().flatten().collect())
}

/// Proves rights, daemon and cluster, and that the API server would accept the objects. Returns the daemon when
/// something has to be built.
///
/// # Errors
/// One error when there is one finding; otherwise one that lists them all.
pub async fn check(context: &Context, request: &Request, survey: &Survey, draft: &Draft) -> Result<Option<Docker>> {
    let builds: Vec<&Service> = survey
        .intents
        .iter()
        .filter(|(_, intent)| matches!(intent, Intent::Build { .. }))
        .filter_map(|(name, _)| context.config.service(name))
        .collect();
    let (daemon, registry, cluster) =
        tokio::join!(daemon(&builds), push_rights(context, &builds), cluster(context, request, survey, draft));
    let mut errors = Vec::new();
    let daemon = daemon.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    errors.extend(registry.err());
    errors.extend(cluster.err());
    Error::all(errors).map(|()| daemon)
}

async fn daemon(builds: &[&Service]) -> Result<Option<Docker>> {
    if builds.is_empty() {
        return Ok(None);
    }
    let daemon = Docker::connect()?;
    daemon.check().await?;
    Ok(Some(daemon))
}

async fn push_rights(context: &Context, builds: &[&Service]) -> Result<()> {
    // One repository after the other: what is wrong with one login is wrong with all.
    for service in builds {
        context.registry.prove_push(&service.repository).await?;
    }
    Ok(())
}

async fn cluster(context: &Context, request: &Request, survey: &Survey, draft: &Draft) -> Result<()> {
    let rendered = drafts::pin(context, draft.clone(), &provisional(context, survey)).await?;
    rendered.waves(&context.config.order)?;
    let namespaces = namespaces(context, &rendered).await;
    Error::all(namespaces.iter().filter_map(|(name, live)| dying(name, live)).collect())?;
    let rights = rights(context, &rendered).await;
    let all_rights = rights.is_ok();
    let (needs, accepted) = tokio::join!(provided(context, rendered.needs()), async {
        let changes = changes::against_live(context, &rendered).await?;
        let asked = ask(context, request, &rendered, &changes).await;
        // What is forbidden was told as a missing right already.
        let told = |error: &ApplyError| !all_rights && matches!(error.refusal, Refusal::Forbidden(_));
        judge(
            context,
            &rendered,
            &namespaces,
            asked.into_iter().filter(|(_, answer)| !answer.as_ref().is_err_and(told)),
        )
    });
    Error::all([rights.err(), needs.err(), accepted.err()].into_iter().flatten().collect())
}

/// Images as far as they are known; a digest that cannot exist stands for what is still to be built.
fn provisional(context: &Context, survey: &Survey) -> Images {
    let image = |name: &ServiceName, intent: &Intent| match intent {
        Intent::Take(taken) => taken.image.clone(),
        Intent::Build { .. } => {
            let service = context.config.service(name).expect("intents name services of the configuration");
            PinnedImage { repository: service.repository.clone(), digest: Digest::of(name.as_str().as_bytes()) }
        }
    };
    survey.intents.iter().map(|(name, intent)| (name.clone(), image(name, intent))).collect()
}

async fn rights(context: &Context, rendered: &Rendered) -> Result<()> {
    let missing = context.cluster.missing_rights(&context.config.namespace, &rendered.keys()).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::refused("this account may not do everything that the deploy needs")
        .details(missing)
        .hint("ask for these rights, or use another account: kubectl auth whoami"))
}

/// Secrets, ConfigMaps and pull secrets that pods need are in the cluster or among the objects.
async fn provided(context: &Context, needs: Vec<Need>) -> Result<()> {
    let keys: BTreeSet<&ObjectKey> = needs.iter().map(|need| &need.key).collect();
    let found = join_all(keys.iter().map(|key| context.cluster.get(key))).await;
    let mut live = BTreeMap::new();
    for (key, object) in keys.iter().zip(found) {
        live.insert((*key).clone(), object?);
    }
    let findings: Vec<String> = needs.iter().filter_map(|need| unmet(need, live[&need.key].as_ref())).collect();
    if findings.is_empty() {
        return Ok(());
    }
    Err(Error::refused("pods need what neither the cluster nor the manifests provide")
        .details(findings)
        .hint("create it first, then run the same command again"))
}

fn unmet(need: &Need, live: Option<&serde_json::Value>) -> Option<String> {
    let by: Vec<String> = need.by.iter().map(ToString::to_string).collect();
    let by = by.join(", ");
    let Some(live) = live else { return Some(format!("{} is missing; needed by {by}", need.key)) };
    let wanted = need.data_key.as_ref()?;
    let has = |field: &str| live.get(field).is_some_and(|data| data.get(wanted).is_some());
    (!has("data") && !has("binaryData")).then(|| format!("{} has no key {wanted}; needed by {by}", need.key))
}

/// Asks the API server whether it would accept every object that changes, without writing, and returns what it would
/// make of each. What lies in a namespace or is of a kind that this run creates cannot be asked yet.
pub async fn dry_run(
    context: &Context,
    request: &Request,
    rendered: &Rendered,
    changes: &Changes,
) -> Result<BTreeMap<ObjectKey, Value>> {
    let asked = ask(context, request, rendered, changes).await;
    judge(context, rendered, &namespaces(context, rendered).await, asked)
}

type Asked<'a> = (&'a Changed, Result<AppliedObject, ApplyError>);

async fn ask<'a>(context: &Context, request: &Request, rendered: &Rendered, changes: &'a Changes) -> Vec<Asked<'a>> {
    let one = |changed: &'a Changed| async move {
        // What `kubectl apply` owns is taken over before anything is sent; until then it stands in the way.
        let force = request.force_conflicts || changed.is_foreign(MANAGER);
        let options = ApplyOptions { dry_run: true, force };
        (changed, apply::send(context, rendered, changed, options).await)
    };
    stream::iter(changes.writes()).map(one).buffered(CONCURRENT).collect().await
}

fn judge<'a>(
    context: &Context,
    rendered: &Rendered,
    namespaces: &Namespaces,
    asked: impl IntoIterator<Item = Asked<'a>>,
) -> Result<BTreeMap<ObjectKey, Value>> {
    let mut accepted = BTreeMap::new();
    let mut errors = Vec::new();
    for (changed, answer) in asked {
        let object = &changed.object;
        match answer {
            Ok(applied) => {
                let level = object.key().namespace.and_then(|name| enforced(&name, rendered, namespaces));
                let level = level.as_deref();
                let (refused, other): (Vec<_>, Vec<_>) =
                    applied.warnings.into_iter().partition(|warning| pod_security::refuses(warning, level));
                errors.extend(refused.into_iter().map(|warning| pods_refused(object, &warning)));
                for warning in other {
                    context.events.warn(object.key().to_string(), warning);
                }
                accepted.insert(object.key(), applied.value);
            }
            Err(error) if created_by_this_run(&error, rendered) => {}
            // The leftovers of `kubectl apply` may contradict what is sent; asked again once they are taken over.
            Err(ApplyError { refusal: Refusal::Invalid(_), .. }) if changed.is_foreign(MANAGER) => {}
            Err(error) => errors.push(apply::refused(object, error)),
        }
    }
    if errors.is_empty() {
        return Ok(accepted);
    }
    Err(Error::several(Kind::Refused, "the API server would refuse objects", errors))
}

/// The namespaces of the objects by name, as they are now. One that is not there or may not be read is not in it.
type Namespaces = BTreeMap<String, Value>;

async fn namespaces(context: &Context, rendered: &Rendered) -> Namespaces {
    let names: BTreeSet<String> = rendered.keys().into_iter().filter_map(|key| key.namespace).collect();
    let live = join_all(names.into_iter().map(|name| async move {
        let key = ObjectKey { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name };
        let live = context.cluster.get(&key).await.ok().flatten()?;
        Some((key.name, live))
    }));
    live.await.into_iter().flatten().collect()
}

/// A namespace that is being deleted takes nothing new, and what is changed in it is lost.
fn dying(name: &str, live: &Value) -> Option<Error> {
    live.pointer("/metadata/deletionTimestamp")?;
    let conditions = live["status"]["conditions"].as_array().into_iter().flatten();
    let holds = conditions.filter(|condition| condition["status"] == "True").filter_map(|c| c["message"].as_str());
    Some(
        Error::refused(format!("the namespace {name} is being deleted, so nothing can be deployed to it"))
            .details(holds)
            .hint(format!("wait until it is gone, or see what holds it: kubectl get namespace {name} -o yaml")),
    )
}

/// The Pod Security level that the namespace `name` enforces: as the objects say, or else as it is now.
fn enforced(name: &str, rendered: &Rendered, namespaces: &Namespaces) -> Option<String> {
    let own = rendered.objects().iter().find(|object| object.kind() == "Namespace" && object.name() == name);
    let level = |object: &Value| object["metadata"]["labels"][pod_security::ENFORCE].as_str().map(str::to_owned);
    own.and_then(|object| level(&object.value)).or_else(|| level(namespaces.get(name)?))
}

fn pods_refused(object: &Object, warning: &str) -> Error {
    Error::refused(format!(
        "{}: {}: its pods would be refused by the namespace: {warning}",
        object.source,
        object.key()
    ))
    .hint("change the pod template, or the label pod-security.kubernetes.io/enforce of the namespace")
}

/// Whether the refusal is only that a namespace or kind is not there yet which this run brings.
fn created_by_this_run(error: &ApplyError, rendered: &Rendered) -> bool {
    match &error.refusal {
        Refusal::NoNamespace(_) => {
            error.object.namespace.as_deref().is_some_and(|name| rendered.created_namespaces().contains(name))
        }
        Refusal::UnknownKind => rendered.defines(&error.object),
        _ => false,
    }
}
