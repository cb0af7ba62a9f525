//! `hdeploy render`: the objects as a deploy would send them.

use crate::cli::{CommonArgs, ObjectFormat, RenderArgs};
use crate::command::{Setup, Watched};
use crate::engine;
use crate::error::Result;
use crate::plan::request::Request;
use crate::redact::Redactor;
use crate::stage::catalogue::Catalogue;
use crate::ui::{self, Format, View};

/// Runs the verb.
///
/// # Errors
/// As [`engine::render`]; also when the configuration cannot be used.
pub async fn run(common: CommonArgs, arguments: RenderArgs, redactor: Redactor) -> Result<()> {
    let Setup { config, registry } = Setup::open(&common, &redactor)?;
    let watched = Watched::begin(View::Lines, &redactor);
    let given = arguments.digests.into_iter().map(|given| (given.service, given.digest)).collect();
    let request = Request {
        skip_build: true,
        tag: arguments.tag,
        only: arguments.only.into_iter().collect(),
        ..Request::default()
    };
    let catalogue = Catalogue::new(&config, &registry);
    let objects = engine::render(&config, &watched.events, catalogue, &request, &given).await;
    // Warnings stand before what they are about.
    watched.end().await;
    let format = match arguments.output {
        ObjectFormat::Yaml => Format::Yaml,
        ObjectFormat::Json => Format::Json,
    };
    ui::print_objects(&objects?, format, (!arguments.show_secrets).then_some(&redactor))
}
