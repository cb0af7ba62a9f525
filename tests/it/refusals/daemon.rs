//! The Docker daemon, and builds.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Once};
use std::thread;

use super::{CLOSED, CONFIG, Refused};
use crate::support::{Project, kubectl};

#[test]
fn a_daemon_that_is_not_there() {
    let project = Project::new("absent");
    let closed = format!("tcp://{CLOSED}");
    for address in ["unix:///nowhere/docker.sock", &closed] {
        let words = ["no Docker daemon answers at", address, "(from DOCKER_HOST)", "docker context ls"];
        Refused::of(&project).with(&[("DOCKER_HOST", address)]).says(&words);
    }

    // Somebody listens and never says a word.
    let socket = project.path("silent.sock");
    let _silent = UnixListener::bind(&socket).expect("a socket");
    let address = format!("unix://{}", socket.display());
    Refused::of(&project).with(&[("DOCKER_HOST", &address)]).says(&[
        &address,
        "nothing came within 3 s",
        "start Docker",
    ]);
}

/// A fake: a daemon this old, on Windows, or Podman's cannot be had here. It answers the questions that tell: every other
/// daemon that speaks this API has BuildKit, whichever `Builder-Version` it recommends, and most name none at all.
fn daemon(socket: &Path, ping: &'static str, version: &'static str) {
    let listener = UnixListener::bind(socket).expect("a socket");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let mut reader = BufReader::new(connection.try_clone().expect("a second end"));
            thread::spawn(move || {
                loop {
                    let mut request = String::new();
                    while !request.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut request).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let (headers, body) = if request.contains("/_ping") { (ping, "OK") } else { ("", version) };
                    let length = body.len();
                    let _ = write!(
                        connection,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
                    );
                }
            });
        }
    });
}

#[test]
fn a_daemon_that_cannot_build_here() {
    let project = Project::new("old");
    for (name, ping, version, words) in [
        (
            "old",
            "Api-Version: 1.30\r\nOstype: linux\r\n",
            r#"{"Version": "17.06.0", "ApiVersion": "1.30", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"}"#,
            &["is too old: version 17.06.0 with API 1.30", "API 1.41 is needed", "update Docker"][..],
        ),
        (
            "nineteen",
            "Api-Version: 1.40\r\nOstype: linux\r\n",
            r#"{"Version": "19.03.15", "ApiVersion": "1.40", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"}"#,
            &["is too old: version 19.03.15 with API 1.40", "update Docker"],
        ),
        (
            "podman",
            "Api-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nOstype: linux\r\n",
            r#"{"Version": "4.3.1", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64",
                "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]}"#,
            &["is Podman Engine, without BuildKit", "docker context ls"],
        ),
        (
            "windows",
            "Api-Version: 1.43\r\nOstype: windows\r\nBuilder-Version: 1\r\n",
            r#"{"Version": "24.0.0", "ApiVersion": "1.43", "MinAPIVersion": "1.24", "Os": "windows", "Arch": "amd64"}"#,
            &["runs Windows containers", "Linux containers"],
        ),
    ] {
        let socket = project.path(&format!("{name}.sock"));
        daemon(&socket, ping, version);
        let host = format!("unix://{}", socket.display());
        Refused::of(&project).with(&[("DOCKER_HOST", &host)]).says(words).says(&host);
    }
}

#[test]
fn builds_that_cannot_begin_all_at_once() {
    let project = Project::new("target");
    project.edit(CONFIG, "target: job", "target: jobb");
    project.edit(CONFIG, "context: ../../site, dockerfile: Dockerfile", "context: ../../site, dockerfile: Dockerfil");
    Refused::of(&project).says(&["jobb", "api, job", "site/Dockerfil could not be read", "the context has Dockerfile"]);
    project.edit(CONFIG, "../../site", "../../siteee");
    Refused::of(&project).says(&["siteee is not there"]);
}

#[test]
fn a_step_that_fails() {
    let project = Project::new("step");
    project.edit("site/Dockerfile", "RUN echo", "RUN cat /made-up-path && echo");
    project.commit("site");
    Refused::of(&project).says_after_a_build(&[
        "building site failed",
        "site/Dockerfile:5",
        "can't open '/made-up-path'",
        "docker build --platform linux/amd64",
    ]);
}

#[test]
fn a_disk_that_is_full() {
    let project = Project::new("full");
    // The one file system of a build step that is small.
    let step = "RUN dd if=/dev/zero of=/dev/shm/file bs=1M count=100 && echo";
    project.edit("site/Dockerfile", "RUN echo", step);
    project.commit("site");
    Refused::of(&project).says_after_a_build(&[
        "building site failed",
        "site/Dockerfile:5",
        "No space left on device",
        "docker system df",
        "such as /dev/shm",
    ]);
}

/// The sandbox's daemon behind a socket of its own; `first` is done when a build is asked for, and before it begins.
fn daemon_after(socket: &Path, first: impl Fn() + Send + Sync + 'static) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let host = std::env::var("DOCKER_HOST").expect("the sandbox");
    let real = host.trim_start_matches("unix://").to_owned();
    let first = Arc::new((Once::new(), first));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, real) = (client.expect("a client"), UnixStream::connect(&real).expect("the daemon"));
            let first = Arc::clone(&first);
            let back = (real.try_clone().expect("an end"), client.try_clone().expect("an end"));
            thread::spawn(move || forward(back.0, back.1, |_| {}));
            thread::spawn(move || {
                forward(client, real, |sent| {
                    let line = sent.split(|byte| *byte == b'\r').next().unwrap_or_default();
                    if line.starts_with(b"POST /") && String::from_utf8_lossy(line).contains("/build?") {
                        first.0.call_once(&first.1);
                    }
                });
            });
        }
    });
}

/// Passes on what comes, until nothing comes any more.
fn forward(mut from: UnixStream, mut to: UnixStream, seen: impl Fn(&[u8])) {
    let mut buffer = vec![0; 1 << 16];
    let mut pass = || -> io::Result<bool> {
        let count = from.read(&mut buffer)?;
        seen(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        Ok(count > 0)
    };
    while pass().unwrap_or(false) {}
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_conflict_that_arises_while_images_are_built() {
    let project = Project::new("meanwhile");
    project.hdeploy(&["all"]).exits(0);
    project.edit("product/www/index.html", "one", "two");
    project.commit("product");
    let (socket, name) = (project.path("docker.sock"), project.name.clone());
    daemon_after(&socket, move || drop(kubectl(&["-n", &name, "scale", "deployment", "site", "--replicas=2"])));
    let host = format!("unix://{}", socket.display());
    let words = ["site.yaml:11", ".spec.replicas is kubectl's", "--force-conflicts"];
    Refused::of(&project).with(&[("DOCKER_HOST", &host)]).says_after_a_build(&words);
    assert_eq!(project.served("api"), "api one\n");
}
