//! The registry.

use serde_json::json;

use super::{CLOSED, CONFIG, MANIFESTS, Refused, silent};
use crate::support::Project;

#[test]
fn an_account_that_may_not_push() {
    let project = Project::new("account");
    let wrong = "made-up-wrong-password";
    let server = project.sandbox().registry.clone();
    let words = [&format!("the registry {server} does not accept the password of admin"), "registry.password"];
    Refused::of(&project).with(&[("SHOP_PASSWORD", wrong)]).says(&words).never_says(wrong);

    let token = project.sandbox().read_token.clone();
    let words =
        [&format!("admin may not push to {server}/admin/{}", project.image("api")), "the right to write packages"];
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
    Refused::of(&project).says(&[
        "does not know the owner no-such-owner",
        &project.sandbox().registry,
        "registry.owner",
    ]);
}

#[test]
fn a_registry_that_is_not_there_or_not_to_be_trusted() {
    let project = Project::new("elsewhere");
    let server = project.sandbox().registry.clone();
    project.edit(CONFIG, &server, CLOSED);
    let (unreachable, look) = (format!("{CLOSED} cannot be reached"), format!("curl -v http://{CLOSED}/v2/"));
    Refused::of(&project).says(&[&unreachable, "nothing listens there", "registry.server", &look]);

    // Somebody listens and never says a word.
    let (_silent, mute) = silent();
    project.edit(CONFIG, CLOSED, &mute);
    Refused::of(&project).says(&[&mute, "gave no answer within 3 s"]);

    // TLS by an authority that nobody has introduced, and then plain HTTP to it.
    let tls = std::env::var("SANDBOX_PLAIN_REGISTRY").expect("the sandbox");
    project.edit(CONFIG, &mute, &tls);
    Refused::of(&project).says(&[&format!("{tls} is not an image registry"), "HTTPS server", "registry.plainHttp"]);
    project.edit(CONFIG, "  plainHttp: true\n", "");
    Refused::of(&project).says(&[&format!("{tls} cannot be reached"), "certificate is not trusted", "registry.ca"]);

    // Its authority is known then, and the password is another registry's.
    let ca = std::env::var("SANDBOX_PLAIN_REGISTRY_CA").expect("the sandbox");
    project.edit(CONFIG, "username: admin", &format!("username: plain\n  ca: {ca}"));
    Refused::of(&project).says(&[&format!("{tls} does not accept the password of plain"), "registry.password"]);
    project.edit(CONFIG, &format!("username: plain\n  ca: {ca}"), "username: admin");

    // TLS to one that speaks none.
    project.edit(CONFIG, &tls, &server);
    Refused::of(&project).says(&[&server, "does not speak TLS", "registry.plainHttp: true"]);

    project.edit(CONFIG, &server, "registry.invalid");
    Refused::of(&project).says(&["registry.invalid cannot be reached", "no such host", "registry.server"]);
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
    Refused::of(&project)
        .arguments(&["--tag", "v1"])
        .says(&[&image, "not one image for linux/amd64, but for linux/arm64"]);
}

#[test]
fn an_image_of_somebody_elses_for_another_platform() {
    let project = Project::new("foreign");
    let config = std::fs::read_to_string(project.path(CONFIG)).expect("the configuration");
    let without_build: Vec<&str> = config.lines().filter(|line| !line.contains("target: job")).collect();
    project.write(CONFIG, &(without_build.join("\n") + "\n"));

    let (sandbox, image, tag) = (project.sandbox(), project.image("job"), project.commit_of("product"));
    let rootfs = json!({"type": "layers", "diff_ids": []});
    let config = json!({"architecture": "arm64", "os": "linux", "config": {}, "rootfs": rootfs});
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let config = sandbox.put_blob(&image, &config.to_string());
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []});
    sandbox.put(&image, &tag, media_type, &manifest);

    let words =
        [&format!("{image} {tag} is not one image for linux/amd64, but for linux/arm64"), "docker build --platform"];
    Refused::of(&project).says(&words);
}
