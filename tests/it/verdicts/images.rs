//! Images that do not come.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use hdeploy::model::Digest;
use serde_json::{Value, json};

use super::{api, container, deployed, product, reads};
use crate::support::{Project, Sandbox, meanwhile};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A Deployment whose image is never the node's own.
fn pulling(image: &str) -> Value {
    api(|api| {
        container(api)["image"] = json!(image);
        container(api)["imagePullPolicy"] = json!("Always");
    })
}

/// An image of busybox's repository that nobody ever pushed.
fn unknown() -> String {
    let busybox = Sandbox::get().busybox;
    let (repository, _) = busybox.split_once('@').expect("a digest");
    format!("{repository}@{}", Digest::of(b"nobody pushed this"))
}

#[test]
fn v2_an_image_that_does_not_exist_fails_at_once() {
    let outcome = deployed("noimage", &[pulling(&unknown())], &[]).exits(2);
    reads(&outcome, "image-missing");
}

#[test]
fn v3_a_pull_secret_that_the_registry_does_not_accept_is_named() {
    let project = Project::bare("denied", &super::text(&[pulling(&Sandbox::get().busybox)]));
    project.pull_secret("pull", &project.sandbox().registry, "admin", "made-up-and-wrong");
    let outcome = project.deploy_with(&[], &[]).exits(2).never_says("made-up");
    reads(&outcome, "pull-denied");
}

#[test]
fn v2_d4_an_image_for_another_platform_is_named_as_that() {
    let project = product("foreign", &[]);
    let (sandbox, image) = (project.sandbox(), project.image("foreign"));
    let config = sandbox.put_blob(&image, r#"{"os":"linux","architecture":"arm64"}"#);
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    sandbox.put(&image, "one", MANIFEST, &manifest);
    let text = manifest.to_string();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{
        "mediaType": MANIFEST, "size": text.len(), "digest": Digest::of(text.as_bytes()),
        "platform": {"os": "linux", "architecture": "arm64"},
    }]});
    sandbox.put(&image, "all", INDEX, &index);
    let digest = Digest::of(index.to_string().as_bytes());
    let image = format!("{}/{}/{image}@{digest}", sandbox.registry, sandbox.owner);
    project.objects(&super::text(&[pulling(&image)]));
    let outcome = project.deploy_with(&[], &[]).exits(2);
    reads(&outcome, "image-for-another-platform");
}

#[test]
fn w6_d7_a_registry_that_is_down_for_a_moment_is_a_warning_and_no_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let busybox = Sandbox::get().busybox;
    let (registry, image) = busybox.split_once('/').expect("a registry");
    let project = Project::bare("down", &super::text(&[pulling(&format!("{address}/{image}"))]));
    let Sandbox { user, password, .. } = project.sandbox();
    project.pull_secret("pull", &address, user, password);
    let outcome = meanwhile(
        || project.deploy_with(&[], &[]),
        || {
            project
                .until(&["events", "-o", "jsonpath={.items[*].message}"], |said| said.contains("connection refused"));
            forward(&address, registry);
        },
    );
    outcome
        .exits(0)
        .says("warning: ")
        .says("nothing listens where the registry should be")
        .says("settled with 1 replica")
        .never_says("error:");
}

/// From now on `address` is another address of `to`, as long as the tests run.
fn forward(address: &str, to: &str) {
    let listener = TcpListener::bind(address).expect("the port is still free");
    let to = to.to_owned();
    thread::spawn(move || {
        for inside in listener.incoming().flatten() {
            let Ok(outside) = TcpStream::connect(&to) else { continue };
            for (from, to) in [(&inside, &outside), (&outside, &inside)] {
                let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                thread::spawn(move || copy(from, to));
            }
        }
    });
}

/// Until either side ends.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.flush();
    let _ = to.shutdown(Shutdown::Write);
}
