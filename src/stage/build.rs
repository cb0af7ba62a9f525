//! Images, side by side: each is built, pushed the moment it is built, and proved.

use std::collections::BTreeMap;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::config::Service;
use crate::docker::{BuildRequest, BuildUpdate, BuiltImage, Docker};
use crate::error::{Error, Result};
use crate::event::{Event, Progress};
use crate::model::{Digest, PinnedImage, ServiceName, Tag};
use crate::plan::intent::Intent;
use crate::plan::naming::{RECIPE_LABEL, RELEASE_LABEL};
use crate::registry::{Image, Reference};
use crate::stage::Context;
use crate::stage::survey::Survey;

/// The image of every service, by digest.
pub type Images = BTreeMap<ServiceName, PinnedImage>;

/// Carries out every intent and proves each image. Taken images are held by their digest, unless `held` says that they
/// were before.
///
/// # Errors
/// The first failure; the other builds are then cancelled.
pub async fn images(context: &Context, daemon: Option<Docker>, survey: &Survey, held: bool) -> Result<Images> {
    let mut work = JoinSet::new();
    let mut images = Images::new();
    if !held {
        let taken = survey.intents.iter().filter_map(|(name, intent)| Some((name, intent.image()?)));
        join_all(taken.map(|(name, image)| hold(context, name, image))).await;
    }
    for (name, intent) in &survey.intents {
        match intent {
            Intent::Take(taken) => {
                pinned(context, name, &taken.image, taken.tag.as_ref());
                images.insert(name.clone(), taken.image.clone());
            }
            Intent::Build { tag, recipe, .. } => {
                let service = context.config.service(name).expect("intents name services of the configuration");
                let daemon = daemon.clone().expect("a build has its daemon checked before");
                let labels = [(RELEASE_LABEL, survey.release.tag.as_str()), (RECIPE_LABEL, recipe)];
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
                work.spawn(told(context.clone(), daemon, service.clone(), tag.clone(), labels));
            }
        }
    }
    while let Some(done) = work.join_next().await {
        let (name, image) = done.map_err(|error| Error::refused("a build ended unexpectedly").because(error))??;
        images.insert(name, image);
    }
    Ok(images)
}

async fn told(
    context: Context,
    daemon: Docker,
    service: Service,
    tag: Tag,
    labels: BTreeMap<String, String>,
) -> Result<(ServiceName, PinnedImage)> {
    let (events, subject) = (context.events.clone(), service.name.to_string());
    let outcome = image(context, daemon, service, tag, labels).await;
    if outcome.is_err() {
        events.send(Event::Failed { subject, message: "there is no image".into() });
    }
    outcome
}

async fn image(
    context: Context,
    daemon: Docker,
    service: Service,
    tag: Tag,
    labels: BTreeMap<String, String>,
) -> Result<(ServiceName, PinnedImage)> {
    let recipe = labels.get(RECIPE_LABEL).cloned().unwrap_or_default();
    let request = BuildRequest {
        service: service.name.clone(),
        build: service.build.clone().expect("only services with a build are built"),
        image: service.repository.clone(),
        tag: tag.clone(),
        labels,
    };
    let built = build_image(&context, &daemon, &request).await?;
    let started = Instant::now();
    let same = same_content(&context, &service, &built, &recipe).await?;
    let reused = same.is_some();
    let digest = if let Some(digest) = same {
        digest
    } else {
        untaken(&context, &service, &tag).await?;
        push(&context, &daemon, &service, &built, &tag).await?
    };
    context.registry.hold(&service.repository, &digest).await?;
    context.registry.tag(&service.repository, &digest, &tag).await?;
    context.registry.tag(&service.repository, &digest, &latest()).await?;
    let proved = prove(&context, &service, &digest, &built).await?;
    context.events.send(Event::Pushed {
        service: service.name.clone(),
        tag: tag.clone(),
        digest: proved.digest.clone(),
        reused,
        elapsed: started.elapsed(),
    });
    let image = PinnedImage { repository: service.repository.clone(), digest: proved.digest };
    pinned(&context, &service.name, &image, Some(&tag));
    Ok((service.name, image))
}

async fn build_image(context: &Context, daemon: &Docker, request: &BuildRequest) -> Result<BuiltImage> {
    let started = Instant::now();
    let name = request.service.clone();
    context.events.send(Event::BuildStarted { service: name.clone() });
    let events = context.events.clone();
    let built = daemon
        .build(request, |update| match update {
            BuildUpdate::Step(step) => events.progress(Progress::Building { service: name.clone(), step }),
            BuildUpdate::Log(line) => events.send(Event::BuildLog { service: name.clone(), line }),
        })
        .await?;
    context.events.send(Event::BuildFinished { service: name.clone(), elapsed: started.elapsed() });
    Ok(built)
}

/// The digest of what `latest` names when it holds the very content that was built: labels apart, which name the
/// release. Running it again under a new digest would restart pods for nothing.
async fn same_content(
    context: &Context,
    service: &Service,
    built: &BuiltImage,
    recipe: &str,
) -> Result<Option<Digest>> {
    let Some(top) = context.registry.head(&service.repository, &latest()).await? else { return Ok(None) };
    let held = context.registry.resolve(&service.repository, &Reference::Digest(top.clone())).await;
    // An image under `latest` that cannot be used, for example of another platform, is simply not the same.
    let same = held.ok().flatten().is_some_and(|held| {
        held.diff_ids == built.diff_ids
            && essential(&held.config) == essential(&built.config)
            && held.labels.get(RECIPE_LABEL).is_some_and(|label| label == recipe)
    });
    Ok(same.then_some(top))
}

/// A container configuration without what is empty, and without what does not reach the container: the daemon's
/// answer and the registry's blob differ in those.
fn essential(config: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    const OUTSIDE: [&str; 3] = ["Labels", "Image", "Hostname"];
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let mut kept: Vec<(String, Value)> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| !OUTSIDE.contains(&key.as_str()) && !empty(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    kept.sort_by(|(a, _), (b, _)| a.cmp(b));
    Value::Object(kept.into_iter().collect())
}

async fn push(context: &Context, daemon: &Docker, service: &Service, built: &BuiltImage, tag: &Tag) -> Result<Digest> {
    let events = context.events.clone();
    let name = service.name.clone();
    let credentials = context.config.registry.credentials.as_ref();
    daemon
        .push(&service.repository, built, tag, credentials, |sent, total| {
            events.progress(Progress::Pushing { service: name.clone(), sent, total });
        })
        .await
}

/// What the registry holds under `digest`, read back and hashed, and compared with what was built.
async fn prove(context: &Context, service: &Service, digest: &Digest, built: &BuiltImage) -> Result<Image> {
    let image = context.registry.resolve(&service.repository, &Reference::Digest(digest.clone())).await?;
    match image {
        Some(image) if image.diff_ids == built.diff_ids => Ok(image),
        Some(_) => {
            Err(Error::refused(format!("{} holds other layers under {digest} than were built", service.repository))
                .hint("look at the registry's storage and at any proxy before it"))
        }
        None => {
            Err(Error::refused(format!("{} was pushed, but the registry does not have {digest}", service.repository))
                .hint("look at the registry's own log; then run the same command again"))
        }
    }
}

/// A tag that somebody took since it was looked at is not moved.
async fn untaken(context: &Context, service: &Service, tag: &Tag) -> Result<()> {
    match context.registry.head(&service.repository, tag).await? {
        None => Ok(()),
        Some(digest) => {
            Err(Error::refused(format!("{}:{tag} was pushed by somebody else meanwhile", service.repository))
                .detail(format!("it names {digest} now"))
                .hint("run the same command again: it uses that image, or finds another tag"))
        }
    }
}

/// An image that is only taken is held as well as the login allows: it may belong to somebody else.
async fn hold(context: &Context, service: &ServiceName, image: &PinnedImage) {
    if let Err(error) = context.registry.hold(&image.repository, &image.digest).await {
        let why = std::iter::once(error.message.clone()).chain(error.causes()).collect::<Vec<_>>().join(": ");
        context.events.warn(service.as_str(), format!("it is lost when its tags move away: {why}"));
    }
}

fn latest() -> Tag {
    "latest".parse().expect("latest is a tag")
}

fn pinned(context: &Context, service: &ServiceName, image: &PinnedImage, tag: Option<&Tag>) {
    context.events.send(Event::Pinned { service: service.clone(), image: image.clone(), tag: tag.cloned() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_and_emptiness_make_no_difference_but_a_command_does() {
        let registry = json!({"Env": ["A=1"], "Cmd": ["/api"], "Labels": {"a": "1"}});
        let daemon = json!({"Cmd": ["/api"], "Env": ["A=1"], "OnBuild": null, "Hostname": "", "Tty": false});
        assert_eq!(essential(&registry), essential(&daemon));
        assert_ne!(essential(&registry), essential(&json!({"Env": ["A=1"], "Cmd": ["/web"]})));
    }
}
