//! What can be known about a build by reading files alone.

use std::fs;
use std::path::{Component, Path};

use super::LARGEST_FILE;
use super::dockerfile::Dockerfile;
use crate::config::Build;
use crate::error::{Error, Result};
use crate::text::bytes_of;

/// Whether the context's folder, the Dockerfile and the target are there.
///
/// # Errors
/// What is missing, and for a target the stages that exist.
pub fn check_build(build: &Build) -> Result<()> {
    dockerfile(build).map(drop)
}

/// The Dockerfile of `build`, checked.
pub(super) fn dockerfile(build: &Build) -> Result<Dockerfile> {
    let context = build.context.display();
    if !build.context.is_dir() {
        return Err(Error::refused(format!("the build context {context} is not there"))
            .hint("correct the service's build context in the configuration, or check the sources out there"));
    }
    let path = build.context.join(&build.dockerfile);
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(&build.dockerfile).components().all(inside) {
        return Err(Error::refused(format!(
            "the Dockerfile {} does not lie in the build context {context}",
            build.dockerfile
        ))
        .hint("name it relative to the context, or make a folder the context that holds both"));
    }
    let text = bytes_of(&path, LARGEST_FILE).map_err(|error| {
        let here = fs::read_dir(&build.context).into_iter().flatten().flatten();
        let names = here.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let others: Vec<String> = names.filter(|name| name.to_lowercase().contains("dockerfile")).collect();
        let error = Error::refused(format!("the Dockerfile {} could not be read", path.display())).because(error);
        if others.is_empty() {
            return error.hint("correct the service's dockerfile in the configuration");
        }
        error.hint(format!("correct the service's dockerfile; the context has {}", others.join(", ")))
    })?;
    let file = Dockerfile::parse(&String::from_utf8_lossy(&text));
    match &build.target {
        Some(target) if !file.has_stage(target) => Err(no_target(&path, target, &file)),
        _ => Ok(file),
    }
}

fn no_target(path: &Path, target: &str, file: &Dockerfile) -> Error {
    let error = Error::refused(format!("{} has no stage {target:?}", path.display()));
    let names = file.stage_names();
    if names.is_empty() {
        return error.hint("its stages have no names: leave the target out, or name one: FROM … AS NAME");
    }
    error.hint(format!("correct the service's target; the stages are {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("folder");
        let mut build = Build {
            context: folder.path().join("gone"),
            dockerfile: "Dockerfile".into(),
            target: Some("web".into()),
            args: BTreeMap::new(),
        };
        let refused = |build: &Build| {
            let error = check_build(build).expect_err("refused");
            format!("{} | {}", error.message, error.hints.join(" "))
        };
        assert!(refused(&build).contains("gone is not there"));
        build.context = folder.path().to_owned();
        fs::write(folder.path().join("api.Dockerfile"), "FROM scratch AS api\nFROM api AS worker").expect("written");
        assert!(refused(&build).contains("the context has api.Dockerfile"));
        build.dockerfile = "api.Dockerfile".into();
        assert!(
            refused(&build).contains("no stage \"web\" | correct the service's target; the stages are api, worker")
        );
        build.target = Some("worker".into());
        assert!(check_build(&build).is_ok());
        build.dockerfile = "../api.Dockerfile".into();
        assert!(refused(&build).contains("does not lie in the build context"));
    }
}
