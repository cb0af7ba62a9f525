//! Edge: what git says about a folder.
//!
//! The program is asked, not a library: two questions do not pay for megabytes, and the program honours every setting
//! of the operator (ignore files, safe directories, sparse checkouts).

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::error::{Error, Result};

/// The state of a working tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The commit, abbreviated by git to at least seven hexadecimal digits, in lower case.
    pub short: String,
    /// Whether anything in the repository is changed, or untracked and not ignored.
    pub dirty: bool,
    /// Top of the working tree.
    pub root: PathBuf,
}

impl Revision {
    /// Whether `dir` lies in this repository, and in none that lies inside of it.
    pub fn covers(&self, dir: &Path) -> bool {
        let Ok(dir) = dir.canonicalize() else { return false };
        let inside = dir.ancestors().take_while(|folder| *folder != self.root);
        dir.starts_with(&self.root) && inside.into_iter().all(|folder| !folder.join(".git").exists())
    }
}

/// The revision of the repository that holds `dir`; `None` when none does.
///
/// # Errors
/// When git is not installed, refuses to read the repository, or there is no commit yet.
pub async fn state(dir: &Path) -> Result<Option<Revision>> {
    // One after the other would take as long again.
    let (place, status) = tokio::try_join!(
        run(dir, &["rev-parse", "--show-toplevel", "--short=7", "HEAD"]),
        run(dir, &["status", "--porcelain", "--untracked-files=normal"])
    )?;
    let lines = String::from_utf8_lossy(&place.stdout);
    if let (true, true, Some((root, short))) =
        (place.status.success(), status.status.success(), lines.trim_end().rsplit_once('\n'))
    {
        let (short, root) = (short.to_lowercase(), PathBuf::from(root));
        return Ok(Some(Revision { short, dirty: !status.stdout.is_empty(), root }));
    }
    step_by_step(dir).await
}

/// The same, question after question: what the first failure says is what is wrong.
async fn step_by_step(dir: &Path) -> Result<Option<Revision>> {
    let top = run(dir, &["rev-parse", "--show-toplevel"]).await?;
    if !top.status.success() {
        let said = said(&top);
        return if said.contains("not a git repository") { Ok(None) } else { Err(refused(dir, &said)) };
    }
    let root = PathBuf::from(line(&top));
    let head = run(&root, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await?;
    if !head.status.success() {
        return Err(without_commit(&root));
    }
    let short = answer(&root, &["rev-parse", "--short=7", "HEAD"]).await?;
    let status = answer(&root, &["status", "--porcelain", "--untracked-files=normal"]).await?;
    Ok(Some(Revision { short: line(&short).to_lowercase(), dirty: !status.stdout.is_empty(), root }))
}

/// Runs git so that it answers the same way everywhere: English, no pager, and no lock that a running editor or
/// build would trip over.
async fn run(dir: &Path, arguments: &[&str]) -> Result<Output> {
    if !dir.is_dir() {
        return Err(Error::refused(format!("{} is not a folder", dir.display())));
    }
    let mut command = Command::new("git");
    // A git hook that runs a deploy has these set, and they would win over the folder.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    let started = command
        .arg("--no-pager")
        .args(arguments)
        .current_dir(dir)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    started.map_err(not_started)
}

/// Runs git and takes a failure for an error.
async fn answer(dir: &Path, arguments: &[&str]) -> Result<Output> {
    let output = run(dir, arguments).await?;
    if output.status.success() { Ok(output) } else { Err(refused(dir, &said(&output))) }
}

fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end_matches(['\n', '\r']).to_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

fn not_started(cause: std::io::Error) -> Error {
    if cause.kind() == std::io::ErrorKind::NotFound {
        return Error::refused("git is not installed, or not on PATH")
            .because(cause)
            .hint("install git, or name the release with --tag");
    }
    Error::refused("git could not be started").because(cause)
}

fn without_commit(root: &Path) -> Error {
    Error::refused(format!(
        "the git repository {} has no commit yet, so there is nothing to name images by",
        root.display()
    ))
    .hint("commit first, or name the release with --tag")
}

/// Git's own words, and its own advice: for `safe.directory` it prints the command to run.
fn refused(dir: &Path, said: &str) -> Error {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let (advice, words): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("git config"));
    let error = Error::refused(format!("git cannot read {}", dir.display()));
    let error = advice.iter().fold(error, |error, advice| error.hint(*advice));
    if words.is_empty() { error } else { error.because(words.join(" ")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn git(dir: &Path, arguments: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.test", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn repository() -> TempDir {
        let dir = TempDir::new().unwrap();
        git(dir.path(), &["init", "-q"]);
        std::fs::create_dir(dir.path().join("inside")).unwrap();
        std::fs::write(dir.path().join("inside/a"), "1").unwrap();
        std::fs::write(dir.path().join(".gitignore"), "ignored\n").unwrap();
        dir
    }

    fn committed() -> TempDir {
        let dir = repository();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-qm", "first"]);
        dir
    }

    #[tokio::test]
    async fn outside_a_repository_there_is_no_revision() {
        let dir = TempDir::new().unwrap();
        assert_eq!(state(dir.path()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_commit_has_a_short_name_and_a_root_seen_from_any_folder() {
        let dir = committed();
        let revision = state(&dir.path().join("inside")).await.unwrap().unwrap();
        assert_eq!(revision.short, git(dir.path(), &["rev-parse", "--short=7", "HEAD"]));
        assert_eq!(revision.root, dir.path().canonicalize().unwrap());
        assert!(!revision.dirty);
    }

    #[tokio::test]
    async fn a_repository_covers_its_folders_and_not_those_of_one_inside_of_it() {
        let dir = committed();
        let revision = state(dir.path()).await.unwrap().unwrap();
        let other = dir.path().join("inside/other");
        std::fs::create_dir_all(other.join("deep")).unwrap();
        assert!(revision.covers(dir.path()) && revision.covers(&other.join("deep")));
        std::fs::write(other.join(".git"), "gitdir: elsewhere\n").unwrap();
        assert!(!revision.covers(&other.join("deep")) && revision.covers(&dir.path().join("inside")));
        assert!(!revision.covers(dir.path().parent().unwrap()) && !revision.covers(&other.join("nowhere")));
    }

    #[tokio::test]
    async fn changed_and_untracked_files_make_it_dirty_and_ignored_ones_do_not() {
        let dir = committed();
        let dirty = async || state(&dir.path().join("inside")).await.unwrap().unwrap().dirty;
        std::fs::write(dir.path().join("ignored"), "").unwrap();
        assert!(!dirty().await);
        std::fs::write(dir.path().join("inside/a"), "2").unwrap();
        assert!(dirty().await);
        git(dir.path(), &["checkout", "-q", "."]);
        assert!(!dirty().await);
        std::fs::write(dir.path().join("new"), "").unwrap();
        assert!(dirty().await);
    }

    #[tokio::test]
    async fn a_repository_without_commit_is_refused_in_words() {
        let dir = repository();
        let error = state(dir.path()).await.unwrap_err();
        assert!(error.message.contains("has no commit yet"), "{error}");
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let dir = TempDir::new().unwrap();
        let error = state(&dir.path().join("nowhere")).await.unwrap_err();
        assert!(error.message.ends_with("nowhere is not a folder"), "{error}");
    }

    #[test]
    fn the_advice_of_git_becomes_the_hint() {
        let said = "fatal: detected dubious ownership in repository at '/srv/a'\nTo add an exception for this \
                    directory, call:\n\n\tgit config --global --add safe.directory /srv/a";
        let error = refused(Path::new("/srv/a"), said);
        assert_eq!(error.hints, ["git config --global --add safe.directory /srv/a"]);
        assert!(error.causes()[0].contains("dubious ownership"));
    }

    #[test]
    fn a_missing_program_is_told_as_such() {
        let error = not_started(std::io::ErrorKind::NotFound.into());
        assert!(error.message.contains("git is not installed"));
    }
}
