//! The edge to the image registry. Only this module speaks to registries.
//!
//! It speaks the OCI distribution API over reqwest. The OCI client crate was tried and left: it sends the password to
//! whatever realm a challenge names, does not renew a token that is refused, hides the digests and links in headers, and
//! keeps the start of an upload, which proves the right to push, to itself.

mod auth;
mod image;
mod session;
#[cfg(test)]
mod tests;
mod transport;
mod trouble;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url};
use tokio::time::timeout;

pub use image::Image;

use crate::config;
use crate::error::{Error, Result};
use crate::model::{Digest, Repository, Tag};
use crate::redact::Redactor;
use session::Session;
use transport::Answer;

/// How long the registry may take to say what it is. What can be found out without it comes afterwards, and all of it
/// within five seconds.
const CHECK: Duration = Duration::from_secs(3);
/// How long the proof of the right to push may take, and then its cancelling: together less than five seconds.
const PROOF: Duration = Duration::from_secs(3);
const CANCEL: Duration = Duration::from_millis(800);

/// Some registries promise a next page, and tags on it, for ever.
const MOST_TAGS: usize = 200_000;

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
    /// A client for the registry of the configuration, where the repositories `together` will be read; every token that it is
    /// given is taught to `redactor`. Nothing is sent yet. Other registries may be asked too, over TLS and without credentials.
    ///
    /// # Errors
    /// When the file with the registry's own authority cannot be used.
    pub fn new(config: &config::Registry, together: Vec<Repository>, redactor: &Redactor) -> Result<Self> {
        Ok(Self { session: Arc::new(Session::new(config, together, redactor)?) })
    }

    /// Whether the registry of `repository` is there and accepts the login, asked within three seconds.
    ///
    /// # Errors
    /// No answer, a certificate that is not trusted, something else that answers, a wrong password: each in its own
    /// words.
    pub async fn check(&self, repository: &Repository) -> Result<()> {
        let answer = timeout(CHECK, self.session.send(Method::GET, repository, "", None)).await;
        let answer = answer.map_err(|_| trouble::silent(&repository.registry, CHECK))??;
        match (answer.status, self.session.username(repository)) {
            _ if !answer.is_of_a_registry() => Err(trouble::no_registry(repository, &answer)),
            // Whoever comes without a login may still be let into single repositories.
            (StatusCode::UNAUTHORIZED, username @ Some(_)) => {
                Err(trouble::login_refused(repository, username, &answer))
            }
            _ => Ok(()),
        }
    }

    /// Proves that this login, which [`Registry::check`] has found to be good, may push to `repository`, by starting an
    /// upload and cancelling it. Takes less than five seconds, whatever the registry does.
    ///
    /// # Errors
    /// No right to push, no such owner: each in its own words.
    pub async fn prove_push(&self, repository: &Repository) -> Result<()> {
        let started = timeout(PROOF, self.start_upload(repository)).await;
        let place = started.map_err(|_| trouble::silent(&repository.registry, PROOF))??;
        if let Some(place) = place {
            // Best effort: registries drop unfinished uploads by themselves.
            let _ = timeout(CANCEL, self.session.send_to(Method::DELETE, repository, place)).await;
        }
        Ok(())
    }

    /// Where the upload takes place, when the registry says so.
    async fn start_upload(&self, repository: &Repository) -> Result<Option<Url>> {
        let path = format!("{}/blobs/uploads/", repository.path);
        let answer = self.session.send(Method::POST, repository, &path, None).await?;
        if answer.status == StatusCode::ACCEPTED {
            return Ok(answer.location());
        }
        let username = self.session.username(repository);
        Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => trouble::may_not_push(repository, username, &answer),
            StatusCode::NOT_FOUND => trouble::no_owner(repository, &answer),
            _ => trouble::unexpected(&format!("starting an upload to {repository}"), &answer),
        })
    }

    /// The digest of what `tag` names: an index's own, when it names one. `None` when it names nothing.
    pub async fn head(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>> {
        self.digest(repository, tag.as_str()).await
    }

    async fn digest(&self, repository: &Repository, name: &str) -> Result<Option<Digest>> {
        let answer = self.session.send(Method::HEAD, repository, &manifest_path(repository, name), None).await?;
        match (answer.status, answer.digest()) {
            (StatusCode::OK, Some(digest)) => Ok(Some(digest)),
            // Registries need not say the digest: then the content does.
            (StatusCode::OK, None) => Ok(self.manifest(repository, name).await?.map(|manifest| manifest.digest)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            _ => Err(trouble::unexpected(&format!("asking for {name} in {repository}"), &answer)),
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
        image::read(&name, &manifest.bytes, &blob).map(Some)
    }

    /// Every tag of `repository`, in the registry's order; none when it does not exist. Tags with capitals, which this
    /// program never makes, are left out.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let (mut tags, mut seen) = (Vec::new(), BTreeSet::new());
        let path = format!("{}/tags/list?n=1000", repository.path);
        let mut answer = self.session.send(Method::GET, repository, &path, None).await?;
        loop {
            match answer.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(tags),
                _ => return Err(trouble::unexpected(&format!("listing the tags of {repository}"), &answer)),
            }
            let mut page = image::tags(&repository.to_string(), &answer.body)?;
            page.retain(|tag| seen.insert(tag.clone()));
            if seen.len() > MOST_TAGS {
                return Err(trouble::too_many_tags(repository, MOST_TAGS));
            }
            tags.extend(page.iter().filter_map(|text| text.parse().ok()));
            // Some registries promise a next page for ever; the page after the last one brings nothing new.
            let Some(next) = answer.next_page().filter(|_| !page.is_empty()) else { return Ok(tags) };
            answer = self.session.send_to(Method::GET, repository, next).await?;
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

    /// Gives the manifest `digest`, an image's or an index's, the name `tag`. What the tag named before is put by its
    /// digest first: somebody else may have pushed it by that tag alone, and pods may run it.
    pub async fn tag(&self, repository: &Repository, digest: &Digest, tag: &Tag) -> Result<()> {
        let Some(manifest) = self.manifest(repository, digest.as_str()).await? else {
            return Err(trouble::gone(repository, digest));
        };
        match self.head(repository, tag).await? {
            Some(named) if named == *digest => return Ok(()),
            Some(named) => {
                if let Some(before) = self.manifest(repository, named.as_str()).await? {
                    self.put(repository, named.as_str(), &before).await?;
                }
            }
            None => {}
        }
        self.put(repository, tag.as_str(), &manifest).await
    }

    async fn put(&self, repository: &Repository, name: &str, manifest: &Manifest) -> Result<()> {
        let body = (manifest.media_type.as_str(), manifest.bytes.clone());
        let answer = self.session.send(Method::PUT, repository, &manifest_path(repository, name), Some(body)).await?;
        if answer.status != StatusCode::CREATED {
            return Err(trouble::unexpected(&format!("naming {} {name} in {repository}", manifest.digest), &answer));
        }
        // A registry may take a manifest under a digest that is not its own, and say the true one only here.
        let said = match answer.digest() {
            Some(digest) => Some(digest),
            None => self.digest(repository, name).await?,
        };
        match said {
            Some(digest) if digest == manifest.digest => Ok(()),
            Some(digest) => Err(trouble::other_content(repository, &manifest.digest, &digest)),
            None => Err(trouble::gone(repository, &manifest.digest)),
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
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(trouble::incomplete(&repository.to_string(), digest)),
            _ => return Err(trouble::unexpected(&format!("reading the configuration of {repository}"), &answer)),
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
    for said in [asked, answer.digest()].into_iter().flatten() {
        if said != digest {
            return Err(trouble::other_content(repository, &said, &digest));
        }
    }
    let media_type = image::media_type(&answer.body).or_else(|| answer.content_type()).ok_or_else(|| {
        Error::refused(format!("{repository} {name} is no manifest")).hint("push it again: hdeploy all")
    })?;
    Ok(Manifest { bytes: answer.body, media_type, digest })
}
