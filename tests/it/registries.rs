//! Registries other than the product's own, and what they may hold.

use serde_json::{Value, json};

use crate::support::Project;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An index as newer builders push it: the image, and an attestation beside it.
fn index(digest: &str) -> Value {
    let entry = |digest: &str, os: &str, architecture: &str| {
        json!({"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 1, "digest": digest,
            "platform": {"os": os, "architecture": architecture}})
    };
    json!({"schemaVersion": 2, "mediaType": INDEX,
        "manifests": [entry(digest, "linux", "amd64"), entry(digest, "unknown", "unknown")]})
}

#[test]
fn an_index_is_resolved_to_its_one_entry_for_the_platform() {
    let project = Project::new("index");
    project.hdeploy(&["all"]).exits(0);
    let revision = project.commit_of("product");
    for service in ["api", "job", "site"] {
        let tag =
            if service == "site" { format!("{revision}-{}", project.commit_of("site")) } else { revision.clone() };
        let digest = project.sandbox().digest(&project.image(service), &tag).expect("an image");
        project.sandbox().put(&project.image(service), "v1", INDEX, &index(&digest));
    }
    let api = project.sandbox().digest(&project.image("api"), &revision).expect("an image");
    project.hdeploy(&["--tag", "v1"]).exits(0).says(&api);
}

#[test]
fn a_registry_with_basic_auth_and_its_own_authority_serves_a_product_without_git() {
    let get = |name: &str| std::env::var(name).expect("the sandbox");
    let project = Project::new("plain");
    for folder in ["product/.git", "site/.git"] {
        std::fs::remove_dir_all(project.path(folder)).expect("the repository");
    }
    let (server, ca) = (get("SANDBOX_PLAIN_REGISTRY"), get("SANDBOX_PLAIN_REGISTRY_CA"));
    let file = "product/deploy-k3s/config.yaml";
    project.edit(file, &format!("server: {}", project.sandbox().registry), &format!("server: {server}"));
    project.edit(file, "username: admin", &format!("username: plain\n  ca: {ca}"));
    project.edit(file, "  plainHttp: true\n", "");
    let password = get("SANDBOX_PLAIN_REGISTRY_PASSWORD");
    project.kubectl(&["delete", "secret", "pull"]);
    project.pull_secret("pull", &server, "plain", &password);
    let deploy = |arguments: &[&str]| project.hdeploy_with(arguments, &[("SHOP_PASSWORD", &password)]);

    deploy(&["all"]).exits(4).says("lies in no git repository").says("--tag NAME");
    deploy(&["all", "--tag", "v1"]).exits(0).says(&format!("{server}/admin/{}@sha256:", project.image("api")));
    assert_eq!(project.served("api"), "api one\n");

    // The same name again, for the same content: nothing is built. For other content: a tag of its own.
    deploy(&["all", "--tag", "v1"]).exits(0).says("not built, image of tag v1").never_says("build started");
    project.edit("product/www/index.html", "one", "two");
    deploy(&["all", "--tag", "v1"]).exits(0).says("tag v1 is held by an image that was built otherwise");
    assert_eq!(project.served("api"), "api two\n");
    deploy(&["--skip-build", "--tag", "v1"]).exits(0);
    assert_eq!(project.served("api"), "api one\n");
}
