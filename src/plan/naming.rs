//! Which tag an image gets: the release's, or one of its own when the release's would lie about the content.

use serde_json::json;

use crate::config::Build;
use crate::model::{Digest, ServiceName, Tag};

/// Label that holds the release for which an image was built.
pub const RELEASE_LABEL: &str = "dev.hdeploy.release";
/// Label that holds the hash of everything about a build that is not in its context.
pub const RECIPE_LABEL: &str = "dev.hdeploy.recipe";

/// What is known of a service's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Short revision of the build context's own repository; `None` without git.
    pub revision: Option<String>,
    /// Whether the build context lies in the repository that the configuration lies in; true as well when neither lies
    /// in any.
    pub in_release_repository: bool,
    /// Hash of the context's content, when its revision alone does not tell what it holds.
    pub content: Option<String>,
    /// Hash of the build's Dockerfile path, target, arguments and platform.
    pub recipe: String,
}

/// The tags that an image may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// What it gets when nobody holds it.
    pub tag: Tag,
    /// Why that is not simply the release, when it is not.
    pub because: Option<String>,
    /// True when the tag is named after the content and recipe, so that whatever holds it is the right image.
    pub exact: bool,
    /// What it gets when `tag` is held by an image of another recipe. Always exact.
    pub own: Tag,
}

/// Hash of everything about a build that its tag does not tell: Dockerfile path, target, arguments, platform, and the
/// content where the tag is a name that a person chose.
pub fn recipe(build: &Build, content: Option<&str>) -> String {
    let text = json!({
        "content": content,
        "dockerfile": build.dockerfile,
        "target": build.target,
        "args": build.args,
        "platform": "linux/amd64",
    })
    .to_string();
    Digest::of(text.as_bytes()).short().to_owned()
}

/// Names the image that `source` makes for `release`.
pub fn name(service: &ServiceName, release: &Tag, source: &Source) -> Naming {
    let own = with_suffix(release, &identity(source));
    let (tag, because) = match (&source.revision, &source.content) {
        (Some(_), Some(_)) => (own.clone(), Some(format!("the sources of {service} have uncommitted changes"))),
        (None, _) if !source.in_release_repository => {
            (own.clone(), Some(format!("the sources of {service} are in no git repository")))
        }
        (Some(revision), None) if !source.in_release_repository => (
            with_suffix(release, revision),
            Some(format!("{service} comes from a repository of its own, at {revision}")),
        ),
        _ => (release.clone(), None),
    };
    Naming { exact: tag == own, tag, because, own }
}

/// Eight digits that tell apart whatever may differ between two images of one release.
fn identity(source: &Source) -> String {
    let text = format!("{:?} {:?} {}", source.revision, source.content, source.recipe);
    Digest::of(text.as_bytes()).short()[..8].to_owned()
}

fn with_suffix(release: &Tag, suffix: &str) -> Tag {
    // A release may be up to 128 characters long by itself.
    let room = 127 - suffix.len();
    let release = release.as_str();
    let text = format!("{}-{suffix}", &release[..release.len().min(room)]);
    text.parse().expect("a tag with a suffix of hexadecimal digits is a tag")
}

/// The release that `tag` belongs to, when it is a tag as [`name`] makes them for images of their own.
pub fn release_of(tag: &Tag) -> Option<&str> {
    let (release, suffix) = tag.as_str().rsplit_once('-')?;
    let is_hex = suffix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (suffix.len() >= 7 && is_hex && !release.is_empty()).then_some(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            revision: Some("d3708e6".into()),
            in_release_repository: true,
            content: None,
            recipe: "aaaaaaaaaaaa".into(),
        }
    }

    fn named(source: &Source) -> Naming {
        let service: ServiceName = "api".parse().expect("a name");
        name(&service, &"d3708e6".parse().expect("a tag"), source)
    }

    #[test]
    fn a_clean_tree_of_the_release_gets_the_release_tag() {
        let naming = named(&source());
        assert_eq!((naming.tag.as_str(), naming.because.as_ref(), naming.exact), ("d3708e6", None, false));
        assert_eq!(release_of(&naming.own), Some("d3708e6"));
    }

    #[test]
    fn another_repository_gets_its_own_revision_as_suffix() {
        let naming = named(&Source { in_release_repository: false, revision: Some("1a2b3c4".into()), ..source() });
        assert_eq!(naming.tag.as_str(), "d3708e6-1a2b3c4");
        assert!(naming.because.is_some_and(|why| why.contains("1a2b3c4")));
        assert_eq!(release_of(&naming.tag), Some("d3708e6"));
    }

    #[test]
    fn without_git_the_release_is_a_name_that_a_person_gave() {
        let naming = named(&Source { revision: None, content: Some("111111111111".into()), ..source() });
        assert_eq!((naming.tag.as_str(), naming.exact), ("d3708e6", false));
        let beside = Source { revision: None, content: Some("1".into()), in_release_repository: false, ..source() };
        assert_eq!(named(&beside).tag, named(&beside).own);
    }

    #[test]
    fn a_dirty_tree_is_named_after_its_content() {
        let first = named(&Source { content: Some("111111111111".into()), ..source() });
        let second = named(&Source { content: Some("222222222222".into()), ..source() });
        assert_ne!(first.tag, second.tag);
        assert!(first.exact && first.tag == first.own && first.because.is_some());
    }

    #[test]
    fn another_recipe_gives_another_own_tag() {
        let other = Source { recipe: "bbbbbbbbbbbb".into(), ..source() };
        assert_ne!(named(&source()).own, named(&other).own);
    }

    #[test]
    fn a_tag_of_a_person_is_no_tag_of_ours() {
        for text in ["d3708e6", "v1.2.3", "release-candidate", "-1"] {
            if let Ok(tag) = text.parse::<Tag>() {
                assert_eq!(release_of(&tag), None, "{text}");
            }
        }
    }
}
