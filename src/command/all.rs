//! `hdeploy all`: build what changed, push it, apply everything, wait.

use std::env;
use std::sync::Arc;

use crate::cli::{CommonArgs, DeployArgs};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::engine;
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::plan::request::Request;
use crate::redact::Redactor;
use crate::registry::Registry;
use crate::stage::{Context, Wrote};
use crate::ui::{self, View};

/// Runs the verb.
///
/// # Errors
/// As [`engine::deploy`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: DeployArgs, redactor: Redactor) -> Result<()> {
    let here = env::current_dir().map_err(|error| Error::refused("there is no working directory").because(error))?;
    let config = Arc::new(Config::load(common.config.as_deref(), &here, &redactor)?);
    let cluster = Cluster::connect(common.context.as_deref(), config.context.as_deref()).await?;
    let registry = Registry::new(&config.registry, &redactor)?;

    let (events, messages) = Events::channel(redactor.clone());
    let view = if common.plain { View::Lines } else { View::Auto };
    let display = tokio::spawn(ui::run(messages, view));

    let context = Context { config, events, redactor, registry, cluster, wrote: Wrote::default() };
    let outcome = until_interrupted(&context, &request(arguments)).await;
    let outcome = outcome.map_err(|error| context.wrote.classify(error));
    // The display ends when the last sender is gone.
    drop(context);
    let _ = display.await;
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
