//! What there is: revisions, images in the registry, images that run. From it, an intent per service.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join_all, try_join_all};
use serde_json::Value;

use crate::config::Service;
use crate::error::{Error, Result};
use crate::event::{Decision, Event};
use crate::manifest::rendered::JOB_LABEL;
use crate::manifest::{Draft, images};
use crate::model::{ImageRef, ObjectKey, PinnedImage, ServiceName};
use crate::plan::changes::Changes;
use crate::plan::intent::{self, Available, Intent};
use crate::plan::naming::RELEASE_LABEL;
use crate::plan::report::{self, KnownImage};
use crate::plan::request::Request;
use crate::registry::Reference;
use crate::stage::Context;
use crate::stage::build::Images;
use crate::stage::catalogue::{Catalogue, Release};

/// What will be done about every image that the draft needs.
pub struct Survey {
    /// What this run deploys.
    pub release: Release,
    /// One for each service that the draft needs.
    pub intents: BTreeMap<ServiceName, Intent>,
}

impl Survey {
    /// Which of `services` have to be built.
    pub fn builds<'a>(&self, services: &[&'a Service]) -> Vec<&'a Service> {
        let is_built = |service: &&Service| matches!(self.intents.get(&service.name), Some(Intent::Build { .. }));
        services.iter().copied().filter(|service| is_built(service)).collect()
    }
}

/// Whether `request` lets anything be built: a release that has a name of its own is taken as it is.
pub fn builds(request: &Request, release: &Release) -> bool {
    !request.skip_build && (request.tag.is_none() || release.revision.is_none())
}

/// Looks at sources, registry and cluster, and decides.
///
/// # Errors
/// When a tag is not there, or a service would be without an image.
pub async fn survey(context: &Context, request: &Request, draft: &Draft, release: Release) -> Result<Survey> {
    let catalogue = Catalogue::new(&context.config, &context.registry);
    let tag = &release.tag;
    let needed: BTreeSet<ServiceName> = draft.references().into_keys().collect();

    let intents = if builds(request, &release) {
        let (build, take): (BTreeSet<_>, BTreeSet<_>) =
            needed.iter().cloned().partition(|name| catalogue.service(name).build.is_some());
        let taken = available(context, draft, &take, &release).await?;
        let mut intents = intent::without_build(&taken, tag.as_str(), true)?;
        intents.extend(catalogue.built(&build, &release).await?);
        intents
    } else if request.tag.is_some() {
        catalogue.of_release(&needed, tag).await?
    } else {
        let available = available(context, draft, &needed, &release).await?;
        intent::without_build(&available, tag.as_str(), request.mixed)?
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

/// What can be used of each service without building.
async fn available(
    context: &Context,
    draft: &Draft,
    services: &BTreeSet<ServiceName>,
    release: &Release,
) -> Result<BTreeMap<ServiceName, Available>> {
    let catalogue = Catalogue::new(&context.config, &context.registry);
    let references = draft.references();
    let one = async |name: &ServiceName| {
        let service = catalogue.service(name);
        let (live, named) =
            tokio::try_join!(live_images(context, service, &references[name]), catalogue.named(service, release))?;
        let have = Available {
            current: catalogue.current(service, named, &live).await?,
            live_image: match live.len() {
                1 => live.first().cloned(),
                _ => None,
            },
            live: live.iter().map(ToString::to_string).collect(),
        };
        Ok::<_, Error>((name.clone(), have))
    };
    Ok(try_join_all(services.iter().map(one)).await?.into_iter().collect())
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

/// The images that run now, by service, with the release that they were built for as their labels say it. What cannot be
/// found out is left out.
pub async fn running(context: &Context, images: &Images, changes: &Changes) -> BTreeMap<ServiceName, KnownImage> {
    let live = images.iter().filter_map(|(service, image)| Some((service, report::live_image(changes, image)?)));
    let known = live.map(|(service, image)| async move {
        let reference = Reference::Digest(image.digest.clone());
        // What stays needs no name.
        let stays = images.get(service) == Some(&image);
        let found =
            if stays { None } else { context.registry.resolve(&image.repository, &reference).await.ok().flatten() };
        let tag = found.and_then(|found| found.labels.get(RELEASE_LABEL)?.parse().ok());
        (service.clone(), KnownImage { tag, image: Some(image.to_string()) })
    });
    join_all(known).await.into_iter().collect()
}
