//! The verbs: each chooses what is asked for and who watches, then runs the engine.

pub mod all;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command, DeployArgs};
use crate::error::{Error, Kind, Result};
use crate::redact::Redactor;
use crate::ui;

/// Parses the command line, does what it asks for and says how it went.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let redactor = Redactor::default();
    ui::panic_hook(&redactor);
    match dispatch(cli, &redactor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::report_error(&error, &redactor);
            error.kind.exit_code()
        }
    }
}

/// Help and version are answers; everything else that clap says is a refusal.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { Kind::Refused.exit_code() } else { ExitCode::SUCCESS }
}

fn dispatch(cli: Cli, redactor: &Redactor) -> Result<()> {
    let bare = cli.deploy == DeployArgs::default();
    let arguments = match cli.command {
        Some(Command::All(arguments)) if bare => arguments,
        Some(_) => {
            return Err(Error::refused("options of a deploy stand before the verb")
                .hint("write them behind it: hdeploy all --skip-build"));
        }
        None if cli.deploy.skip_build || cli.deploy.tag.is_some() => cli.deploy,
        None if bare => {
            // A closed pipe is no reason to fail.
            let _ = Cli::command().print_help();
            return Ok(());
        }
        None => {
            return Err(Error::refused("these options need a verb").hint("hdeploy all, with the same options"));
        }
    };
    block_on(all::run(cli.common, arguments, redactor.clone()))
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    // One TLS provider for all clients. It fails only when one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::refused("the runtime did not start").because(error))?
        .block_on(work)
}
