//! What an API server logged: a line per write, and two per watch.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The audit log of an API server.
pub struct Audit {
    folder: PathBuf,
}

impl Audit {
    /// The one whose newest file is `log`.
    pub fn of(log: &str) -> Self {
        Self { folder: Path::new(log).parent().expect("a folder").to_owned() }
    }

    /// Everything logged that names `text`, oldest first. The server begins a new file from time to time.
    pub fn entries(&self, text: &str) -> Vec<Value> {
        let entries = fs::read_dir(&self.folder).expect("the logs").map(|entry| entry.expect("an entry").path());
        let is_audit =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit"));
        let mut files: Vec<PathBuf> = entries.filter(is_audit).collect();
        files.sort();
        let log: String = files.iter().map(|file| fs::read_to_string(file).expect("the audit log")).collect();
        // The log is long, and what is not about this text need not be understood.
        let lines = log.lines().filter(|line| line.contains(text));
        lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect()
    }

    /// Writes by hdeploy in the namespace `project`, and to objects outside of namespaces that are called `project` or
    /// `project-…`: everything but watches, dry runs, reviews and the lock.
    pub fn writes(&self, project: &str) -> Vec<String> {
        let named =
            |name: &str| name.strip_prefix(project).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let entries = self.entries(project).into_iter().filter(|entry| {
            let text = |pointer| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let uri = text("/requestURI");
            (text("/objectRef/namespace") == project || named(text("/objectRef/name")))
                && text("/userAgent").starts_with("hdeploy")
                && text("/verb") != "watch"
                && !uri.contains("dryRun=All")
                && !uri.contains("accessreviews")
                && !uri.contains("/leases")
        });
        entries.map(|entry| format!("{} {}", entry["verb"].as_str().unwrap_or("?"), entry["requestURI"])).collect()
    }
}
