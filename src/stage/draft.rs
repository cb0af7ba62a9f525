//! Manifests become a draft with holes for images, and then the objects as they are sent.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::manifest::{Draft, Rendered, read};
use crate::model::{ObjectKey, ServiceName};
use crate::plan::request::Request;
use crate::release::belongs;
use crate::stage::Context;
use crate::stage::build::Images;
use crate::suggest::did_you_mean;

/// Reads and checks the manifests, and keeps what `request` asks for.
pub fn read(context: &Context, request: &Request) -> Result<Draft> {
    let config = &context.config;
    known_services(context, request)?;
    let mut draft = Draft::new(config, read::read(&config.manifests)?)?;
    for skipped in draft.skipped() {
        context.events.warn(
            skipped.file.display().to_string(),
            format!(
                "skipped: no value for {} ({}); what runs of it is left alone",
                skipped.placeholder, skipped.origin
            ),
        );
    }
    for warning in draft.warnings() {
        context.events.warn(warning.subject.clone(), warning.message.clone());
    }
    if !request.only.is_empty() {
        let selection = belongs::selection(draft.objects(), &draft.references(), &request.only);
        for (key, why) in &selection.left {
            context.events.note(key.to_string(), format!("left as it is: {why}"));
        }
        draft.retain(|key| selection.kept.contains(key));
    }
    Ok(draft)
}

fn known_services(context: &Context, request: &Request) -> Result<()> {
    let names: Vec<&str> = context.config.services.iter().map(|service| service.name.as_str()).collect();
    let unknown = |name: &&ServiceName| context.config.service(name).is_none();
    let details: Vec<String> = request
        .only
        .iter()
        .filter(unknown)
        .map(|name| format!("{name}{}", did_you_mean(name.as_str(), names.iter().copied())))
        .collect();
    if details.is_empty() {
        return Ok(());
    }
    Err(Error::refused("--only names services that the configuration does not have")
        .details(details)
        .hint(format!("the services are: {}", names.join(", "))))
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
