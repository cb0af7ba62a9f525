//! One build: the context goes up as a stream, BuildKit's status comes down.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bollard::auth::DockerCredentials;
use bollard::models::{BuildInfoAux, ImageInspect};
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, BuilderVersion};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

use super::dockerfile::Dockerfile;
use super::log::Log;
use super::{BuildRequest, BuildUpdate, BuiltImage, Docker, check, context, credentials, failure};
use crate::config::Build;
use crate::error::{Error, Result};

const CHUNK: usize = 128 * 1024;
/// Chunks that wait for the daemon at most.
const CHUNKS: usize = 8;

pub(super) async fn build(
    docker: &Docker,
    request: &BuildRequest,
    mut update: impl FnMut(BuildUpdate) + Send,
) -> Result<BuiltImage> {
    let (file, found) = prepare(&request.build).await?;
    for complaint in found.complaints {
        update(BuildUpdate::Log(complaint));
    }
    let id = run(docker, request, &file, found.credentials, &mut update).await?;
    let what = format!("reading the image of {}", request.service);
    let image = failure::request(docker, &what, docker.api.inspect_image(&id).await)?;
    built(request, id, image)
}

async fn prepare(build: &Build) -> Result<(Dockerfile, credentials::Found)> {
    let build = build.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let file = check::dockerfile(&build)?;
        let found = credentials::find(&file.images(&build.args));
        Ok((file, found))
    });
    prepared.await.map_err(|error| Error::refused("the Dockerfile could not be read").because(error))?
}

/// Runs the build and returns the image's id. Dropping the future closes the connection, and with it the build.
async fn run(
    docker: &Docker,
    request: &BuildRequest,
    file: &Dockerfile,
    credentials: HashMap<String, DockerCredentials>,
    update: &mut (impl FnMut(BuildUpdate) + Send),
) -> Result<String> {
    let (body, unsent) = upload(request.build.clone());
    let mut log = Log::default();
    let mut id = None;
    let mut ended = None;
    {
        let answer = docker.api.build_image(options(request), Some(credentials), Some(bollard::body_try_stream(body)));
        let mut answer = std::pin::pin!(answer);
        while let Some(message) = answer.next().await {
            match message.map(|message| message.aux) {
                Ok(Some(BuildInfoAux::BuildKit(status))) => log.take(status).into_iter().for_each(&mut *update),
                Ok(Some(BuildInfoAux::Default(image))) => id = image.id.or(id),
                Ok(None) => {}
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
    }
    log.finish().into_iter().for_each(&mut *update);
    // A context that could not be read ends the request too, and is the better explanation.
    if let Some(error) = unsent.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let doing = format!("building {}", request.service);
    match (ended, id) {
        (None, Some(id)) => Ok(id),
        (None, None) => match log.failed() {
            Some(failed) => {
                let text = failed.error.clone();
                Err(failure::build(request, file, Some(failed), &text))
            }
            None => Err(failure::gone(docker, &doing)),
        },
        (Some(error), _) => Err(match failure::answer(&error) {
            Some(text) => failure::build(request, file, log.failed(), text),
            None => failure::gone(docker, &doing).because(error),
        }),
    }
}

fn options(request: &BuildRequest) -> BuildImageOptions {
    let map = |map: &std::collections::BTreeMap<String, String>| map.clone().into_iter().collect::<HashMap<_, _>>();
    BuildImageOptionsBuilder::default()
        .version(BuilderVersion::BuilderBuildKit)
        .session(&session())
        .dockerfile(&request.build.dockerfile)
        .t(&format!("{}:{}", request.image, request.tag))
        .platform("linux/amd64")
        .target(request.build.target.as_deref().unwrap_or_default())
        .buildargs(&map(&request.build.args))
        .labels(&map(&request.labels))
        .rm(true)
        .build()
}

/// A name that no other build of this daemon has: process, time and a counter.
fn session() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("{:x}-{now:x}-{next:x}", std::process::id())
}

type Unsent = Arc<Mutex<Option<Error>>>;

/// The context's archive as a stream, written by a thread that is never more than a few chunks ahead; and where that
/// thread leaves its error.
fn upload(build: Build) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Unsent) {
    let (sender, mut receiver) = mpsc::channel(CHUNKS);
    let unsent = Unsent::default();
    let report = unsent.clone();
    tokio::task::spawn_blocking(move || {
        let out = Chunks { sender: sender.clone(), buffer: BytesMut::with_capacity(CHUNK) };
        // When nobody receives any more, the build ended before its context did: that is told elsewhere.
        if let (Err(error), false) = (context::archive(&build, out), sender.is_closed()) {
            let message = error.message.clone();
            *report.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            let _ = sender.blocking_send(Err(io::Error::other(message)));
        }
    });
    (stream::poll_fn(move |context| receiver.poll_recv(context)), unsent)
}

struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn built(request: &BuildRequest, id: String, image: ImageInspect) -> Result<BuiltImage> {
    let platform = format!("{}/{}", image.os.unwrap_or_default(), image.architecture.unwrap_or_default());
    if platform != "linux/amd64" {
        return Err(Error::refused(format!(
            "the image of {} is for {platform}, and linux/amd64 is needed",
            request.service
        ))
        .detail(request.build.context.join(&request.build.dockerfile).display().to_string())
        .hint("remove --platform from its last FROM line, or use a base image that exists for linux/amd64"));
    }
    let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
        Error::refused(format!("the Docker daemon's answer about the image of {} makes no sense", request.service))
            .because(error)
            .hint(format!("look at it: docker image inspect {id}"))
    };
    let layers = image.root_fs.and_then(|fs| fs.layers).unwrap_or_default();
    let diff_ids = layers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>();
    Ok(BuiltImage {
        diff_ids: diff_ids.map_err(|error: crate::model::Invalid| unusable(error.into()))?,
        config: serde_json::to_value(image.config).map_err(|error| unusable(error.into()))?,
        id,
    })
}
