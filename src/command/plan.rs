//! `hdeploy plan`: what a deploy would do, without doing any of it.

use crate::cli::{CommonArgs, OutputArgs, PlanArgs};
use crate::command::{on_cluster, view};
use crate::engine;
use crate::error::Result;
use crate::plan::request::Request;
use crate::redact::Redactor;
use crate::ui;

/// Runs the verb. Returns whether a deploy would do anything, when that is to be the exit code.
///
/// # Errors
/// As [`engine::plan`]; also when the configuration or the kubeconfig cannot be used.
pub async fn run(common: CommonArgs, arguments: PlanArgs, redactor: Redactor) -> Result<bool> {
    let request = Request::from(arguments.deploy);
    let mut plan = None;
    let view = view(&common, OutputArgs::default());
    on_cluster(&common, view, request.wait, &redactor, async |context| {
        plan = Some(engine::plan(context, &request).await?);
        Ok(())
    })
    .await?;
    // Warnings stand before what they are about.
    let plan = plan.expect("without a plan there is an error");
    ui::print_plan(&plan, arguments.json, &redactor)?;
    Ok(arguments.exit_code && plan.changes)
}
