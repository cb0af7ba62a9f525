//! What the registry holds of each service: by release, and by sources.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;

use crate::config::{Build, Config, Service};
use crate::docker;
use crate::error::{Error, Result};
use crate::git::{self, Revision};
use crate::model::{Digest, Invalid, PinnedImage, Repository, ServiceName, Tag};
use crate::plan::intent::{self, Found, Intent, Taken};
use crate::plan::naming::{self, Naming, RECIPE_LABEL, RELEASE_LABEL, Source};
use crate::plan::request::Request;
use crate::registry::{Reference, Registry};
use crate::stage::build::Images;
use crate::suggest::nearest;

/// What this run deploys, by name.
#[derive(Clone)]
pub struct Release {
    /// Its name, and the tag of images that nothing speaks against.
    pub tag: Tag,
    /// Revision of the configuration's repository; `None` without git.
    pub revision: Option<Revision>,
    /// Nobody has named it: nothing is built, and what runs keeps its images.
    pub is_unnamed: bool,
}

/// Name of a release without one, for people to read.
const UNNAMED: &str = "unnamed";

impl Release {
    /// Names the release: as asked for, or after the revision of the configuration's repository.
    ///
    /// # Errors
    /// When neither gives a name.
    pub async fn name(config: &Config, request: &Request) -> Result<Self> {
        let revision = git::state(&config.root).await?;
        let tag = match (&request.tag, &revision) {
            (Some(tag), _) => tag.clone(),
            (None, Some(revision)) => revision
                .short
                .parse()
                .map_err(|invalid: Invalid| Error::refused("the revision is no tag").because(invalid))?,
            (None, None) if request.skip_build => UNNAMED.parse().expect("a tag"),
            (None, None) => return Err(nameless(config)),
        };
        let is_unnamed = request.tag.is_none() && revision.is_none();
        Ok(Self { tag, revision, is_unnamed })
    }
}

fn nameless(config: &Config) -> Error {
    let root = config.root.display();
    Error::refused(format!("{root} lies in no git repository, so the release has no name"))
        .hint("name it with --tag NAME, or deploy what runs: hdeploy --skip-build")
}

/// The images of a product's services, as its registry has them.
#[derive(Clone, Copy)]
pub struct Catalogue<'a> {
    config: &'a Config,
    registry: &'a Registry,
}

impl<'a> Catalogue<'a> {
    /// The images of the services of `config` in `registry`.
    pub fn new(config: &'a Config, registry: &'a Registry) -> Self {
        Self { config, registry }
    }

    /// The service called `name`, which is one of the configuration.
    pub fn service(self, name: &ServiceName) -> &'a Service {
        self.config.service(name).expect("references name services of the configuration")
    }

    /// The images of the release called `release`.
    ///
    /// # Errors
    /// When the registry lacks one of them.
    pub async fn of_release(
        self,
        needed: &BTreeSet<ServiceName>,
        release: &Tag,
    ) -> Result<BTreeMap<ServiceName, Intent>> {
        let mut intents = BTreeMap::new();
        let mut findings = Vec::new();
        for name in needed {
            match self.find_release(&self.service(name).repository, release).await? {
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

    /// The image of each of `needed`: of the release that `request` names, or of the current revision.
    ///
    /// # Errors
    /// When the registry lacks one of them.
    pub async fn images(self, request: &Request, needed: &BTreeSet<ServiceName>) -> Result<Images> {
        if needed.is_empty() {
            return Ok(Images::new());
        }
        let release = Release::name(self.config, request).await?;
        let mut images = Images::new();
        if request.tag.is_some() {
            for (name, intent) in self.of_release(needed, &release.tag).await? {
                images.extend(intent.image().map(|image| (name, image.clone())));
            }
            return Ok(images);
        }
        let mut missing = Vec::new();
        for name in needed {
            let service = self.service(name);
            let named = self.named(service, &release).await?;
            match self.current(service, named, &[]).await? {
                Some((_, image)) => drop(images.insert(name.clone(), image)),
                None => missing.push(self.nothing(name, &release).await?),
            }
        }
        if missing.is_empty() {
            return Ok(images);
        }
        Err(Error::refused(format!("the registry does not have the images of {}", release.tag))
            .details(missing)
            .hint("name another release with --tag, or the images with --digest SERVICE=sha256:…")
            .hint("or build them: hdeploy all"))
    }

    /// What is missing, and why the tag may not be the one that was expected.
    async fn nothing(self, name: &ServiceName, release: &Release) -> Result<String> {
        let service = self.service(name);
        let named = match service.build.as_ref().filter(|build| build.context.is_dir()) {
            Some(build) => Some(naming_of(service, build, release).await?.0),
            None => None,
        };
        let tag = named.as_ref().map_or(&release.tag, |naming| &naming.tag);
        let because = named.as_ref().and_then(|naming| naming.because.as_ref());
        let because = because.map(|because| format!(": {because}")).unwrap_or_default();
        Ok(format!("{name}: {} has nothing for {tag}{because}", service.repository))
    }

    async fn find_release(self, repository: &Repository, release: &Tag) -> Result<Result<Taken, String>> {
        let family = naming::release_of(release).unwrap_or(release.as_str()).to_owned();
        for tag in [release.as_str(), &family].into_iter().filter_map(|text| text.parse::<Tag>().ok()) {
            if let Some(found) = self.find(repository, &tag).await? {
                return Ok(Ok(taken(found, tag, release)));
            }
        }
        let tags = self.registry.tags(repository).await?;
        let mut of_family = Vec::new();
        for tag in tags.iter().filter(|tag| naming::release_of(tag) == Some(family.as_str())) {
            // A tag of this form without our label is somebody else's.
            let found = self.find(repository, tag).await?.filter(|found| found.recipe.is_some());
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

    /// What the registry holds under `tag`.
    async fn find(self, repository: &Repository, tag: &Tag) -> Result<Option<Found>> {
        let image = self.registry.resolve(repository, &Reference::Tag(tag.clone())).await?;
        Ok(image.map(|image| Found {
            image: PinnedImage { repository: repository.clone(), digest: image.digest },
            recipe: image.labels.get(RECIPE_LABEL).cloned(),
            release: image.labels.get(RELEASE_LABEL).cloned(),
        }))
    }

    /// Intents of the services that can be built.
    pub async fn built(
        self,
        services: &BTreeSet<ServiceName>,
        release: &Release,
    ) -> Result<BTreeMap<ServiceName, Intent>> {
        let one = async |name: &ServiceName| {
            let service = self.service(name);
            let build = service.build.as_ref().expect("only services with a build are asked for");
            let (naming, recipe) = naming_of(service, build, release).await?;
            let by_own =
                async { if naming.exact { Ok(None) } else { self.find(&service.repository, &naming.own).await } };
            let (by_tag, by_own) = tokio::try_join!(self.find(&service.repository, &naming.tag), by_own)?;
            Ok::<_, Error>((name.clone(), intent::build_or_take(&naming, &recipe, by_tag, by_own)))
        };
        Ok(try_join_all(services.iter().map(one)).await?.into_iter().collect())
    }

    /// What the registry has of the current revision, under the tags that this revision would get: the best first.
    pub async fn named(self, service: &Service, release: &Release) -> Result<Vec<(Tag, Digest)>> {
        let tags = match &service.build {
            // Without its sources nobody knows which image would be theirs.
            Some(build) if !build.context.is_dir() => Vec::new(),
            Some(build) => {
                let (naming, _) = naming_of(service, build, release).await?;
                vec![naming.own, naming.tag]
            }
            None if release.is_unnamed => Vec::new(),
            None => vec![release.tag.clone()],
        };
        let found = try_join_all(tags.iter().map(|tag| self.registry.head(&service.repository, tag))).await?;
        Ok(tags.into_iter().zip(found).filter_map(|(tag, digest)| Some((tag, digest?))).collect())
    }

    /// The image of the best of the `named`. One that is `live` was read when it was applied.
    pub async fn current(
        self,
        service: &Service,
        named: Vec<(Tag, Digest)>,
        live: &[PinnedImage],
    ) -> Result<Option<(Tag, PinnedImage)>> {
        let Some((tag, digest)) = named.into_iter().next() else { return Ok(None) };
        if let Some(image) = live.iter().find(|image| image.digest == digest) {
            return Ok(Some((tag, image.clone())));
        }
        let found = self.find(&service.repository, &tag).await?;
        Ok(found.map(|found| (tag, found.image)))
    }
}

fn taken(found: Found, tag: Tag, release: &Tag) -> Taken {
    Taken { image: found.image, tag: Some(tag), because: format!("it is of release {release}") }
}

fn not_there(repository: &Repository, wanted: &Tag, have: &[Tag]) -> String {
    // Every tag of a release is found by the release's name.
    let names = have.iter().map(|tag| naming::release_of(tag).unwrap_or(tag.as_str())).filter(|name| *name != "latest");
    let near = nearest(wanted.as_str(), names);
    match (near.is_empty(), have.is_empty()) {
        (false, _) => format!("{repository} has no tag {wanted}; the nearest are {}", near.join(", ")),
        (true, false) => format!("{repository} has no tag {wanted}, nor one like it"),
        (true, true) => format!("{repository} holds no image at all"),
    }
}

async fn naming_of(service: &Service, build: &Build, release: &Release) -> Result<(Naming, String)> {
    // Most sources lie in the repository that was asked already.
    let own = match &release.revision {
        Some(revision) if revision.covers(&build.context) => Some(revision.clone()),
        _ => git::state(&build.context).await?,
    };
    let clean = own.as_ref().is_some_and(|revision| !revision.dirty);
    let content = if clean { None } else { Some(content_hash(build.clone()).await?) };
    let named_by_person = own.is_none().then_some(content.as_deref()).flatten();
    let source = Source {
        in_release_repository: own.as_ref().map(|r| r.root.as_path())
            == release.revision.as_ref().map(|r| r.root.as_path()),
        recipe: naming::recipe(build, named_by_person),
        revision: own.map(|revision| revision.short),
        content,
    };
    let recipe = source.recipe.clone();
    Ok((naming::name(&service.name, &release.tag, &source), recipe))
}

async fn content_hash(build: Build) -> Result<String> {
    let hash = tokio::task::spawn_blocking(move || docker::context::content_hash(&build));
    hash.await.map_err(|error| Error::refused("the build context could not be read").because(error))?
}
