//! The verbs: each chooses what is asked for and who watches, then runs the engine.

pub mod all;
pub mod plan;
pub mod recover;
pub mod render;
pub mod schema;

use std::env;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory as _, Parser as _};
use tokio::task::JoinHandle;

use crate::cli::{AllArgs, Cli, Command, CommonArgs, OutputArgs, RunFormat};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events};
use crate::plan::request::Wait;
use crate::redact::Redactor;
use crate::registry::Registry;
use crate::stage::{Context, Wrote};
use crate::ui::{self, View};

/// Exit code of a plan that changes something, when that was asked for.
const CHANGES: u8 = 6;

/// Parses the command line, does what it asks for and says how it went.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let redactor = Redactor::default();
    ui::panic_hook(&redactor);
    match dispatch(cli, &redactor) {
        Ok(code) => code,
        Err(error) => {
            ui::report_error(&error, &redactor);
            error.kind.exit_code()
        }
    }
}

/// Help and version are answers; everything else that clap says is a refusal.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    ui::report_next("hdeploy --help");
    Kind::Refused.exit_code()
}

fn dispatch(cli: Cli, redactor: &Redactor) -> Result<ExitCode> {
    let bare = cli.all == AllArgs::default();
    let arguments = match cli.command {
        Some(Command::All(arguments)) if bare => arguments,
        Some(Command::Plan(arguments)) if bare => {
            let changes = block_on(plan::run(cli.common, arguments, redactor.clone()))?;
            return Ok(if changes { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS });
        }
        Some(Command::Recover(arguments)) if bare => {
            return done(recover::run(cli.common, arguments, redactor.clone()));
        }
        Some(Command::Render(arguments)) if bare => return done(render::run(cli.common, arguments, redactor.clone())),
        Some(Command::Schema) if bare => return schema::run().map(|()| ExitCode::SUCCESS),
        Some(_) => {
            return Err(Error::refused("options of a deploy stand before the verb")
                .hint("write them behind it, as in: hdeploy all --skip-build"));
        }
        None if cli.all.deploy.skip_build || cli.all.deploy.tag.is_some() => cli.all,
        None if bare => {
            // A closed pipe is no reason to fail.
            let _ = Cli::command().print_help();
            return Ok(ExitCode::SUCCESS);
        }
        None => {
            return Err(Error::refused("these options need a verb").hint("hdeploy all, with the same options"));
        }
    };
    done(all::run(cli.common, arguments, redactor.clone()))
}

fn done(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    block_on(work).map(|()| ExitCode::SUCCESS)
}

/// What a verb works with, as far as it is known without a cluster.
struct Setup {
    config: Arc<Config>,
    registry: Registry,
}

impl Setup {
    /// Reads the configuration.
    fn open(common: &CommonArgs, redactor: &Redactor) -> Result<Self> {
        let here =
            env::current_dir().map_err(|error| Error::refused("there is no working directory").because(error))?;
        let config = Arc::new(Config::load(common.config.as_deref(), &here, redactor)?);
        let repositories = config.services.iter().map(|service| service.repository.clone()).collect();
        let registry = Registry::new(&config.registry, repositories, redactor)?;
        Ok(Self { config, registry })
    }
}

/// Events on their way to a display.
struct Watched {
    events: Events,
    display: JoinHandle<()>,
}

impl Watched {
    /// Starts the display.
    fn begin(view: View, redactor: &Redactor) -> Self {
        let (events, messages) = Events::channel(redactor.clone());
        Self { events, display: tokio::spawn(ui::run(messages, view)) }
    }

    /// Waits until everything is said. Whoever got a sender of the events must have dropped it.
    async fn end(self) {
        drop(self.events);
        // A display that panicked has said so.
        let _ = self.display.await;
    }
}

/// Who watches a run on the cluster.
fn view(common: &CommonArgs, output: OutputArgs) -> View {
    match output.output {
        RunFormat::Json => View::Json,
        RunFormat::Text if common.plain => View::Lines,
        RunFormat::Text => View::Auto,
    }
}

/// Does `work` on the cluster until it is done or a signal comes, and waits until everything is said.
async fn on_cluster(
    common: &CommonArgs,
    view: View,
    wait: Wait,
    redactor: &Redactor,
    work: impl AsyncFnOnce(&Context) -> Result<()>,
) -> Result<()> {
    let watched = Watched::begin(view, redactor);
    let outcome = connected(common, wait, redactor, &watched.events, work).await;
    if let Err(error) = &outcome {
        watched.events.send(Event::run_failed(error));
    }
    watched.end().await;
    outcome
}

async fn connected(
    common: &CommonArgs,
    wait: Wait,
    redactor: &Redactor,
    events: &Events,
    work: impl AsyncFnOnce(&Context) -> Result<()>,
) -> Result<()> {
    let Setup { config, registry } = Setup::open(common, redactor)?;
    let cluster = Cluster::connect(common.context.as_deref(), config.context.as_deref()).await?;
    let (events, settle) = (events.clone(), config.settle.overridden(wait));
    let context = Context { config, events, registry, cluster, settle, wrote: Wrote::default() };
    tokio::select! {
        outcome = work(&context) => outcome.map_err(|error| context.wrote.classify(error)),
        signal = interrupted() => Err(stopped(&context, signal)),
    }
}

fn stopped(context: &Context, signal: &str) -> Error {
    if context.wrote.get() {
        Error::new(Kind::Stranded, format!("stopped by {signal} half-way; what was applied stands"))
            .hint("hdeploy recover puts back what was there before; the next deploy begins with that")
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

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    // One TLS provider for all clients. It fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // It waits for others all the time. With one thread, memory that was given back is used again: each has a heap of its own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::refused("the runtime did not start").because(error))?;
    let outcome = runtime.block_on(work);
    // A login that the kubeconfig asks for may hang for ever, and nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}
