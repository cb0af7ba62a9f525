//! From what was written to what was meant.

use super::Config;
use super::raw::Raw;
use crate::error::{Error, Result};
use crate::redact::Redactor;

/// Validates `raw` and reads every value that comes from elsewhere.
///
/// # Errors
/// All findings at once.
pub fn resolve(raw: Raw, _redactor: &Redactor) -> Result<Config> {
    Err(Error::refused(format!("{} cannot be resolved", raw.file.display())))
}
