//! Everything that can be known before work starts is found out here, at once and within seconds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};

use crate::cluster::{ApplyError, ApplyOptions, Refusal};
use crate::config::Service;
use crate::docker::Docker;
use crate::error::{Error, Kind, Result};
use crate::manifest::needs::Need;
use crate::manifest::{Draft, Rendered};
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName};
use crate::plan::intent::Intent;
use crate::plan::request::Request;
use crate::stage::build::Images;
use crate::stage::survey::Survey;
use crate::stage::{Context, apply, draft as drafts};

/// How many requests to the API server are under way at once.
const CONCURRENT: usize = 12;

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
    all(errors).map(|()| daemon)
}

/// Nothing, the one error, or one that holds them all.
fn all(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        count => Err(Error::several(Kind::Refused, format!("{count} things stand in the way"), errors)),
    }
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
    context.cluster.check().await?;
    let rendered = drafts::pin(context, draft.clone(), &provisional(context, survey)).await?;
    rendered.waves(&context.config.order)?;
    let (rights, needs, accepted) = tokio::join!(
        rights(context, &rendered),
        provided(context, rendered.needs()),
        dry_run(context, request, &rendered)
    );
    all([rights.err(), needs.err(), accepted.err()].into_iter().flatten().collect())
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
        let object = object?;
        context.keep_secrets(&object);
        live.insert((*key).clone(), object);
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

/// Asks the API server whether it would accept every object, without writing. What lies in a namespace or is of a
/// kind that this run creates cannot be asked yet.
pub async fn dry_run(context: &Context, request: &Request, rendered: &Rendered) -> Result<()> {
    let options = ApplyOptions { dry_run: true, force: request.force_conflicts };
    let asked = stream::iter(rendered.objects())
        .map(|object| async move { (object, apply::send(context, rendered, object, options).await) })
        .buffered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
    let mut errors = Vec::new();
    for (object, answer) in asked {
        match answer {
            Ok(applied) => {
                for warning in applied.warnings {
                    context.events.warn(object.key().to_string(), warning);
                }
            }
            Err(error) if created_by_this_run(&error, rendered) => {}
            Err(error) => errors.push(apply::refused(object, error)),
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Error::several(Kind::Refused, "the API server would refuse objects", errors))
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
