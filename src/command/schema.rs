//! `hdeploy schema`: what programs that read `--output json` can rely on.

use crate::error::Result;
use crate::ui;

/// Runs the verb.
///
/// # Errors
/// When standard output takes no more.
pub fn run() -> Result<()> {
    ui::print_schema()
}
