//! `hdeploy all`: build what changed, push it, apply everything, wait.

use std::sync::Arc;

use crate::cli::{CommonArgs, DeployArgs};
use crate::cluster::Cluster;
use crate::command::Setup;
use crate::engine;
use crate::error::{Error, Kind, Result};
use crate::plan::request::Request;
use crate::redact::Redactor;
use crate::stage::{Context, Wrote};
use crate::ui::View;

/// Runs the verb.
///
/// # Errors
/// As [`engine::deploy`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: DeployArgs, redactor: Redactor) -> Result<()> {
    let view = if common.plain { View::Lines } else { View::Auto };
    let setup = Setup::open(&common, view, &redactor)?;
    let cluster = Cluster::connect(common.context.as_deref(), setup.config.context.as_deref()).await?;
    let context = Context {
        config: Arc::clone(&setup.config),
        events: setup.events.clone(),
        registry: setup.registry.clone(),
        cluster,
        wrote: Wrote::default(),
    };
    let outcome = until_interrupted(&context, &request(arguments)).await;
    let outcome = outcome.map_err(|error| context.wrote.classify(error));
    drop(context);
    setup.close().await;
    outcome
}

fn request(arguments: DeployArgs) -> Request {
    Request {
        skip_build: arguments.skip_build,
        mixed: arguments.mixed,
        tag: arguments.tag,
        only: arguments.only.into_iter().collect(),
        force_conflicts: arguments.force_conflicts,
    }
}

async fn until_interrupted(context: &Context, request: &Request) -> Result<()> {
    tokio::select! {
        outcome = engine::deploy(context, request) => outcome,
        signal = interrupted() => Err(stopped(context, signal)),
    }
}

fn stopped(context: &Context, signal: &str) -> Error {
    if context.wrote.get() {
        Error::new(Kind::Stranded, format!("stopped by {signal} half-way; what was applied stands"))
            .hint("run the same command again: it goes on from what is there")
    } else {
        Error::refused(format!("stopped by {signal}; nothing was written to the cluster"))
    }
}

async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
