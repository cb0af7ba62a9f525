//! What there is: revisions, images in the registry, images that run. From it, an intent per service.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::{Build, Service};
use crate::docker;
use crate::error::{Error, Result};
use crate::event::{Decision, Event};
use crate::git::{self, Revision};
use crate::manifest::rendered::JOB_LABEL;
use crate::manifest::{Draft, images};
use crate::model::{ImageRef, Invalid, ObjectKey, PinnedImage, Repository, ServiceName, Tag};
use crate::plan::intent::{self, Available, Found, Intent, Taken};
use crate::plan::naming::{self, Naming, RECIPE_LABEL, RELEASE_LABEL, Source};
use crate::plan::request::Request;
use crate::registry::Reference;
use crate::stage::Context;
use crate::suggest::nearest;

/// What this run deploys, by name.
pub struct Release {
    /// Its name, and the tag of images that nothing speaks against.
    pub tag: Tag,
    /// Revision of the configuration's repository; `None` without git.
    revision: Option<Revision>,
}

/// What will be done about every image that the draft needs.
pub struct Survey {
    /// What this run deploys.
    pub release: Release,
    /// One for each service that the draft needs.
    pub intents: BTreeMap<ServiceName, Intent>,
}

/// Names the release: as asked for, or after the revision of the configuration's repository.
///
/// # Errors
/// When neither gives a name.
pub async fn release(context: &Context, request: &Request) -> Result<Release> {
    let revision = git::state(&context.config.root).await?;
    let tag = match (&request.tag, &revision) {
        (Some(tag), _) => tag.clone(),
        (None, Some(revision)) => revision
            .short
            .parse()
            .map_err(|invalid: Invalid| Error::refused("the revision is no tag").because(invalid))?,
        (None, None) => return Err(nameless(context)),
    };
    Ok(Release { tag, revision })
}

fn nameless(context: &Context) -> Error {
    let root = context.config.root.display();
    Error::refused(format!("{root} lies in no git repository, so the release has no name"))
        .hint("name it: hdeploy all --tag NAME")
}

/// Looks at sources, registry and cluster, and decides.
///
/// # Errors
/// When a tag is not there, or a service would be without an image.
pub async fn survey(context: &Context, request: &Request, draft: &Draft, release: Release) -> Result<Survey> {
    let (tag, revision) = (&release.tag, release.revision.as_ref());
    let by_name = request.tag.is_some() && (request.skip_build || revision.is_some());
    let needed: BTreeSet<ServiceName> = draft.references().into_keys().collect();

    let intents = if by_name {
        of_release(context, &needed, tag).await?
    } else if request.skip_build {
        let available = available(context, draft, &needed, tag, revision).await?;
        intent::without_build(&available, tag.as_str(), request.mixed)?
    } else {
        let (build, take): (BTreeSet<_>, BTreeSet<_>) =
            needed.iter().cloned().partition(|name| service(context, name).build.is_some());
        let taken = available(context, draft, &take, tag, revision).await?;
        let mut intents = intent::without_build(&taken, tag.as_str(), true)?;
        intents.extend(built(context, &build, tag, revision).await?);
        intents
    };
    say(context, &intents);
    Ok(Survey { release, intents })
}

fn say(context: &Context, intents: &BTreeMap<ServiceName, Intent>) {
    for service in &context.config.services {
        let decision = match intents.get(&service.name) {
            Some(intent) => intent.decision(),
            None => Decision::Leave { because: "nothing that is applied uses it".into() },
        };
        context.events.send(Event::Decided { service: service.name.clone(), decision });
    }
}

fn service<'a>(context: &'a Context, name: &ServiceName) -> &'a Service {
    context.config.service(name).expect("references name services of the configuration")
}

/// The images of the release called `release`.
async fn of_release(
    context: &Context,
    needed: &BTreeSet<ServiceName>,
    release: &Tag,
) -> Result<BTreeMap<ServiceName, Intent>> {
    let mut intents = BTreeMap::new();
    let mut findings = Vec::new();
    for name in needed {
        match find_release(context, &service(context, name).repository, release).await? {
            Ok(taken) => drop(intents.insert(name.clone(), Intent::Take(taken))),
            Err(finding) => findings.push(format!("{name}: {finding}")),
        }
    }
    if findings.is_empty() {
        return Ok(intents);
    }
    Err(Error::refused(format!("the registry does not have release {release} of every service"))
        .details(findings)
        .hint("deploy a tag that is there, or build the current revision: hdeploy all"))
}

async fn find_release(context: &Context, repository: &Repository, release: &Tag) -> Result<Result<Taken, String>> {
    let family = naming::release_of(release).unwrap_or(release.as_str()).to_owned();
    for tag in [release.as_str(), &family].into_iter().filter_map(|text| text.parse::<Tag>().ok()) {
        if let Some(found) = find(context, repository, &tag).await? {
            return Ok(Ok(taken(found, tag, release)));
        }
    }
    let tags = context.registry.tags(repository).await?;
    let mut of_family = Vec::new();
    for tag in tags.iter().filter(|tag| naming::release_of(tag) == Some(family.as_str())) {
        // A tag of this form without our label is somebody else's.
        let found = find(context, repository, tag).await?.filter(|found| found.recipe.is_some());
        of_family.extend(found.map(|found| (tag.clone(), found)));
    }
    let labelled = |(_, found): &(Tag, Found)| found.release.as_deref() == Some(family.as_str());
    if of_family.iter().any(labelled) {
        // An image that was reused has the label of the release for which it was built.
        of_family.retain(labelled);
    }
    match of_family.len() {
        0 => Ok(Err(not_there(repository, release, &tags))),
        1 => Ok(Ok(of_family.remove(0)).map(|(tag, found)| taken(found, tag, release))),
        _ => {
            let names: Vec<&str> = of_family.iter().map(|(tag, _)| tag.as_str()).collect();
            Ok(Err(format!("{repository} holds several images of {release}; name one: {}", names.join(", "))))
        }
    }
}

fn taken(found: Found, tag: Tag, release: &Tag) -> Taken {
    Taken { image: found.image, tag: Some(tag), because: format!("it is of release {release}") }
}

fn not_there(repository: &Repository, wanted: &Tag, have: &[Tag]) -> String {
    let near = nearest(wanted.as_str(), have.iter().map(Tag::as_str).filter(|tag| *tag != "latest"));
    match (near.is_empty(), have.is_empty()) {
        (false, _) => format!("{repository} has no tag {wanted}; the nearest are {}", near.join(", ")),
        (true, false) => format!("{repository} has no tag {wanted}, nor one like it"),
        (true, true) => format!("{repository} holds no image at all"),
    }
}

/// What the registry holds under `tag`.
async fn find(context: &Context, repository: &Repository, tag: &Tag) -> Result<Option<Found>> {
    let image = context.registry.resolve(repository, &Reference::Tag(tag.clone())).await?;
    Ok(image.map(|image| Found {
        image: PinnedImage { repository: repository.clone(), digest: image.digest },
        recipe: image.labels.get(RECIPE_LABEL).cloned(),
        release: image.labels.get(RELEASE_LABEL).cloned(),
    }))
}

/// Intents of the services that can be built.
async fn built(
    context: &Context,
    services: &BTreeSet<ServiceName>,
    release: &Tag,
    revision: Option<&Revision>,
) -> Result<BTreeMap<ServiceName, Intent>> {
    let mut intents = BTreeMap::new();
    for name in services {
        let service = service(context, name);
        let build = service.build.as_ref().expect("only services with a build are asked for");
        docker::check_build(build)?;
        let (naming, recipe) = naming_of(service, build, release, revision).await?;
        let by_tag = find(context, &service.repository, &naming.tag).await?;
        let by_own = if naming.exact { None } else { find(context, &service.repository, &naming.own).await? };
        intents.insert(name.clone(), intent::build_or_take(&naming, &recipe, by_tag, by_own));
    }
    Ok(intents)
}

async fn naming_of(
    service: &Service,
    build: &Build,
    release: &Tag,
    release_revision: Option<&Revision>,
) -> Result<(Naming, String)> {
    let own = git::state(&build.context).await?;
    let clean = own.as_ref().is_some_and(|revision| !revision.dirty);
    let content = if clean { None } else { Some(content_hash(build.clone()).await?) };
    let named_by_person = own.is_none().then_some(content.as_deref()).flatten();
    let source = Source {
        in_release_repository: own.as_ref().map(|r| r.root.as_path()) == release_revision.map(|r| r.root.as_path()),
        recipe: naming::recipe(build, named_by_person),
        revision: own.map(|revision| revision.short),
        content,
    };
    let recipe = source.recipe.clone();
    Ok((naming::name(&service.name, release, &source), recipe))
}

async fn content_hash(build: Build) -> Result<String> {
    let hash = tokio::task::spawn_blocking(move || docker::context::content_hash(&build));
    hash.await.map_err(|error| Error::refused("the build context could not be read").because(error))?
}

/// What can be used of each service without building.
async fn available(
    context: &Context,
    draft: &Draft,
    services: &BTreeSet<ServiceName>,
    release: &Tag,
    revision: Option<&Revision>,
) -> Result<BTreeMap<ServiceName, Available>> {
    let references = draft.references();
    let mut available = BTreeMap::new();
    for name in services {
        let service = service(context, name);
        let live = live_images(context, service, &references[name]).await?;
        let have = Available {
            current: current(context, service, release, revision).await?,
            live_image: match live.len() {
                1 => live.first().cloned(),
                _ => None,
            },
            live: live.iter().map(ToString::to_string).collect(),
        };
        available.insert(name.clone(), have);
    }
    Ok(available)
}

/// The image of the current revision, under whichever tag this revision would get.
async fn current(
    context: &Context,
    service: &Service,
    release: &Tag,
    revision: Option<&Revision>,
) -> Result<Option<(Tag, PinnedImage)>> {
    let tags = match &service.build {
        // Without its sources nobody knows which image would be theirs.
        Some(build) if !build.context.is_dir() => Vec::new(),
        Some(build) => {
            let (naming, _) = naming_of(service, build, release, revision).await?;
            vec![naming.own, naming.tag]
        }
        None => vec![release.clone()],
    };
    for tag in tags {
        if let Some(found) = find(context, &service.repository, &tag).await? {
            return Ok(Some((tag, found.image)));
        }
    }
    Ok(None)
}

/// The images by digest that the live workloads of a service run.
async fn live_images(context: &Context, service: &Service, users: &[ObjectKey]) -> Result<Vec<PinnedImage>> {
    let mut live = Vec::new();
    for key in users {
        for object in live_objects(context, key).await? {
            live.extend(images::references(&object).into_iter().filter_map(|image| of_service(image, service)));
        }
    }
    live.sort_by(|a, b| a.digest.cmp(&b.digest));
    live.dedup();
    Ok(live)
}

/// The live object called `key`. A Job's name follows from its content, so the newest that came from the same manifest
/// stands for it.
async fn live_objects(context: &Context, key: &ObjectKey) -> Result<Vec<Value>> {
    if key.kind != "Job" {
        return Ok(context.cluster.get(key).await?.into_iter().collect());
    }
    let namespace = key.namespace.as_deref();
    let selector = format!("{JOB_LABEL}={}", key.name);
    let jobs = context.cluster.list_all(&key.api_version, &key.kind, namespace, Some(&selector)).await?;
    let created = |job: &Value| job["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
    Ok(jobs.into_iter().max_by_key(created).into_iter().collect())
}

fn of_service(image: &str, service: &Service) -> Option<PinnedImage> {
    let reference: ImageRef = image.parse().ok()?;
    let ours = reference.path == service.repository.path;
    Some(PinnedImage { repository: service.repository.clone(), digest: reference.digest.filter(|_| ours)? })
}
