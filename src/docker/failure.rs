//! What the daemon's errors mean, in words that a person can act on.

use bollard::errors::Error as ApiError;

use super::dockerfile::Dockerfile;
use super::log::Failed;
use super::{BuildRequest, Docker};
use crate::error::{Error, Result};
use crate::model::{Repository, Tag};
use crate::text::beginning;

/// How a failure is told apart by the daemon's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    DiskFull,
    NotAuthorised,
    NotFound,
    Unreachable,
    Other,
}

fn cause(text: &str) -> Cause {
    let text = text.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["no space left on device", "disk quota exceeded"]) {
        Cause::DiskFull
    } else if any(&[
        "unauthorized",
        "authorization",
        "authentication required",
        "access denied",
        "forbidden",
        "denied:",
        "no basic auth",
    ]) {
        Cause::NotAuthorised
    } else if any(&["not found", "manifest unknown", "name unknown", "no match for platform"]) {
        Cause::NotFound
    } else if any(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "tls:",
        "x509:",
        "server gave http response",
        "dial tcp",
    ]) {
        Cause::Unreachable
    } else {
        Cause::Other
    }
}

/// The build ended: the daemon's own last `text`, and the step that failed if one did.
pub(super) fn build(request: &BuildRequest, file: &Dockerfile, failed: Option<Failed>, text: &str) -> Error {
    let service = &request.service;
    // A command that meets a full disk says so itself, and BuildKit tells only its exit code.
    let wrote = failed.as_ref().is_some_and(|failed| failed.log.iter().any(|line| cause(line) == Cause::DiskFull));
    if cause(text) == Cause::DiskFull {
        let step = failed.as_ref().map(|failed| format!(" in {}", short(&failed.step))).unwrap_or_default();
        let error = Error::refused(format!("building {service} failed{step}: the Docker daemon's disk is full"));
        return error.because(text.to_owned()).hint("free space there: docker system df; docker builder prune");
    }
    let Some(failed) = failed else { return without_step(request, file, text) };
    if let Some(image) = pulled(&failed.step) {
        return base_image(request, file, image, &failed, text);
    }
    let why = exit_code(&failed.error).unwrap_or(&failed.error).to_owned();
    let mut error = Error::refused(format!("building {service} failed in {}", short(&failed.step))).because(why);
    error = located(error, request, file, file.line_of_step(&failed.step));
    if !failed.log.is_empty() {
        error = error.detail(failed.log.join("\n"));
    }
    if wrote {
        error = error
            .hint("if it is the Docker daemon's disk that is full: docker system df; docker builder prune")
            .hint("if it is a small file system of the step's own, such as /dev/shm: write somewhere else");
    }
    let copies = failed.step.contains("] COPY ") || failed.step.contains("] ADD ");
    if copies && cause(&failed.error) == Cause::NotFound {
        let context = request.build.context.display();
        error = error.hint(format!("the build sees only what lies in {context} and is not left out by .dockerignore"));
    }
    error.hint(format!("correct it, or see it by itself: {}", by_hand(request)))
}

/// Of `executor failed running [/bin/sh -c …]: exit code: 3`, which repeats the whole command.
fn exit_code(error: &str) -> Option<&str> {
    let at = error.rfind("exit code: ")?;
    error[at + "exit code: ".len()..].bytes().all(|b| b.is_ascii_digit()).then(|| &error[at..])
}

/// A step's name for a sentence; the whole line is told beside it.
fn short(step: &str) -> String {
    let words = step.split_whitespace().collect::<Vec<_>>().join(" ");
    beginning(&words, 80)
}

/// The image that the step fetches.
fn pulled(step: &str) -> Option<&str> {
    let load = step.strip_prefix("[internal] load metadata for ");
    let image = load.or_else(|| step.strip_prefix('[')?.split_once("] FROM ").map(|(_, image)| image));
    image.or_else(|| step.strip_prefix("resolve image config for "))?.split_whitespace().next()
}

fn base_image(request: &BuildRequest, file: &Dockerfile, image: &str, failed: &Failed, text: &str) -> Error {
    let service = &request.service;
    let registry = image.split_once('/').map_or("", |(host, _)| host);
    let (what, hint) = match cause(&format!("{} {text}", failed.error)) {
        Cause::NotAuthorised => (
            "the registry does not let you pull it, or it does not exist",
            format!("log in and look: docker login {registry}; docker manifest inspect {image}"),
        ),
        Cause::NotFound => {
            ("the registry does not have it", format!("correct its name; look: docker manifest inspect {image}"))
        }
        Cause::Unreachable => {
            ("the Docker daemon cannot reach its registry", format!("try it on the daemon's host: docker pull {image}"))
        }
        _ => ("it cannot be pulled", format!("try it by itself: docker pull {image}")),
    };
    let error = Error::refused(format!("building {service} failed: base image {image}: {what}"));
    let line = file.line_of_step(&failed.step).or_else(|| file.line_of_image(image, &request.build.args));
    located(error.because(failed.error.clone()), request, file, line).hint(hint)
}

fn without_step(request: &BuildRequest, file: &Dockerfile, text: &str) -> Error {
    let error = Error::refused(format!("building {} failed", request.service)).because(text.to_owned());
    located(error, request, file, line_in(text)).hint(format!("correct it, or see it by itself: {}", by_hand(request)))
}

/// Of `dockerfile parse error line 3: …` and `… on line 3: …`.
fn line_in(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn located(error: Error, request: &BuildRequest, file: &Dockerfile, line: Option<usize>) -> Error {
    let path = request.build.context.join(&request.build.dockerfile);
    match line.and_then(|number| Some((number, file.line(number)?))) {
        Some((number, text)) => error.detail(format!("{}:{number}: {text}", path.display())),
        None => error.detail(path.display().to_string()),
    }
}

fn by_hand(request: &BuildRequest) -> String {
    let build = &request.build;
    let target = build.target.as_ref().map(|target| format!(" --target {target}")).unwrap_or_default();
    let args: Vec<String> = build.args.keys().map(|name| format!(" --build-arg {name}=…")).collect();
    let args = args.concat();
    let file = build.context.join(&build.dockerfile);
    format!(
        "DOCKER_BUILDKIT=1 docker build --platform linux/amd64 -f {}{target}{args} {}",
        file.display(),
        build.context.display()
    )
}

/// The daemon went away, or never answered.
pub(super) fn gone(docker: &Docker, doing: &str) -> Error {
    let address = &docker.endpoint.address;
    Error::refused(format!("{doing} failed: the Docker daemon at {address} went away in the middle"))
        .hint("look whether it still runs: docker version; then run the same command again")
}

/// Whether `error` is about the connection, not an answer of the daemon.
pub(super) fn answer(error: &ApiError) -> Option<&str> {
    match error {
        ApiError::DockerStreamError { error } => Some(error),
        ApiError::DockerResponseServerError { message, .. } => Some(message),
        _ => None,
    }
}

pub(super) fn push(docker: &Docker, repository: &Repository, tag: &Tag, error: ApiError) -> Error {
    let doing = format!("the push of {repository}:{tag}");
    let Some(text) = answer(&error) else { return gone(docker, &doing).because(error) };
    let registry = &repository.registry;
    let (what, hint) = match cause(text) {
        Cause::DiskFull => ("a disk is full", "free space where the registry keeps its images".to_owned()),
        Cause::NotAuthorised => (
            "the registry does not let you push there",
            format!(
                "check the registry's user name and token, and that the token may write packages; try: docker login {registry}"
            ),
        ),
        Cause::Unreachable => (
            "the Docker daemon cannot reach the registry",
            format!(
                "for a registry without TLS or with its own authority, tell the daemon: insecure-registries or certs.d/{registry}"
            ),
        ),
        _ => (
            "the registry or the daemon refused",
            "look at the registry's own log; then run the same command again".to_owned(),
        ),
    };
    Error::refused(format!("{doing} failed: {what}")).because(text.to_owned()).hint(hint)
}

/// Any other request on `what`.
pub(super) fn request<T>(docker: &Docker, what: &str, result: Result<T, ApiError>) -> Result<T> {
    result.map_err(|error| match answer(&error) {
        Some(text) => Error::refused(format!("{what} failed at the Docker daemon at {}", docker.endpoint.address))
            .because(text.to_owned())
            .hint("look whether it is well: docker info; then run the same command again"),
        None => gone(docker, what).because(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Build;
    use crate::fuzz;

    fn request() -> BuildRequest {
        BuildRequest {
            service: "api".parse().expect("name"),
            build: Build {
                context: "/src".into(),
                dockerfile: "Dockerfile".into(),
                target: Some("web".into()),
                args: [("A".to_owned(), "secret".to_owned())].into(),
            },
            image: Repository { registry: "registry.example".into(), path: "a/api".into() },
            tag: "t".parse().expect("tag"),
            labels: std::collections::BTreeMap::new(),
        }
    }

    fn told(step: &str, error: &str) -> Error {
        let file = Dockerfile::parse("FROM registry.example/go:1 AS web\nCOPY a b\nRUN make \\\n all\n");
        let log = vec!["one".to_owned(), "two".to_owned()];
        let failed = Failed { vertex: String::new(), step: step.into(), error: error.into(), log };
        build(&request(), &file, Some(failed), error)
    }

    #[test]
    fn a_failing_step_is_told_with_its_line_and_its_log() {
        let error = told("[web 3/3] RUN make   all", "executor failed running [/bin/sh -c make   all]: exit code: 2");
        assert_eq!(error.message, "building api failed in [web 3/3] RUN make all");
        assert_eq!(error.details, ["/src/Dockerfile:3: RUN make \\", "one\ntwo"]);
        assert_eq!(error.causes(), ["exit code: 2"]);
        assert!(error.hints[0].ends_with("-f /src/Dockerfile --target web --build-arg A=… /src"), "{:?}", error.hints);
    }

    #[test]
    fn base_images_and_full_disks_have_words_of_their_own() {
        let load = "[internal] load metadata for registry.example/go:1";
        for (step, why, words) in [
            (load, "registry.example/go:1: not found", "go:1: the registry does not have it"),
            (
                load,
                "pull access denied, repository does not exist or may require authorization",
                "does not let you pull",
            ),
            (load, "unexpected status: 401 Unauthorized", "does not let you pull"),
            (load, "dial tcp: lookup registry.example: no such host", "cannot reach its registry"),
            ("[web 1/3] FROM registry.example/go:1@sha256:00", "failed to copy: EOF", "cannot be pulled"),
            ("[web 3/3] RUN make all", "write /x: no space left on device", "the Docker daemon's disk is full"),
        ] {
            let error = told(step, why);
            assert!(error.message.contains(words), "{why}: {}", error.message);
        }
        assert_eq!(told(load, "x: not found").details, ["/src/Dockerfile:1: FROM registry.example/go:1 AS web"]);
    }

    #[test]
    fn lines_are_read_from_parse_errors() {
        assert_eq!(line_in("dockerfile parse error line 12: unknown instruction"), Some(12));
        assert_eq!(line_in("dockerfile parse error on line 3: x"), Some(3));
        assert_eq!(line_in("no such thing"), None);
    }

    /// The Dockerfile, a blank line that only this has, and what a daemon says of it.
    const CUT: &str = "\n====\n";

    #[test]
    fn any_input_is_read_or_refused() {
        let said = "[web 3/3] RUN make all\nexecutor failed running [/bin/sh -c make]: exit code: 2\n\
            [internal] load metadata for registry.example/go:1\n[1/2] FROM go:1\nresolve image config for a\n\
            dockerfile parse error line 3: x\nno space left on device\n[linux/amd64 web 2/2] COPY a b\n";
        let mut samples = fuzz::files(&["tests/fixtures"], &["Dockerfile"]);
        for sample in &mut samples {
            sample.extend(format!("{CUT}{said}").bytes());
        }
        let doubled = fuzz::many(39, |n| format!("ARG A{}=$A{n}$A{n}\n", n + 1));
        samples.extend(
            [
                format!("# escape=`\nFROM a AS b\nRUN <<END `\n x\nEND\nCOPY --from=b --chown=1 x y{CUT}{said}"),
                format!("ARG A0=xxxxxxxx\n{doubled}FROM $A39\n"),
                format!("FROM {}\n", "$A".repeat(30_000)),
                format!("FROM {}\n", "${A:-".repeat(20_000)),
                format!("FROM {}{}\n", "${A:-".repeat(5000), "}".repeat(5000)),
                "FROM a\n".repeat(9000),
                fuzz::many(4000, |n| format!("FROM a{n} AS b{n}\nCOPY --from=c{n} a b\n")),
                "RUN <<A <<B <<C\n".repeat(4000),
                "RUN \\\n".repeat(10_000),
                format!("RUN --mount={}\n", "from=a,".repeat(9000)),
            ]
            .map(String::into_bytes),
        );
        let words = [
            CUT,
            "FROM ",
            " AS ",
            "ARG A=",
            "$A",
            "${A:-",
            "${A:+",
            "COPY --from=",
            "RUN --mount=from=",
            "<<EOF",
            "\\\n",
            "# escape=`\n",
            "# syntax=",
            "[a 1/2] RUN ",
            "line 99999999999999999999",
            "exit code: ",
        ];
        fuzz::reader(module_path!(), &samples, &words, |input| {
            let text = String::from_utf8_lossy(input);
            let (file, said) = text.split_once(CUT).unwrap_or((&text, ""));
            let file = Dockerfile::parse(file);
            let request = request();
            let _ = (file.images(&request.build.args), file.stage_names(), file.has_stage("web"));
            for (step, error) in said.lines().zip(said.lines().skip(1)).take(50) {
                let failed = Failed { vertex: String::new(), step: step.into(), error: error.into(), log: Vec::new() };
                let _ = (build(&request, &file, Some(failed), error), build(&request, &file, None, step));
            }
        });
    }
}
