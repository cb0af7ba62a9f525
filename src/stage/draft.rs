//! Manifests become a draft with holes for images, and then the objects as they are sent.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::event::Events;
use crate::manifest::{Draft, Object, Rendered, read, substitute};
use crate::model::{ObjectKey, ServiceName};
use crate::plan::request::Request;
use crate::release::belongs;
use crate::stage::Context;
use crate::stage::build::Images;
use crate::suggest::did_you_mean;

/// Reads and checks the manifests, and keeps what `request` asks for.
pub fn read(config: &Config, events: &Events, request: &Request) -> Result<Draft> {
    known_services(config, &request.only)?;
    let objects = read::read(&config.manifests)?;
    let is_filled =
        |object: &&Object| !config.substitutions.iter().any(|hole| substitute::holds(&object.value, &hole.placeholder));
    objects.iter().filter(is_filled).for_each(|object| events.keep_secret(&object.value));
    let mut draft = Draft::new(config, objects)?;
    // Substitutions and patches may have brought others.
    draft.objects().iter().for_each(|object| events.keep_secret(&object.value));
    for skipped in draft.skipped() {
        events.warn(
            skipped.file.display().to_string(),
            format!(
                "skipped: no value for {} ({}); what runs of it is left alone",
                skipped.placeholder, skipped.origin
            ),
        );
    }
    for warning in draft.warnings() {
        events.warn(warning.subject.clone(), warning.message.clone());
    }
    if !request.only.is_empty() {
        let selection = belongs::selection(draft.objects(), &draft.references(), &request.only);
        for (key, why) in &selection.left {
            events.note(key.to_string(), format!("left as it is: {why}"));
        }
        draft.retain(|key| selection.kept.contains(key));
    }
    Ok(draft)
}

/// Refuses names of services that the configuration does not have.
///
/// # Errors
/// All of them at once, each with the name that was probably meant.
pub fn known_services<'a>(config: &Config, names: impl IntoIterator<Item = &'a ServiceName>) -> Result<()> {
    let services = || config.services.iter().map(|service| service.name.as_str());
    let unknown: Vec<String> = names
        .into_iter()
        .filter(|name| config.service(name).is_none())
        .map(|name| format!("{name}{}", did_you_mean(name.as_str(), services())))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::refused("the configuration has no such service")
        .details(unknown)
        .hint(format!("the services are: {}", services().collect::<Vec<_>>().join(", "))))
}

/// Fills the holes and decides the namespace of every object whose kind only the cluster knows.
pub async fn pin(context: &Context, draft: Draft, images: &Images) -> Result<Rendered> {
    let mut rendered = draft.pin(images)?;
    let keys = rendered.keys();
    let found = context.cluster.resolve_kinds(&keys).await?;
    let scopes: BTreeMap<ObjectKey, bool> =
        keys.into_iter().zip(found).filter_map(|(key, kind)| Some((key, kind?.namespaced))).collect();
    rendered.complete(&context.config.namespace, |key| scopes.get(key).copied());
    Ok(rendered)
}
