//! Everything that can be known before work starts is found out here, at once and within seconds.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use crate::cluster::{AppliedObject, ApplyError, ApplyOptions, Look, MANAGER, Refusal, Version};
use crate::config::Service;
use crate::docker::{self, Docker};
use crate::error::{Error, Kind, Result};
use crate::manifest::needs::Need;
use crate::manifest::{Draft, Object, Rendered};
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName};
use crate::plan::changes::{Changed, Changes};
use crate::plan::intent::Intent;
use crate::plan::request::Request;
use crate::stage::admission::{Namespaces, Pods};
use crate::stage::build::Images;
use crate::stage::catalogue::Release;
use crate::stage::survey::{self, Survey};
use crate::stage::{Context, apply, changes, draft as drafts, endless, side_by_side};

/// How many requests to the API server are under way at once.
pub(super) const CONCURRENT: usize = 12;

/// What is asked about a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Everything: it begins next.
    Deploy,
    /// What would be sent. Neither the daemon nor the right to push is asked for.
    Plan,
}

/// What was found out.
pub struct Ready {
    /// What is decided about every image.
    pub survey: Survey,
    /// The daemon, when something has to be built.
    pub daemon: Option<Docker>,
    /// What would be sent.
    pub foreseen: Foreseen,
}

/// A deploy as far as it is known before anything is built.
pub struct Foreseen {
    /// The images; a digest that cannot exist stands for one that is still to be built.
    pub images: Images,
    /// The objects with them.
    pub rendered: Rendered,
    /// What would change.
    pub changes: Changes,
    /// What the API server would make of the objects that are sent, as far as it could be asked.
    pub after: BTreeMap<ObjectKey, Value>,
    /// Whether an earlier deploy did not come to its end.
    pub unfinished: bool,
}

/// Whether registry and cluster answer at all.
pub struct Doors {
    login: Result<()>,
    cluster: Result<Version>,
}

/// Knocks at the registry and at the cluster.
pub async fn knock(context: &Context, draft: &Draft) -> Doors {
    let services = draft.references();
    let needed: Vec<&Service> = services.keys().filter_map(|name| context.config.service(name)).collect();
    let (login, cluster) = tokio::join!(login(context, &needed), context.cluster.check());
    Doors { login, cluster }
}

/// Decides about every image, and proves that rights, daemon and cluster allow the rest and that the API server would
/// accept the objects. What cannot be asked because something else is missing is left out; the rest is told at once.
///
/// # Errors
/// One error when there is one finding; otherwise one that lists them all.
pub async fn check(
    context: &Context,
    request: &Request,
    draft: &Draft,
    release: Release,
    doors: Doors,
    purpose: Purpose,
) -> Result<Ready> {
    let needed: Vec<&Service> = draft.references().keys().filter_map(|name| context.config.service(name)).collect();
    let buildable = if survey::builds(request, &release) { with_build(&needed) } else { Vec::new() };
    let is_deploy = purpose == Purpose::Deploy;
    // It is waited for last, and only when it is needed: a daemon may be long in saying nothing.
    let daemon = tokio::spawn(daemon(is_deploy && !buildable.is_empty()));
    let (has_login, has_cluster) = (doors.login.is_ok(), doors.cluster.is_ok());
    let mut errors = files(&buildable);
    errors.extend(doors.login.err().into_iter().chain(doors.cluster.err()));

    let survey =
        async { if errors.is_empty() { Some(survey::survey(context, request, draft, release).await) } else { None } };
    let allowed = async { if has_cluster { allowed(context, draft).await } else { Err(Vec::new()) } };
    let (survey, allowed) = tokio::join!(survey, allowed);
    let survey = survey.and_then(|survey| survey.map_err(|error| errors.push(error)).ok());
    // Without a survey, everything that can be built may have to be.
    let builds = survey.as_ref().map_or(buildable, |survey| survey.builds(&needed));
    let rights = push_rights(context, if has_login && is_deploy { &builds } else { &[] });
    let objects = async { Box::pin(objects(context, request, draft, survey.as_ref(), allowed?)).await };
    let (rights, objects) = tokio::join!(rights, objects);
    errors.extend(rights.err());
    let daemon = if builds.is_empty() { Ok(None) } else { daemon.await.expect("asking a daemon does not panic") };
    let daemon = daemon.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let foreseen = objects.map_err(|found| errors.extend(found)).ok();
    Error::all(errors)?;
    let known = "it is missing only with an error";
    Ok(Ready { survey: survey.expect(known), daemon, foreseen: foreseen.expect(known) })
}

fn with_build<'a>(services: &[&'a Service]) -> Vec<&'a Service> {
    services.iter().copied().filter(|service| service.build.is_some()).collect()
}

/// What keeps builds from beginning.
fn files(buildable: &[&Service]) -> Vec<Error> {
    buildable.iter().filter_map(|service| docker::check_build(service.build.as_ref()?).err()).collect()
}

async fn login(context: &Context, needed: &[&Service]) -> Result<()> {
    match needed.first() {
        Some(service) => context.registry.check(&service.repository).await,
        None => Ok(()),
    }
}

async fn daemon(is_needed: bool) -> Result<Option<Docker>> {
    if !is_needed {
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

/// What the cluster says whatever the images are.
struct Allowed {
    namespaces: Namespaces,
    rights: Result<()>,
}

/// Asked while nobody knows the images yet.
async fn allowed(context: &Context, draft: &Draft) -> Result<Allowed, Vec<Error>> {
    let images = provisional(context, draft, None);
    let rendered = drafts::pin(context, draft.clone(), &images).await.map_err(|error| vec![error])?;
    let needs = rendered.needs();
    let (namespaces, rights) = tokio::join!(Namespaces::read(context, &rendered), rights(context, &rendered, &needs));
    Ok(Allowed { namespaces, rights })
}

/// What would be sent, or what speaks against it as far as the cluster can tell.
async fn objects(
    context: &Context,
    request: &Request,
    draft: &Draft,
    survey: Option<&Survey>,
    Allowed { namespaces, rights }: Allowed,
) -> Result<Foreseen, Vec<Error>> {
    let images = provisional(context, draft, survey);
    let rendered = drafts::pin(context, draft.clone(), &images).await.map_err(|error| vec![error])?;
    rendered.waves(&context.config.order).map_err(|error| vec![error])?;
    let needs = rendered.needs();
    let compared = compare(context, request, &rendered).await;
    let dying = namespaces.dying();
    if !dying.is_empty() {
        return Err(dying);
    }
    let all_rights = rights.is_ok();
    let (changes, unfinished) = match compared {
        // What may not be read cannot be compared; the missing right is told.
        Err(_) if !all_rights => (Changes::default(), false),
        other => other.map_err(|error| vec![error])?,
    };
    let never: Vec<Error> =
        endless::paused(&changes).into_iter().chain(endless::cut_short(context, &changes)).collect();
    if !never.is_empty() {
        return Err(never);
    }
    let (provided, deletable, asked, pods) = tokio::join!(
        provided(context, needs),
        deletable(context, &changes),
        ask(context, request, &rendered, changes.writes()),
        Pods::ask(context, &changes)
    );
    // Which right is missing was told already.
    let told = |error: &ApplyError| !all_rights && matches!(error.refusal, Refusal::NoRight(_));
    let asked = asked.into_iter().filter(|(_, answer)| !answer.as_ref().is_err_and(told));
    let accepted = judge(context, &rendered, asked, |object, warnings| namespaces.refuses(&pods, object, warnings));
    match (rights, provided, deletable, accepted) {
        (Ok(()), Ok(()), Ok(()), Ok(after)) => Ok(Foreseen { images, rendered, changes, after, unfinished }),
        (rights, provided, deletable, accepted) => {
            Err([rights.err(), provided.err(), deletable.err(), accepted.err()].into_iter().flatten().collect())
        }
    }
}

async fn compare(context: &Context, request: &Request, rendered: &Rendered) -> Result<(Changes, bool)> {
    tokio::try_join!(
        changes::against_live(context, request, rendered),
        context.cluster.has_journal(&context.config.namespace)
    )
}

/// Images as far as they are known; a digest that cannot exist stands for any other.
fn provisional(context: &Context, draft: &Draft, survey: Option<&Survey>) -> Images {
    let image = |name: &ServiceName| {
        let known = survey.and_then(|survey| survey.intents.get(name)).and_then(Intent::image).cloned();
        known.or_else(|| {
            let repository = context.config.service(name)?.repository.clone();
            Some(PinnedImage { repository, digest: Digest::of(name.as_str().as_bytes()) })
        })
    };
    draft.references().into_keys().filter_map(|name| Some((name.clone(), image(&name)?))).collect()
}

async fn rights(context: &Context, rendered: &Rendered, needs: &[Need]) -> Result<()> {
    let read: Vec<ObjectKey> = needs.iter().map(|need| need.key.clone()).collect();
    let missing = context.cluster.missing_rights(&context.config.namespace, &rendered.keys(), &read).await?;
    all(context, missing)
}

/// Whether what is to be deleted may be.
async fn deletable(context: &Context, changes: &Changes) -> Result<()> {
    let keys: Vec<ObjectKey> = changes.deletions().map(|removal| removal.key.clone()).collect();
    all(context, context.cluster.missing_rights_to_delete(&context.config.namespace, &keys).await?)
}

fn all(context: &Context, missing: Vec<String>) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "this account may not do everything at {} that the deploy needs",
        context.cluster.server()
    ))
    .details(missing)
    .hint("ask for these rights, or use another account: kubectl auth whoami"))
}

/// Secrets, ConfigMaps and pull secrets that pods need are in the cluster or among the objects.
async fn provided(context: &Context, needs: Vec<Need>) -> Result<()> {
    let keys: BTreeSet<&ObjectKey> = needs.iter().map(|need| &need.key).collect();
    let found = join_all(keys.iter().map(|key| context.cluster.look(key))).await;
    let mut live = BTreeMap::new();
    for (key, look) in keys.iter().zip(found) {
        let look = look?;
        if let Look::Object(object) = &look {
            context.events.keep_secret(object);
        }
        live.insert((*key).clone(), look);
    }
    let unmet = needs.iter().filter_map(|need| unmet(need, &live[&need.key]));
    let (findings, hints): (Vec<String>, BTreeSet<String>) = unmet.unzip();
    if findings.is_empty() {
        return Ok(());
    }
    let error = Error::refused("pods need what neither the cluster nor the manifests provide").details(findings);
    Err(hints.into_iter().fold(error, Error::hint))
}

/// What is missing, and how to provide it.
fn holds(live: &Look, key: Option<&str>) -> bool {
    let (Look::Object(live), Some(key)) = (live, key) else { return false };
    ["data", "binaryData"].iter().any(|field| live[*field].get(key).is_some())
}

fn unmet(need: &Need, live: &Look) -> Option<(String, String)> {
    let by: Vec<String> = need.by.iter().map(ToString::to_string).collect();
    let by = by.join(", ");
    let ObjectKey { kind, namespace, name, .. } = &need.key;
    let kubectl = format!("kubectl -n {}", namespace.as_deref().unwrap_or("default"));
    if let (Some(has), Some(wanted), false) = (&need.has, &need.data_key, holds(live, need.data_key.as_deref())) {
        let finding =
            format!("{} of the manifests has no key {wanted}, which {by} needs; it has: {}", need.key, has.join(", "));
        return Some((finding, format!("add {wanted} where the manifests or the configuration define it")));
    }
    match (live, &need.data_key) {
        // The missing right is told. Without it, nobody knows.
        (Look::Forbidden, _) | (Look::Object(_), None) => None,
        (Look::Object(_), Some(wanted)) => {
            let finding = format!("{} has no key {wanted}; needed by {by}", need.key);
            (!holds(live, Some(wanted))).then(|| (finding, format!("add the key: {kubectl} edit {kind} {name}")))
        }
        (Look::Nothing, _) => {
            let create = match kind.as_str() {
                "Secret" if need.is_for_pulls => {
                    format!("secret docker-registry {name} --docker-server=… --docker-username=…")
                }
                "Secret" => format!("secret generic {name} --from-file=KEY=FILE"),
                "ConfigMap" => format!("configmap {name} --from-file=KEY=FILE"),
                "ServiceAccount" => format!("serviceaccount {name}"),
                _ => "-f FILE".to_owned(),
            };
            Some((
                format!("{} is missing; needed by {by}", need.key),
                format!("create it first: {kubectl} create {create}"),
            ))
        }
    }
}

/// Asks the API server whether it would accept every object that changes, without writing, and returns what it would
/// make of each. What is `known` from an earlier asking, for the same object over the same live one, is not asked again.
pub async fn dry_run(
    context: &Context,
    request: &Request,
    rendered: &Rendered,
    changes: &Changes,
    mut known: BTreeMap<ObjectKey, Value>,
) -> Result<BTreeMap<ObjectKey, Value>> {
    known.retain(|key, answer| changes.get(key).is_some_and(|changed| changed.is_answered_by(answer)));
    let open = changes.writes().filter(|changed| !known.contains_key(&changed.object.key()));
    let asked = ask(context, request, rendered, open).await;
    known.extend(judge(context, rendered, asked, |_, _| None)?);
    Ok(known)
}

type Asked<'a> = (&'a Changed, Result<AppliedObject, ApplyError>);

/// What lies in a namespace or is of a kind that this run creates cannot be asked yet.
async fn ask<'a>(
    context: &Context,
    request: &Request,
    rendered: &Rendered,
    changes: impl Iterator<Item = &'a Changed>,
) -> Vec<Asked<'a>> {
    let one = |changed: &'a Changed| async move {
        // What `kubectl apply` owns is taken over before anything is sent; until then it stands in the way.
        let force = request.force_conflicts || changed.is_foreign(MANAGER);
        let options = ApplyOptions { dry_run: true, force };
        (changed, apply::send(context, rendered, &changed.object, changed.live.as_ref(), options).await)
    };
    side_by_side(changes.map(one), CONCURRENT).await
}

/// Every refusal as one error. `also` says what else speaks against an object that was accepted with these warnings.
fn judge<'a>(
    context: &Context,
    rendered: &Rendered,
    asked: impl IntoIterator<Item = Asked<'a>>,
    also: impl Fn(&Object, &[String]) -> Option<Error>,
) -> Result<BTreeMap<ObjectKey, Value>> {
    let mut accepted = BTreeMap::new();
    let mut errors = Vec::new();
    for (changed, answer) in asked {
        let object = &changed.object;
        match answer {
            Ok(applied) => {
                errors.extend(also(object, &applied.warnings));
                apply::warn(context, object, applied.warnings);
                accepted.insert(object.key(), applied.value);
            }
            Err(error) if created_by_this_run(&error, rendered) => {}
            // Leftovers may contradict what is sent; asked again once they are taken over.
            Err(ApplyError { refusal: Refusal::Invalid(_), .. }) if is_in_the_way(changed) => {}
            Err(error) => errors.push(apply::refused(object, error)),
        }
    }
    if errors.is_empty() {
        return Ok(accepted);
    }
    Err(Error::several(Kind::Refused, "the API server would refuse objects", errors))
}

/// Whether the live object has fields that are taken over before it is sent, and that others own until then.
fn is_in_the_way(changed: &Changed) -> bool {
    changed.is_foreign(MANAGER) || changed.rolling_update_to_own(MANAGER).is_some()
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
