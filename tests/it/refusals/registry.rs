//! The registry.

use std::net::TcpListener;

use serde_json::json;

use super::{CONFIG, MANIFESTS, Refused};
use crate::support::Project;

#[test]
fn an_account_that_may_not_push() {
    let project = Project::new("account");
    let wrong = "made-up-wrong-password";
    let server = project.sandbox().registry.clone();
    let words = ["password", server.as_str(), "registry.password"];
    Refused::of(&project).with(&[("SHOP_PASSWORD", wrong)]).says(&words).never_says(wrong);

    let token = project.sandbox().read_token.clone();
    let words = [server.as_str(), "push", "write"];
    Refused::of(&project).with(&[("SHOP_PASSWORD", &token)]).says(&words).never_says(&token);
}

#[test]
fn an_owner_that_does_not_exist() {
    let project = Project::new("owner");
    let owner = project.sandbox().owner.clone();
    project.edit(CONFIG, &format!("owner: {owner}"), "owner: no-such-owner");
    for manifest in ["api", "site", "job"] {
        let file = format!("{MANIFESTS}/{manifest}.yaml");
        project.edit(&file, &format!("example/{owner}/"), "example/no-such-owner/");
    }
    Refused::of(&project).says(&["does not know the owner no-such-owner", "registry.owner"]);
}

#[test]
fn a_registry_that_is_not_there_or_not_to_be_trusted() {
    let project = Project::new("elsewhere");
    let server = project.sandbox().registry.clone();
    project.edit(CONFIG, &server, "127.0.0.1:9");
    Refused::of(&project).says(&["127.0.0.1:9 cannot be reached", "registry.server"]);

    // Somebody listens and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = silent.local_addr().expect("an address").to_string();
    project.edit(CONFIG, "127.0.0.1:9", &mute);
    Refused::of(&project).says(&[&mute, "gave no answer within 4 s"]);

    // TLS by an authority that nobody has introduced, and then plain HTTP to it.
    let tls = std::env::var("SANDBOX_PLAIN_REGISTRY").expect("the sandbox");
    project.edit(CONFIG, &mute, &tls);
    Refused::of(&project).says(&[&tls, "plainHttp"]);
    project.edit(CONFIG, "  plainHttp: true\n", "");
    Refused::of(&project).says(&[&format!("{tls} cannot be reached"), "certificate", "registry.ca"]);

    // TLS to one that speaks none.
    project.edit(CONFIG, &tls, &server);
    Refused::of(&project).says(&[&server, "plainHttp"]);
}

#[test]
fn an_image_for_another_platform() {
    let project = Project::new("platform");
    project.hdeploy(&["all"]).exits(0);
    let (sandbox, image) = (project.sandbox(), project.image("api"));
    let digest = sandbox.digest(&image, &project.commit_of("product")).expect("an image");
    let index = "application/vnd.oci.image.index.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": index, "manifests": [{
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 1, "digest": digest,
        "platform": {"os": "linux", "architecture": "arm64"},
    }]});
    for service in ["api", "job", "site"] {
        if service == "api" {
            sandbox.put(&image, "v1", index, &manifest);
        } else {
            let tag = "latest";
            sandbox.copy(&project.image(service), tag, &project.image(service), "v1");
        }
    }
    Refused::of(&project).arguments(&["--tag", "v1"]).says(&[&image, "linux/amd64", "linux/arm64"]);
}
