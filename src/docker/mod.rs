//! The edge to the Docker daemon and its BuildKit. Only this module names bollard.

pub mod context;

mod build;
mod check;
mod client;
mod credentials;
mod dockerfile;
mod failure;
mod ignore;
mod log;
mod push;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::config::{Build, Credentials};
use crate::error::Result;
use crate::model::{Digest, Repository, ServiceName, Tag};

pub use check::check_build;
pub use client::Daemon;

/// Bytes that a Dockerfile or `.dockerignore` may have.
const LARGEST_FILE: usize = 1 << 20;

/// A Docker daemon. Clones share the daemon; any number of builds and pushes may run side by side.
#[derive(Clone)]
pub struct Docker {
    api: bollard::Docker,
    endpoint: client::Endpoint,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// Whose image it is, for messages.
    pub service: ServiceName,
    /// How it is built.
    pub build: Build,
    /// The repository under whose name the daemon keeps it.
    pub image: Repository,
    /// And the tag.
    pub tag: Tag,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// What a build says while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildUpdate {
    /// A step began or was found in the cache: `[build 4/6] RUN go build ./...`, `CACHED [build 2/6] WORKDIR /src`.
    Step(String),
    /// One line of the log.
    Log(String),
}

/// An image in the daemon, for linux/amd64.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltImage {
    /// The daemon's id of it.
    pub id: String,
    /// Its layers, uncompressed.
    pub diff_ids: Vec<Digest>,
    /// The container configuration as the daemon tells it.
    pub config: Value,
}

impl Docker {
    /// The daemon of `DOCKER_HOST`, else of `DOCKER_CONTEXT`, else of Docker's current context, else the one at the
    /// default socket. Asks nothing of it yet.
    ///
    /// # Errors
    /// No such context, no socket, or an address that cannot be used.
    pub fn connect() -> Result<Self> {
        client::connect()
    }

    /// Whether the daemon is there and new enough.
    ///
    /// # Errors
    /// It does not answer within five seconds, does not let this user in, or has no BuildKit.
    pub async fn check(&self) -> Result<Daemon> {
        client::check(self).await
    }

    /// Builds an image for linux/amd64 with BuildKit. Dropping the future cancels the build.
    ///
    /// # Errors
    /// The failing step with its line of the Dockerfile and its last output, a base image that cannot be pulled, a
    /// context that cannot be read, or a daemon that went away.
    pub async fn build(&self, request: &BuildRequest, update: impl FnMut(BuildUpdate) + Send) -> Result<BuiltImage> {
        build::build(self, request, update).await
    }

    /// Pushes `built` as `repository:tag` and returns the digest that the daemon reports. `progress` hears bytes sent
    /// and bytes to send, as far as known.
    ///
    /// # Errors
    /// The registry or the daemon refused, or went away.
    pub async fn push(
        &self,
        repository: &Repository,
        built: &BuiltImage,
        tag: &Tag,
        credentials: Option<&Credentials>,
        progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Digest> {
        push::push(self, repository, built, tag, credentials, progress).await
    }
}
