//! `hdeploy recover`: what an unfinished deploy changed is put back, and nothing else happens.

use crate::cli::{CommonArgs, RecoverArgs};
use crate::command::{on_cluster, view};
use crate::engine;
use crate::error::Result;
use crate::redact::Redactor;

/// Runs the verb.
///
/// # Errors
/// As [`engine::recover`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: RecoverArgs, redactor: Redactor) -> Result<()> {
    let view = view(&common, arguments.output);
    on_cluster(&common, view, arguments.wait.into(), &redactor, async |context| engine::recover(context).await).await
}
