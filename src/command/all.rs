//! `hdeploy all`: build what changed, push it, apply everything, wait.

use crate::cli::{AllArgs, CommonArgs};
use crate::command::{on_cluster, view};
use crate::engine;
use crate::error::Result;
use crate::plan::request::Request;
use crate::redact::Redactor;

/// Runs the verb.
///
/// # Errors
/// As [`engine::deploy`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: AllArgs, redactor: Redactor) -> Result<()> {
    let request = Request::from(arguments.deploy);
    let view = view(&common, arguments.output);
    on_cluster(&common, view, request.wait, &redactor, async |context| engine::deploy(context, &request).await).await
}
