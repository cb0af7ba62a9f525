//! Pushing an image, and the digest that the registry gave it.

use std::collections::HashMap;

use bollard::auth::DockerCredentials;
use bollard::models::PushImageInfo;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt as _;

use super::{BuiltImage, Docker, failure};
use crate::config::Credentials;
use crate::error::{Error, Result};
use crate::model::{Digest, Repository, Tag};

pub(super) async fn push(
    docker: &Docker,
    repository: &Repository,
    built: &BuiltImage,
    tag: &Tag,
    credentials: Option<&Credentials>,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<Digest> {
    let failed = |error| failure::push(docker, repository, tag, error);
    // Somebody else may have moved the tag in the daemon since the build.
    let naming = TagImageOptionsBuilder::default().repo(&repository.to_string()).tag(tag.as_str()).build();
    docker.api.tag_image(&built.id, Some(naming)).await.map_err(failed)?;

    let options = PushImageOptionsBuilder::default().tag(tag.as_str()).build();
    let name = repository.to_string();
    let mut stream = std::pin::pin!(docker.api.push_image(
        &name,
        Some(options),
        credentials.map(|credentials| login(repository, credentials))
    ));
    let mut state = Pushed::default();
    while let Some(message) = stream.next().await {
        if let Some((sent, total)) = state.take(message.map_err(failed)?) {
            progress(sent, total);
        }
    }
    state.digest.ok_or_else(|| {
        Error::refused(format!("the push of {repository}:{tag} ended without a digest"))
            .because(format!("the Docker daemon at {} closed the answer early", docker.endpoint.address))
            .hint("look whether Docker still runs: docker version; then run the same command again")
    })
}

fn login(repository: &Repository, credentials: &Credentials) -> DockerCredentials {
    DockerCredentials {
        username: Some(credentials.username.clone()),
        password: Some(credentials.password.expose().to_owned()),
        serveraddress: Some(repository.registry.clone()),
        ..DockerCredentials::default()
    }
}

#[derive(Default)]
struct Pushed {
    /// Sent bytes by the size of the layer: bollard's messages do not tell which layer they are about.
    layers: HashMap<u64, u64>,
    digest: Option<Digest>,
}

impl Pushed {
    fn take(&mut self, message: PushImageInfo) -> Option<(u64, u64)> {
        if let Some(digest) = message.status.as_deref().and_then(digest_in) {
            self.digest = Some(digest);
        }
        let detail = message.progress_detail?;
        let total = u64::try_from(detail.total?).ok().filter(|total| *total > 0)?;
        // The daemon counts the archive's headers too, which are not part of the total.
        let sent = u64::try_from(detail.current?).ok()?.min(total);
        let before = self.layers.entry(total).or_default();
        *before = sent.max(*before);
        Some((self.layers.values().sum(), self.layers.keys().sum()))
    }
}

/// Of `v1: digest: sha256:… size: 528`.
fn digest_in(status: &str) -> Option<Digest> {
    let (_, rest) = status.split_once("digest: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ProgressDetail;

    #[test]
    fn the_digest_is_read_from_the_last_status() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(digest_in(&format!("v1: digest: {digest} size: 528")).expect("digest").as_str(), digest);
        assert_eq!(digest_in("latest: digest: none"), None);
        assert_eq!(digest_in("Preparing"), None);
    }

    #[test]
    fn progress_adds_up_over_layers() {
        let mut state = Pushed::default();
        let mut say = |current, total| {
            let progress_detail = Some(ProgressDetail { current: Some(current), total });
            state.take(PushImageInfo { progress_detail, ..PushImageInfo::default() })
        };
        assert_eq!(say(10, Some(100)), Some((10, 100)));
        assert_eq!(say(5, Some(50)), Some((15, 150)));
        assert_eq!(say(999, Some(100)), Some((105, 150)));
        assert_eq!(say(7, None), None);
    }
}
