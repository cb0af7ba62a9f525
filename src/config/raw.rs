//! The configuration as it is written: shape and source positions, no meaning yet.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A configuration file as written, with what it extends.
#[derive(Debug)]
pub struct Raw {
    /// The file that was named or found.
    pub file: PathBuf,
}

/// `deploy-k3s/config.yaml` in `from` or the nearest folder above it.
///
/// # Errors
/// When no folder up to the root holds one.
pub fn find(from: &Path) -> Result<PathBuf> {
    Err(Error::refused(format!("no deploy-k3s/config.yaml in {} or above", from.display())))
}

/// Reads `file` and what it extends.
///
/// # Errors
/// When a file is missing, is no YAML, or holds unknown or duplicate keys.
pub fn read(file: &Path) -> Result<Raw> {
    Ok(Raw { file: file.to_owned() })
}
