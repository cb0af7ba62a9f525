//! The edge to the image registry. Only this module speaks to registries.
//!
//! It speaks the OCI distribution API over reqwest. The OCI client crate was tried and left: it sends the password to
//! whatever realm a challenge names, and neither proves the right to push nor tells a missing right from a missing owner.

mod auth;
mod image;
mod session;
mod trouble;

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, StatusCode};

pub use image::Image;

use crate::config;
use crate::error::{Error, Result};
use crate::model::{Digest, Repository, Tag};
use session::{Answer, Session};

/// How a manifest is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By a name that may move.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl Reference {
    fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

/// The registry of the configuration. Clones share connections and tokens.
#[derive(Clone)]
pub struct Registry {
    session: Arc<Session>,
}

/// A manifest as the registry holds it.
struct Manifest {
    bytes: Bytes,
    media_type: String,
    digest: Digest,
}

impl Registry {
    /// A client for the registry of the configuration. Nothing is sent yet.
    ///
    /// # Errors
    /// When the file with the registry's own authority cannot be used.
    pub fn new(config: &config::Registry) -> Result<Self> {
        Ok(Self { session: Arc::new(Session::new(config)?) })
    }

    /// Proves that this login may push to `repository`, by starting an upload and cancelling it.
    ///
    /// # Errors
    /// Wrong password, no right to push, no such owner, no registry there: each in its own words, within seconds.
    pub async fn prove_push(&self, repository: &Repository) -> Result<()> {
        let path = format!("{}/blobs/uploads/", repository.path);
        let answer = self.session.send(Method::POST, repository, &path, None).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(trouble::push_refused(repository, &answer, self.session.username()));
        }
        if let Some(location) = &answer.location {
            // Best effort: registries drop unfinished uploads by themselves.
            let _ = self.session.send_to(Method::DELETE, repository, location).await;
        }
        Ok(())
    }

    /// The digest of what `tag` names: an index's own, when it names one. `None` when it names nothing.
    pub async fn head(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        let answer =
            self.session.send(Method::HEAD, repository, &manifest_path(repository, tag.as_str()), None).await?;
        match answer.status {
            StatusCode::OK => {
                answer.digest.clone().map(Some).ok_or_else(|| trouble::no_digest(repository, tag.as_str()))
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(trouble::unexpected(&format!("asking for {repository}:{tag}"), &answer)),
        }
    }

    /// The linux/amd64 image that `reference` names, read back and hashed here. `None` when it names nothing.
    ///
    /// # Errors
    /// When bytes and digest differ, or there is not exactly one image for linux/amd64.
    pub async fn resolve(&self, repository: &Repository, reference: &Reference) -> Result<Option<Image>> {
        let Some(top) = self.manifest(repository, reference.as_str()).await? else { return Ok(None) };
        let name = format!("{repository} {}", reference.as_str());
        let manifest = match image::platform_entry(&name, &top.bytes)? {
            None => top,
            Some(entry) => {
                let found = self.manifest(repository, entry.as_str()).await?;
                found.ok_or_else(|| trouble::incomplete(&name, &entry))?
            }
        };
        let config = image::config_digest(&name, &manifest.bytes)?;
        let blob = self.blob(repository, &config).await?;
        image::read(&name, manifest.digest, &blob).map(Some)
    }

    /// Every tag of `repository`; none when it does not exist.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let mut tags: Vec<Tag> = Vec::new();
        let mut last = String::new();
        loop {
            let path = format!("{}/tags/list?n=1000{last}", repository.path);
            let answer = self.session.send(Method::GET, repository, &path, None).await?;
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(tags),
                _ => return Err(trouble::unexpected(&format!("listing the tags of {repository}"), &answer)),
            }
            let page = image::tags(&format!("{repository}"), &answer.body)?;
            // Some registries always promise a next page; the last one is empty, or says the same again.
            let Some(end) = page.last().filter(|end| !last.ends_with(&format!("={end}"))) else { return Ok(tags) };
            last = format!("&last={end}");
            let more = answer.has_next;
            tags.extend(
                page.iter().filter_map(|text| text.parse().ok()).filter(|tag| !tags.contains(tag)).collect::<Vec<_>>(),
            );
            if !more {
                return Ok(tags);
            }
        }
    }

    /// Makes sure that the manifest stays when tags move away from it: it is put by its digest as well, because some
    /// registries drop a manifest with its last tag. For an index, its linux/amd64 entry too.
    pub async fn hold(&self, repository: &Repository, digest: &Digest) -> Result<()> {
        let Some(top) = self.manifest(repository, digest.as_str()).await? else {
            return Err(trouble::gone(repository, digest));
        };
        if let Some(entry) = image::platform_entry(&repository.to_string(), &top.bytes)? {
            let found = self.manifest(repository, entry.as_str()).await?;
            let found = found.ok_or_else(|| trouble::incomplete(&repository.to_string(), &entry))?;
            self.put(repository, entry.as_str(), &found).await?;
        }
        self.put(repository, digest.as_str(), &top).await
    }

    /// Gives the manifest `digest` the name `tag`.
    pub async fn tag(&self, repository: &Repository, digest: &Digest, tag: &Tag) -> Result<()> {
        match self.manifest(repository, digest.as_str()).await? {
            Some(manifest) => self.put(repository, tag.as_str(), &manifest).await,
            None => Err(trouble::gone(repository, digest)),
        }
    }

    async fn put(&self, repository: &Repository, name: &str, manifest: &Manifest) -> Result<()> {
        let body = (manifest.media_type.as_str(), manifest.bytes.clone());
        let answer = self.session.send(Method::PUT, repository, &manifest_path(repository, name), Some(body)).await?;
        if answer.status != StatusCode::CREATED {
            return Err(trouble::unexpected(&format!("naming {} {name} in {repository}", manifest.digest), &answer));
        }
        // A registry may take a manifest under a digest that is not its own, and say the true one only here.
        match answer.digest {
            Some(digest) if digest != manifest.digest => {
                Err(trouble::other_content(repository, &manifest.digest, &digest))
            }
            _ => Ok(()),
        }
    }

    async fn manifest(&self, repository: &Repository, name: &str) -> Result<Option<Manifest>> {
        let answer = self.session.send(Method::GET, repository, &manifest_path(repository, name), None).await?;
        match answer.status {
            StatusCode::OK => verified(repository, name, answer).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(trouble::unexpected(&format!("reading {repository} {name}"), &answer)),
        }
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Bytes> {
        let path = format!("{}/blobs/{digest}", repository.path);
        let answer = self.session.send(Method::GET, repository, &path, None).await?;
        if answer.status != StatusCode::OK {
            return Err(trouble::unexpected(&format!("reading the configuration of {repository}"), &answer));
        }
        let computed = Digest::of(&answer.body);
        if computed == *digest { Ok(answer.body) } else { Err(trouble::other_content(repository, digest, &computed)) }
    }
}

fn manifest_path(repository: &Repository, name: &str) -> String {
    format!("{}/manifests/{name}", repository.path)
}

/// The manifest in `answer`, hashed here: what was asked for by digest and what the header says must agree with it.
fn verified(repository: &Repository, name: &str, answer: Answer) -> Result<Manifest> {
    let digest = Digest::of(&answer.body);
    let asked = name.parse::<Digest>().ok();
    for said in [asked, answer.digest].into_iter().flatten() {
        if said != digest {
            return Err(trouble::other_content(repository, &said, &digest));
        }
    }
    let media_type = image::media_type(&answer.body).or(answer.content_type).ok_or_else(|| {
        Error::refused(format!("{repository} {name} is no manifest")).hint("push it again: hdeploy all")
    })?;
    Ok(Manifest { bytes: answer.body, media_type, digest })
}
