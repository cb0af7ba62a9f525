//! `hdeploy all`: build what changed, push it, apply everything, wait.

use crate::cli::{CommonArgs, DeployArgs};
use crate::command::on_cluster;
use crate::engine;
use crate::error::Result;
use crate::plan::request::Request;
use crate::redact::Redactor;

/// Runs the verb.
///
/// # Errors
/// As [`engine::deploy`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: DeployArgs, redactor: Redactor) -> Result<()> {
    let request = Request::from(arguments);
    on_cluster(&common, request.wait, &redactor, async |context| engine::deploy(context, &request).await).await
}
