//! What will be done about each service's image, decided from facts alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::event::Decision;
use crate::model::{PinnedImage, ServiceName, Tag};
use crate::plan::naming::Naming;

/// What will be done about a service's image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is built and pushed under this tag.
    Build {
        /// The tag that it gets.
        tag: Tag,
        /// Hash of how it is built; it becomes a label.
        recipe: String,
        /// Why the tag is not simply the release, when it is not.
        because: Option<String>,
    },
    /// It exists.
    Take(Taken),
}

/// An image that exists and will be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// By digest.
    pub image: PinnedImage,
    /// The tag under which it was found.
    pub tag: Option<Tag>,
    /// Why it is the right one.
    pub because: String,
}

impl Intent {
    /// The image, when it exists already.
    pub fn image(&self) -> Option<&PinnedImage> {
        match self {
            Self::Build { .. } => None,
            Self::Take(taken) => Some(&taken.image),
        }
    }

    /// The same for displays.
    pub fn decision(&self) -> Decision {
        match self {
            Self::Build { tag, because, .. } => Decision::Build { tag: tag.clone(), because: because.clone() },
            Self::Take(taken) => Decision::Take {
                origin: match &taken.tag {
                    Some(tag) => format!("tag {tag}"),
                    None => taken.image.digest.short().to_owned(),
                },
                because: taken.because.clone(),
            },
        }
    }
}

/// An image found in the registry under a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// By digest.
    pub image: PinnedImage,
    /// The recipe that it was built with, as its label says.
    pub recipe: Option<String>,
    /// The release that it was built for, as its label says.
    pub release: Option<String>,
}

/// Decides between building an image and taking the one that holds its tag already.
///
/// `by_tag` and `by_own` are what the registry holds under `naming.tag` and `naming.own`.
pub fn build_or_take(naming: &Naming, recipe: &str, by_tag: Option<Found>, by_own: Option<Found>) -> Intent {
    let take = |found: Found, tag: &Tag| {
        let because = "its sources and its build are the same".to_owned();
        Intent::Take(Taken { image: found.image, tag: Some(tag.clone()), because })
    };
    match (by_tag, by_own) {
        (Some(found), _) if naming.exact || found.recipe.as_deref() == Some(recipe) => take(found, &naming.tag),
        (_, Some(found)) => take(found, &naming.own),
        (Some(_), None) => Intent::Build {
            tag: naming.own.clone(),
            recipe: recipe.to_owned(),
            because: Some(format!("tag {} is held by an image that was built otherwise", naming.tag)),
        },
        (None, None) => {
            Intent::Build { tag: naming.tag.clone(), recipe: recipe.to_owned(), because: naming.because.clone() }
        }
    }
}

/// What can be used of a service without building it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Available {
    /// The image of the current revision, with its tag, when the registry has it.
    pub current: Option<(Tag, PinnedImage)>,
    /// The images that the live pod templates run.
    pub live: BTreeSet<String>,
    /// The one live image, when there is exactly one.
    pub live_image: Option<PinnedImage>,
}

/// Chooses images without building: those of the current revision when all are there, else those that run now. A
/// mixture of both is refused unless `mixed`.
///
/// # Errors
/// When a service has neither, when its live pods do not agree, or on a mixture that was not asked for.
pub fn without_build(
    available: &BTreeMap<ServiceName, Available>,
    release: &str,
    mixed: bool,
) -> Result<BTreeMap<ServiceName, Intent>> {
    let missing: Vec<&ServiceName> =
        available.iter().filter(|(_, have)| have.current.is_none()).map(|(service, _)| service).collect();
    let current = available.len() - missing.len();
    if current > 0 && !missing.is_empty() && !mixed {
        return Err(mixture(&missing, current, release));
    }
    let mut intents = BTreeMap::new();
    let mut findings = Vec::new();
    for (service, have) in available {
        match choose(have, release) {
            Ok(taken) => drop(intents.insert(service.clone(), Intent::Take(taken))),
            Err(finding) => findings.push(format!("{service}: {finding}")),
        }
    }
    if findings.is_empty() {
        return Ok(intents);
    }
    Err(Error::refused("without building there is no image for every service")
        .details(findings)
        .hint("build them: hdeploy all"))
}

fn choose(have: &Available, release: &str) -> Result<Taken, String> {
    if let Some((tag, image)) = &have.current {
        let because = format!("the registry has it for {release}");
        return Ok(Taken { image: image.clone(), tag: Some(tag.clone()), because });
    }
    match (&have.live_image, have.live.len()) {
        (Some(image), _) => Ok(Taken { image: image.clone(), tag: None, because: "the live pods run it".into() }),
        (None, 0) => Err(format!("the registry has nothing for {release}, and nothing runs by digest in the cluster")),
        (None, _) => {
            let live: Vec<&str> = have.live.iter().map(String::as_str).collect();
            Err(format!("its live workloads run different images: {}", live.join(", ")))
        }
    }
}

fn mixture(missing: &[&ServiceName], current: usize, release: &str) -> Error {
    let names: Vec<&str> = missing.iter().map(|service| service.as_str()).collect();
    Error::refused(format!(
        "the registry has {current} of {} images for {release}; the other services would keep what runs now",
        current + missing.len()
    ))
    .detail(format!("no image for {release}: {}", names.join(", ")))
    .hint("build what is missing: hdeploy all")
    .hint("or deploy the mixture on purpose: hdeploy --skip-build --mixed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Repository};

    fn image(content: &str) -> PinnedImage {
        let repository = Repository { registry: "registry.example".into(), path: "owner/api".into() };
        PinnedImage { repository, digest: Digest::of(content.as_bytes()) }
    }

    fn found(content: &str, recipe: Option<&str>) -> Found {
        Found { image: image(content), recipe: recipe.map(str::to_owned), release: None }
    }

    fn naming(exact: bool) -> Naming {
        let tag = |text: &str| text.parse().expect("a tag");
        Naming { tag: tag("d3708e6"), because: None, exact, own: tag("d3708e6-00000000") }
    }

    fn tag_of(intent: &Intent) -> (&str, String) {
        match intent {
            Intent::Build { tag, .. } => ("build", tag.to_string()),
            Intent::Take(taken) => ("take", taken.tag.as_ref().map(ToString::to_string).unwrap_or_default()),
        }
    }

    #[test]
    fn what_the_registry_has_decides_between_building_and_taking() {
        for (by_tag, by_own, exact, expected) in [
            (None, None, false, ("build", "d3708e6")),
            (Some(found("a", Some("r1"))), None, false, ("take", "d3708e6")),
            (Some(found("a", Some("r2"))), None, false, ("build", "d3708e6-00000000")),
            (Some(found("a", None)), None, false, ("build", "d3708e6-00000000")),
            (Some(found("a", Some("r2"))), Some(found("b", Some("r1"))), false, ("take", "d3708e6-00000000")),
            (Some(found("a", None)), None, true, ("take", "d3708e6")),
        ] {
            let intent = build_or_take(&naming(exact), "r1", by_tag, by_own);
            assert_eq!(tag_of(&intent), (expected.0, expected.1.to_owned()));
        }
    }

    fn available(entries: &[(&str, bool, &[&str])]) -> BTreeMap<ServiceName, Available> {
        let entry = |(name, current, live): &(&str, bool, &[&str])| {
            let have = Available {
                current: current.then(|| ("d3708e6".parse().expect("a tag"), image("current"))),
                live: live.iter().map(|&text| text.to_owned()).collect(),
                live_image: (live.len() == 1).then(|| image(live[0])),
            };
            (name.parse().expect("a name"), have)
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn without_building_it_is_all_current_or_all_live() {
        let all_current = available(&[("api", true, &["old"]), ("web", true, &[])]);
        let intents = without_build(&all_current, "d3708e6", false).expect("all are there");
        assert!(intents.values().all(|intent| tag_of(intent).1 == "d3708e6"));

        let all_live = available(&[("api", false, &["old"]), ("web", false, &["old"])]);
        let intents = without_build(&all_live, "d3708e6", false).expect("all are live");
        assert!(intents.values().all(|intent| tag_of(intent).1.is_empty()));
    }

    #[test]
    fn a_mixture_is_refused_unless_asked_for() {
        let some = available(&[("api", true, &["old"]), ("web", false, &["old"])]);
        let error = without_build(&some, "d3708e6", false).expect_err("a mixture");
        assert!(error.details[0].contains("web") && error.hints[1].contains("--mixed"), "{error:?}");
        assert_eq!(without_build(&some, "d3708e6", true).expect("asked for").len(), 2);
    }

    #[test]
    fn a_service_that_runs_nowhere_or_in_two_versions_is_refused() {
        let none = available(&[("api", false, &[]), ("web", false, &["a", "b"])]);
        let error = without_build(&none, "d3708e6", false).expect_err("nothing to run");
        assert_eq!(error.details.len(), 2, "{error:?}");
    }
}
