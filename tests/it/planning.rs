//! A plan tells what a deploy would do, and does nothing.

use serde_json::Value;

use crate::support::Project;

const CONFIG: &str = "product/deploy-k3s/config.yaml";
const API: &str = "product/deploy-k3s/manifests/api.yaml";
const SITE: &str = "product/deploy-k3s/manifests/site.yaml";
const TOKEN: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {TOKEN: made-up-token-1}\n";

fn token(project: &Project, text: &str) {
    project.write("product/deploy-k3s/manifests/token.yaml", text);
}

#[test]
fn everything_that_would_happen_is_told_and_nothing_happens() {
    let project = Project::new("plan");
    let fresh = project.hdeploy(&["plan", "--exit-code"]).exits(6);
    fresh.says("+ Deployment").says("to be built").says("build and push").says("gate jobs");
    assert!(project.sandbox().writes(&project.name).is_empty());

    token(&project, TOKEN);
    project.edit(
        API,
        "[{configMapRef: {name: settings}}]",
        "[{configMapRef: {name: settings}}, {secretRef: {name: token}}]",
    );
    project.commit("product");
    project.hdeploy(&["all"]).exits(0);
    project.hdeploy(&["plan", "--exit-code"]).exits(0).says("nothing to do").says("as it runs").never_says("+ ");
    let written = project.sandbox().writes(&project.name);

    // Sources, a value, a secret, a label, and a hand at work.
    let before = project.commit_of("product");
    project.edit("product/www/index.html", "one", "two");
    project.edit(CONFIG, "COLOUR: blue", "COLOUR: green");
    token(&project, &TOKEN.replace("-token-1", "-token-2"));
    project.edit(API, "  name: api\n  namespace: ", "  name: api\n  labels: {tier: front}\n  namespace: ");
    let after = project.commit("product");
    let hand = "{\"spec\": {\"template\": {\"spec\": {\"terminationGracePeriodSeconds\": 7}}}}";
    project.kubectl(&["patch", "deployment", "site", "-p", hand]);
    let name = &project.name;
    project.hdeploy(&["plan"]).exits(4).says("terminationGracePeriodSeconds is kubectl-patch's");
    let plan = project.hdeploy(&["plan", "--force-conflicts"]).exits(0);
    plan.says(&format!("{before} sha256:"))
        .says(&format!("→ {after}, to be built"))
        .says(&format!("~ Service {name}/api"))
        .says("metadata.labels.tier\n      + front")
        .says("data.COLOUR\n      - blue\n      + green")
        .says("data.TOKEN\n      - •••••\n      + •••••")
        .says(&format!("{name}-api:{after}, to be built"))
        .says(&format!("Deployment {name}/api: "))
        .says("another image")
        .says("ConfigMap settings (COLOUR)")
        .says("Secret token (TOKEN)")
        .says("terminationGracePeriodSeconds\n      - 7\n      + 1")
        .says(&format!("Deployment {name}/site by kubectl-patch on 20"))
        .never_says("made-up-token");

    let plan = project.hdeploy(&["plan", "--json", "--force-conflicts"]).exits(0);
    let json: Value = serde_json::from_str(&plan.stdout).expect("one JSON object");
    assert_eq!(
        (&json["version"], &json["changes"], &json["release"]),
        (&1.into(), &true.into(), &after.clone().into())
    );
    assert!(!plan.stdout.contains("made-up-token"));
    let actions: Vec<&str> =
        json["objects"].as_array().into_iter().flatten().filter_map(|o| o["action"].as_str()).collect();
    assert!(["create", "change", "keep"].iter().all(|action| actions.contains(action)), "{actions:?}");
    assert_eq!(project.sandbox().writes(&project.name), written);

    // What is done then is what was said.
    project.hdeploy(&["all", "--force-conflicts"]).exits(0);
    project.hdeploy(&["plan", "--exit-code"]).exits(0).says("nothing to do");
}

#[test]
fn a_plan_of_taking_over_names_what_goes_and_no_default_and_a_paused_workload_is_refused() {
    let project = Project::new("plant");
    project.hdeploy(&["all"]).exits(0);
    let image =
        project.kubectl(&["get", "deployment", "site", "-o", "jsonpath={.spec.template.spec.containers[0].image}"]);
    let site = std::fs::read_to_string(project.path(SITE)).expect("a manifest");
    let before = site.replace("  replicas: 1", "  minReadySeconds: 1\n  replicas: 1");
    let line = before.lines().find(|line| line.contains("image:")).expect("an image").to_owned();
    project.write("before.yaml", &before.replace(&line, &format!("          image: {image}")));
    project.kubectl(&["delete", "deployment", "site"]);
    project.kubectl(&["apply", "-f", &project.path("before.yaml").display().to_string()]);
    let plan = project.hdeploy(&["plan"]).exits(0).says("spec.minReadySeconds\n      - 1");
    plan.never_says("dnsPolicy").never_says("progressDeadlineSeconds").never_says("terminationMessagePath");

    project.kubectl(&["rollout", "pause", "deployment", "site"]);
    let written = project.sandbox().writes(&project.name);
    project.hdeploy(&["all"]).exits(4).says("is paused in the cluster").says("rollout resume deployment/site");
    assert_eq!(project.sandbox().writes(&project.name), written);
}

#[test]
fn a_plan_needs_no_daemon_and_is_refused_what_a_deploy_would_be() {
    let project = Project::new("plans");
    let no_daemon = [("DOCKER_HOST", "unix:///nowhere.sock")];
    project.hdeploy_with(&["plan"], &no_daemon).exits(0).says("to be built");
    project.edit(API, "replicas: 1", "replcas: 1");
    project.hdeploy_with(&["plan"], &no_daemon).exits(4).says("replcas");
}
