//! A: objects to the API server.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{applied_before, config_map, container, deployment, managers, replica_sets, secret, text, values, writes};
use crate::support::{Fate, Project, Proxy, kubectl};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[test]
fn a1_an_object_as_the_server_shows_it_is_taken_and_sent_again_it_is_not_touched() {
    let project =
        applied_before("copy", &[deployment("web", |_| {}), config_map("settings", &json!({"colour": "blue"}))]);
    let mut shown = project.live("deployment/web");
    shown["metadata"]["creationTimestamp"] = Value::Null;
    project.objects(&text(&[shown, project.live("configmap/settings")]));
    project.kubectl(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    let (before, sets) = (project.live("deployment/web"), replica_sets(&project, "web"));
    project.deploy().exits(0);
    let live = ["deployment/web", "configmap/settings"].map(|name| project.live(name));
    assert_eq!(live[0]["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(live[0]["spec"], before["spec"]);
    assert_eq!(replica_sets(&project, "web"), sets);
    assert_eq!(managers(&live[1]), ["hdeploy:Apply"]);

    let written = project.sandbox().writes(&project.name);
    project.deploy().exits(0).says("no objects changed");
    for (name, before) in ["deployment/web", "configmap/settings"].iter().zip(&live) {
        assert_eq!(project.live(name)["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    }
    assert_eq!(project.sandbox().writes(&project.name), written);
}

#[test]
fn a2_a4_a_refusal_of_the_last_object_leaves_every_value_although_ownership_has_moved() {
    let before = [
        config_map("settings", &json!({"colour": "blue", "size": "large"})),
        deployment("web", |_| {}),
        deployment("worker", |_| {}),
    ];
    let project = applied_before("last", &before);
    let names = ["configmap/settings", "deployment/web", "deployment/worker"];
    let as_it_was = values(&project, &names);
    // Only what follows from taking over can tell that this one is wrong: until then, leftovers may be to blame.
    project.objects(&text(&[
        config_map("settings", &json!({"colour": "green"})),
        deployment("web", |web| container(web)["env"] = json!([{"name": "A", "value": "1"}])),
        deployment("worker", |worker| {
            worker["spec"]["selector"]["matchLabels"]["tier"] = json!("back");
            worker["spec"]["template"]["metadata"]["labels"]["tier"] = json!("back");
        }),
    ]));
    project.deploy().exits(4).says("spec.selector").says("immutable").says("next: ");
    assert_eq!(values(&project, &names), as_it_was);
    assert!(as_it_was.iter().all(|value| value["metadata"]["annotations"][LAST_APPLIED].is_string()));
    let written = writes(&project);
    assert!(written.iter().all(|write| write.ends_with("/configmaps/settings\"") || write.contains("/deployments/")));
    assert_eq!(managers(&project.live("configmap/settings")), ["hdeploy:Apply"]);

    // Mended, it goes on from there.
    project.objects(&text(&[
        config_map("settings", &json!({"colour": "green"})),
        before[1].clone(),
        before[2].clone(),
    ]));
    project.deploy().exits(0);
    assert_eq!(project.live("configmap/settings")["data"], json!({"colour": "green"}));
}

#[test]
fn a3_a4_what_kubectl_apply_left_is_taken_over_and_removed_fields_vanish() {
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
    let port = |name: &str, port: u16| json!({"name": name, "port": port});
    let same = deployment("same", |same| same["metadata"]["labels"] = json!({"stage": "old"}));
    let project = applied_before(
        "csa",
        &[
            config_map("settings", &json!({"colour": "blue", "size": "large"})),
            service(json!([port("http", 80), port("admin", 81)])),
            deployment("web", |web| {
                web["metadata"]["labels"] = json!({"stage": "old", "kept": "yes"});
                container(web)["env"] = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
                container(web)["ports"] = json!([{"name": "http", "containerPort": 8080}, {"containerPort": 9090}]);
                container(web)["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 8080}});
                web["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
            }),
            same,
        ],
    );
    let uid = project.live("deployment/web")["metadata"]["uid"].clone();
    project.kubectl(&["rollout", "status", "deployment/same", "--timeout=30s"]);
    let sets = replica_sets(&project, "same");
    project.objects(&text(&[
        config_map("settings", &json!({"colour": "blue"})),
        service(json!([port("http", 80)])),
        deployment("web", |web| {
            web["metadata"]["labels"] = json!({"kept": "yes"});
            // These change their shape, which leftovers would forbid.
            container(web)["env"] = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
            container(web)["ports"] = json!([{"name": "http", "containerPort": 8081}]);
            container(web)["readinessProbe"] = json!({"exec": {"command": ["true"]}});
            web["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "configMap": {"name": "settings"}}]);
        }),
        deployment("same", |_| {}),
    ]));
    project.deploy().exits(0);

    assert_eq!(project.live("configmap/settings")["data"], json!({"colour": "blue"}));
    assert_eq!(project.live("service/web")["spec"]["ports"].as_array().map(Vec::len), Some(1));
    let mut web = project.live("deployment/web");
    assert_eq!(web["metadata"]["uid"], uid);
    assert_eq!(web["metadata"]["labels"], json!({"kept": "yes"}));
    assert_eq!(web.pointer("/spec/template/spec/volumes/0/emptyDir"), None);
    let container = container(&mut web);
    assert_eq!(container["env"].as_array().map(Vec::len), Some(1));
    assert_eq!(container["env"][0].get("value"), None);
    assert_eq!(container["ports"], json!([{"name": "http", "containerPort": 8081, "protocol": "TCP"}]));
    assert_eq!(container["readinessProbe"].get("httpGet"), None);
    // Its pods would have stayed: it lost a label, and its template is what it was.
    assert_eq!(project.live("deployment/same")["metadata"].get("labels"), None);
    assert_eq!(replica_sets(&project, "same"), sets);

    for name in ["configmap/settings", "service/web", "deployment/web", "deployment/same"] {
        let live = project.live(name);
        assert_eq!(live["metadata"]["annotations"].get(LAST_APPLIED), None, "{name}");
        assert_eq!(managers(&live), ["hdeploy:Apply"], "{name}");
    }
}

#[test]
fn a3_an_object_whose_owners_were_lost_is_taken_over_too() {
    let project = applied_before(
        "lost",
        &[
            config_map("settings", &json!({"colour": "blue", "size": "large"})),
            deployment("web", |web| container(web)["env"] = json!([{"name": "A", "value": "1"}])),
        ],
    );
    // As a backup that was put back leaves them.
    let nobody = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]).to_string();
    for name in ["configmap/settings", "deployment/web"] {
        project.kubectl(&["patch", name, "--type=json", "-p", &nobody]);
    }
    assert_eq!(project.live("configmap/settings")["metadata"].get("managedFields"), None);
    project.objects(&text(&[config_map("settings", &json!({"colour": "green"})), deployment("web", |_| {})]));
    project.deploy().exits(0);
    assert_eq!(project.live("configmap/settings")["data"], json!({"colour": "green"}));
    assert_eq!(container(&mut project.live("deployment/web")).get("env"), None);
    assert_eq!(managers(&project.live("configmap/settings")), ["hdeploy:Apply"]);
}

#[test]
fn a6_an_edit_by_hand_is_named_and_kept_and_force_says_what_of_it_stays() {
    let with =
        |level: &str| deployment("web", |web| container(web)["env"] = json!([{"name": "LEVEL", "value": level}]));
    // The same, whether it was born by `kubectl apply` or by hdeploy.
    for born in ["applied", "deployed"] {
        let project = applied_before(born, &[with("info")]);
        if born == "deployed" {
            project.deploy().exits(0);
        }
        let edit = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [
            {"name": "LEVEL", "value": "debug"}, {"name": "HOTFIX", "value": "1"}]}]}}}});
        project.kubectl(&["patch", "deployment", "web", "--field-manager=kubectl-edit", "-p", &edit.to_string()]);
        let edited = values(&project, &["deployment/web"]);
        project.objects(&text(&[with("warn")]));

        let outcome = project.deploy().exits(4).says("fields of it were set by kubectl-edit");
        outcome
            .says(".spec.template.spec.containers[name=\"web\"].env[name=\"LEVEL\"].value")
            .says("--force-conflicts");
        assert_eq!(values(&project, &["deployment/web"]), edited, "{born}");

        let forced = project.deploy_with(&["--force-conflicts"], &[]).exits(0);
        forced.says(
            "what kubectl-edit set beside it stays: .spec.template.spec.containers[name=\"web\"].env[name=\"HOTFIX\"]",
        );
        let mut web = project.live("deployment/web");
        let env = json!([{"name": "LEVEL", "value": "warn"}, {"name": "HOTFIX", "value": "1"}]);
        assert_eq!(container(&mut web)["env"], env);
    }
}

#[test]
fn a8_a_named_port_gets_another_number_on_what_kubectl_apply_made() {
    let objects = |port: u16| {
        let ports = json!([{"name": "http", "port": port}]);
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": ports}});
        [service, deployment("web", |web| container(web)["ports"] = json!([{"name": "http", "containerPort": port}]))]
    };
    let project = applied_before("port", &objects(80));
    let port = |wanted: u16| {
        let (service, mut web) = (project.live("service/web"), project.live("deployment/web"));
        let http = json!({"name": "http", "port": wanted, "protocol": "TCP", "targetPort": wanted});
        assert_eq!(service["spec"]["ports"], json!([http]));
        assert_eq!(container(&mut web)["ports"], json!([{"name": "http", "containerPort": wanted, "protocol": "TCP"}]));
    };
    port(80);
    for number in [81, 82] {
        project.objects(&text(&objects(number)));
        project.deploy().exits(0);
        port(number);
    }
}

#[test]
fn a9_a_key_that_leaves_the_string_data_of_a_secret_leaves_the_secret() {
    let with = |keys: &[&str]| {
        let pairs = keys.iter().map(|key| ((*key).to_owned(), json!(format!("made-up-{key}"))));
        secret("keys", &json!({"stringData": pairs.collect::<serde_json::Map<_, _>>()}))
    };
    let project = applied_before("keys", &[with(&["a", "b"])]);
    let keys = || project.live("secret/keys")["data"].as_object().map(|data| data.keys().cloned().collect::<Vec<_>>());
    for left in [&["b", "c"][..], &["c"]] {
        project.objects(&text(&[with(left)]));
        project.deploy().exits(0).never_says("made-up");
        assert_eq!(keys(), Some(left.iter().map(ToString::to_string).collect()));
    }
    assert_eq!(managers(&project.live("secret/keys")), ["hdeploy:Apply"]);
}

#[test]
fn a10_the_strategy_changes_in_both_directions_whoever_made_the_deployment() {
    let with = |strategy: Value| deployment("web", |web| web["spec"]["strategy"] = strategy);
    let recreate = json!({"type": "Recreate"});
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 2}});
    let filled_in = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}});
    let server_side = ["apply", "--server-side", "--field-manager"];
    let by_somebody = [&server_side[..], &["ci"]].concat();
    // As a version would have left it that did not send what the API server fills in.
    let by_hdeploy = [&server_side[..], &["hdeploy"]].concat();
    for (name, born) in [("client", &["apply"][..]), ("somebody", &by_somebody), ("itself", &by_hdeploy)] {
        let project = Project::bare(name, &text(&[deployment("web", |_| {})]));
        project.kubectl_with(born, &text(&[deployment("web", |_| {})]));
        let strategy = || project.live("deployment/web")["spec"]["strategy"].clone();
        assert_eq!(strategy(), filled_in);
        let (uid, sets) = (project.live("deployment/web")["metadata"]["uid"].clone(), replica_sets(&project, "web"));
        for (wanted, live) in
            [(&recreate, &recreate), (&rolling, &rolling), (&recreate, &recreate), (&json!({}), &filled_in)]
        {
            project.objects(&text(&[with(wanted.clone())]));
            project.deploy().exits(0);
            assert_eq!(strategy(), *live, "{name}");
        }
        // Only the strategy moved, and nobody but its owners has anything to say about it.
        assert_eq!(project.live("deployment/web")["metadata"]["uid"], uid);
        assert_eq!(replica_sets(&project, "web"), sets);
        let ci = ["ci:Apply", "hdeploy:Apply"];
        assert_eq!(managers(&project.live("deployment/web")), ci[usize::from(name != "somebody")..]);
    }
}

#[test]
fn a10_a_recreate_that_is_refused_elsewhere_leaves_the_strategy_as_it_was() {
    let project = Project::bare("strategy", "");
    project.kubectl_with(&["apply", "--server-side", "--field-manager=ci"], &text(&[deployment("web", |_| {})]));
    let as_it_was = values(&project, &["deployment/web"]);
    project.objects(&text(&[deployment("web", |web| {
        web["spec"]["strategy"] = json!({"type": "Recreate"});
        web["spec"]["selector"]["matchLabels"]["tier"] = json!("back");
        web["spec"]["template"]["metadata"]["labels"]["tier"] = json!("back");
    })]));
    project.deploy().exits(4).says("spec.selector").never_says("rollingUpdate");
    assert_eq!(values(&project, &["deployment/web"]), as_it_was);
}

#[test]
fn a11_what_cannot_change_is_refused_and_never_made_anew() {
    let claim = |class: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Mi"}}}})
    };
    let fixed = |colour: &str| {
        let mut fixed = config_map("fixed", &json!({"colour": colour}));
        fixed["immutable"] = json!(true);
        fixed
    };
    let typed = |kind: &str| secret("typed", &json!({"type": kind, "stringData": {"a": "made-up"}}));
    let project = Project::bare("fixed", &text(&[claim("one"), fixed("blue"), typed("a/b")]));
    project.deploy().exits(0);
    let names = ["persistentvolumeclaim/data", "configmap/fixed", "secret/typed"];
    let as_it_was = values(&project, &names);
    let written = project.sandbox().writes(&project.name);

    project.objects(&text(&[claim("two"), fixed("green"), typed("c/d")]));
    let outcome = project.deploy().exits(4).never_says("made-up");
    outcome
        .says("spec is immutable after creation")
        .says("kubectl delete PersistentVolumeClaim data")
        .says("data: Forbidden: field is immutable when `immutable` is set")
        .says("kubectl delete ConfigMap fixed")
        .says("Secret");
    assert_eq!(values(&project, &names), as_it_was);
    assert_eq!(project.sandbox().writes(&project.name), written);
}

#[test]
fn a12_a_deployment_that_is_being_deleted_is_left_to_those_who_hold_it() {
    let held = deployment("web", |web| web["metadata"]["finalizers"] = json!(["example.test/hold"]));
    let project = Project::bare("held", &text(&[deployment("web", |_| {})]));
    project.kubectl_with(&["create"], &text(&[held]));
    project.kubectl(&["delete", "deployment", "web", "--wait=false"]);
    let dying = project.live("deployment/web");
    let outcome = project.deploy().exits(4).says("it or its namespace is being deleted");
    outcome
        .says("held by finalizers: example.test/hold")
        .says(&format!("kubectl get Deployment web -n {}", project.name));
    assert_eq!(project.sandbox().writes(&project.name), Vec::<String>::new());
    assert_eq!(project.live("deployment/web")["metadata"]["uid"], dying["metadata"]["uid"]);
    project.kubectl(&["patch", "deployment", "web", "--type=merge", "-p", "{\"metadata\":{\"finalizers\":null}}"]);
    project.kubectl(&["wait", "--for=delete", "deployment/web", "--timeout=30s"]);
    project.deploy().exits(0);
}

#[test]
fn a3_somebody_who_keeps_writing_loses_nothing_and_does_not_keep_the_leftovers() {
    let with = |env: Value| deployment("web", |web| container(web)["env"] = env);
    let project = applied_before("race", &[with(json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]))]);
    project.objects(&text(&[with(json!([{"name": "A", "value": "1"}]))]));
    let (proxy, namespace, count) = (Proxy::new(), project.name.clone(), AtomicU32::new(0));
    // Before each of the first three tries to take over, once the state was read.
    let write = move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let patch = |more: &[&str], patch: Value| {
            let patch = patch.to_string();
            kubectl(&[&["-n", &namespace, "patch", "deployment", "web", "--type=merge", "-p", &patch], more].concat());
        };
        patch(&[], json!({"metadata": {"annotations": {"example.test/seen": number.to_string()}}}));
        patch(&["--subresource=status"], json!({"status": {"collisionCount": number}}));
    };
    let take_over = ["PATCH", "/deployments/web "];
    proxy.on(&take_over, 0..3, Fate::before(write));
    let kubeconfig = proxy.kubeconfig(&project, &json!({}));
    project.deploy_with(&[], &[("KUBECONFIG", &kubeconfig)]).exits(0);
    assert_eq!(proxy.seen(&take_over).len(), 4);
    let mut web = project.live("deployment/web");
    assert_eq!(web["metadata"]["annotations"]["example.test/seen"], "3");
    assert_eq!(web["metadata"]["annotations"].get(LAST_APPLIED), None);
    assert_eq!(container(&mut web)["env"], json!([{"name": "A", "value": "1"}]));
}

#[test]
fn a12_a_deletion_just_before_the_write_stops_the_deploy_there() {
    let with = |value: &str| {
        deployment("web", |web| {
            web["metadata"]["finalizers"] = json!(["example.test/hold"]);
            container(web)["env"] = json!([{"name": "A", "value": value}]);
        })
    };
    let project = Project::bare("gone", &text(&[with("1")]));
    project.deploy().exits(0);
    project.objects(&text(&[with("2")]));
    let (proxy, namespace) = (Proxy::new(), project.name.clone());
    let delete = move || drop(kubectl(&["-n", &namespace, "delete", "deployment", "web", "--wait=false"]));
    let write = ["PATCH", "/deployments/web?&fieldManager=hdeploy"];
    proxy.on(&write, 0..1, Fate::before(delete));
    let kubeconfig = proxy.kubeconfig(&project, &json!({}));
    let outcome = project.deploy_with(&[], &[("KUBECONFIG", &kubeconfig)]).exits(2);
    outcome.says("is being deleted").says("held by finalizers: example.test/hold");
    assert_eq!(proxy.seen(&write).len(), 1);
    project.kubectl(&["patch", "deployment", "web", "--type=merge", "-p", "{\"metadata\":{\"finalizers\":null}}"]);
}
