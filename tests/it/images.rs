//! Images in the registry: rights, digests, and that nothing which runs is lost.

use crate::support::Project;

#[test]
fn a_pod_starts_again_after_its_tags_were_moved_to_other_bytes() {
    let project = Project::new("moved");
    project.hdeploy(&["all"]).exits(0);
    let revision = project.commit_of("product");
    let (api, job) = (project.image("api"), project.image("job"));
    let running = project.sandbox().digest(&api, &revision).expect("the image that runs");

    // Somebody overwrites both tags with other bytes, and the node forgets what it had pulled.
    for tag in [revision.as_str(), "latest"] {
        project.sandbox().copy(&job, &revision, &api, tag);
    }
    assert_ne!(project.sandbox().digest(&api, &revision), Some(running.clone()));
    assert_eq!(project.sandbox().digest(&api, &running), Some(running.clone()));
    project.sandbox().forget(&api, &running);

    project.kubectl(&["delete", "pod", "-l", "app.kubernetes.io/name=api", "--wait"]);
    project.kubectl(&["rollout", "status", "deployment/api", "--timeout=60s"]);
    assert_eq!(project.served("api"), "api one\n");
    let pulls = project.kubectl(&["get", "events", "--field-selector", "reason=Pulled", "-o", "jsonpath={..message}"]);
    let again =
        pulls.matches(&format!("Successfully pulled image \"{}/admin/{api}@", project.sandbox().registry)).count();
    assert_eq!(again, 2, "{pulls}");
}
