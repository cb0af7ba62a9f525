//! What can be typed.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{Digest, Invalid, ServiceName, Tag};
use crate::plan::request::{Request, Wait};

/// Build, push and roll out the images of a product on a Kubernetes cluster.
#[derive(Debug, Parser)]
#[command(
    name = "hdeploy",
    version,
    about,
    after_help = "`hdeploy --skip-build` and `hdeploy --tag TAG` are short for `hdeploy all` with them.",
    subcommand_precedence_over_arg = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of `all`, for the short form without a verb.
    #[command(flatten)]
    pub all: AllArgs,
    /// Options of every verb.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// Configuration file [default: deploy-k3s/config.yaml here or in a folder above]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current context]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Plain lines even on a terminal
    #[arg(long, global = true)]
    pub plain: bool,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what changed, push it, apply the manifests and wait until everything runs
    All(AllArgs),
    /// Print what a deploy would do, and do nothing
    Plan(PlanArgs),
    /// Put back what a deploy changed that did not come to its end
    Recover(RecoverArgs),
    /// Print the objects as a deploy would send them, in that order; needs no daemon and no cluster
    Render(RenderArgs),
    /// Print the JSON Schema of what `--output json` prints
    Schema,
}

/// What to deploy, and who watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct AllArgs {
    /// How to deploy
    #[command(flatten)]
    pub deploy: DeployArgs,
    /// Who watches
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Who watches a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct OutputArgs {
    /// How the run is told
    #[arg(long, short, value_enum, value_name = "FORMAT", default_value = "text")]
    pub output: RunFormat,
}

/// How a run is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// For people: progress on standard error, a summary on standard output.
    #[default]
    Text,
    /// For programs: one line of JSON per event on standard output, as `hdeploy schema` describes.
    Json,
}

/// Which deploy to foresee, and how to say it.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// As of the deploy
    #[command(flatten)]
    pub deploy: DeployArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Exit with 6 when the deploy would do anything
    #[arg(long)]
    pub exit_code: bool,
}

/// How to recover.
#[derive(Clone, Debug, Args)]
pub struct RecoverArgs {
    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
    /// Who watches
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How long to wait for what was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct WaitArgs {
    /// A wave may take so long [default: settle.timeout, or what probes and images of each workload allow]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: Option<u64>,
    /// Take a timeout that is shorter than a good rollout may need
    #[arg(long)]
    pub force_timeout: bool,
    /// So long everything has to run before it counts [default: settle.soak, or 10]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub soak: Option<u64>,
}

/// What to render, and how.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// Use the images of this release [default: those of the current revision]
    #[arg(long, value_name = "TAG")]
    pub tag: Option<Tag>,
    /// Use this image of a service without asking the registry for it
    #[arg(long = "digest", value_name = "SERVICE=sha256:…")]
    pub digests: Vec<GivenDigest>,
    /// Only these services and what belongs to them
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    pub only: Vec<ServiceName>,
    /// How the objects are written
    #[arg(long, short, value_enum, value_name = "FORMAT", default_value = "yaml")]
    pub output: ObjectFormat,
    /// Show the values of Secrets
    #[arg(long)]
    pub show_secrets: bool,
}

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObjectFormat {
    /// A document for each.
    Yaml,
    /// One List.
    Json,
}

/// `SERVICE=sha256:…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenDigest {
    /// Whose image.
    pub service: ServiceName,
    /// Which.
    pub digest: Digest,
}

impl FromStr for GivenDigest {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (service, digest) = given.split_once('=').ok_or("expected SERVICE=sha256:…")?;
        let service = service.parse().map_err(|invalid: Invalid| invalid.to_string())?;
        let digest = digest.parse().map_err(|invalid: Invalid| invalid.to_string())?;
        Ok(Self { service, digest })
    }
}

/// How to deploy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DeployArgs {
    /// Build nothing: use the images of the current revision, or else those that run now
    #[arg(long)]
    pub skip_build: bool,
    /// With --skip-build: allow some images of the current revision beside some that run now
    #[arg(long, requires = "skip_build")]
    pub mixed: bool,
    /// Deploy the images of this release; without a git repository, the name of the release to build
    #[arg(long, value_name = "TAG")]
    pub tag: Option<Tag>,
    /// Only these services and what belongs to them
    #[arg(long, value_name = "SERVICE", value_delimiter = ',')]
    pub only: Vec<ServiceName>,
    /// Take over fields that another field manager owns
    #[arg(long)]
    pub force_conflicts: bool,
    /// Delete objects that were deployed and that the manifests no longer hold, when everything else runs; never claims,
    /// namespaces and custom resource definitions
    #[arg(long, conflicts_with = "only")]
    pub prune: bool,
    /// How long to wait
    #[command(flatten)]
    pub wait: WaitArgs,
}

impl From<DeployArgs> for Request {
    fn from(arguments: DeployArgs) -> Self {
        Self {
            skip_build: arguments.skip_build,
            mixed: arguments.mixed,
            tag: arguments.tag,
            only: arguments.only.into_iter().collect(),
            force_conflicts: arguments.force_conflicts,
            prune: arguments.prune,
            wait: arguments.wait.into(),
        }
    }
}

impl From<WaitArgs> for Wait {
    fn from(arguments: WaitArgs) -> Self {
        Self {
            timeout: arguments.timeout.map(Duration::from_secs),
            force_timeout: arguments.force_timeout,
            soak: arguments.soak.map(Duration::from_secs),
        }
    }
}
