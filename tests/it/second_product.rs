//! A product that has nothing in common with the reference stack: a StatefulSet and a CronJob, no git, no gate, another
//! registry. It deploys as it lies in `tests/fixtures/tidewatch`; only the environment tells where.

use std::path::Path;

use serde_json::Value;

use crate::support::{Outcome, Project, kubectl};

struct Tidewatch {
    project: Project,
    environment: Vec<(&'static str, String)>,
}

impl Tidewatch {
    fn new() -> Self {
        let mut project = Project::empty("tides");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tidewatch");
        project.copy(&fixture, ".", &str::to_owned);
        let get = |name: &str| std::env::var(name).expect("the sandbox");
        let environment = vec![
            ("TIDEWATCH_NAMESPACE", project.name.clone()),
            ("TIDEWATCH_REGISTRY", get("SANDBOX_PLAIN_REGISTRY")),
            ("TIDEWATCH_USER", get("SANDBOX_PLAIN_REGISTRY_USER")),
            ("TIDEWATCH_PASSWORD", get("SANDBOX_PLAIN_REGISTRY_PASSWORD")),
            ("TIDEWATCH_CA", get("SANDBOX_PLAIN_REGISTRY_CA")),
            ("TIDEWATCH_BASE", get("SANDBOX_MIRROR_BUSYBOX")),
        ];
        project.make_namespace();
        project.pull_secret("harbour", &environment[1].1, &environment[2].1, &environment[3].1);
        Self { project, environment }
    }

    fn deploy(&self, tag: &str) -> Outcome {
        self.run(&["all", "--tag", &format!("{}-{tag}", self.project.name)])
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let environment: Vec<(&str, &str)> = self.environment.iter().map(|(name, value)| (*name, &**value)).collect();
        self.project.hdeploy_with(&[&["--config", "deploy.yaml"], arguments].concat(), &environment)
    }

    /// What a pod of the StatefulSet serves.
    fn gauge(&self, pod: usize, path: &str) -> String {
        let path = format!("http://localhost:8080/{path}");
        self.project.kubectl(&["exec", &format!("gauge-{pod}"), "--", "wget", "-qO-", &path])
    }

    /// What the CronJob prints, started by hand under `name`.
    fn bulletin(&self, name: &str) -> String {
        self.project.kubectl(&["create", "job", name, "--from=cronjob/bulletin"]);
        let job = format!("job/{name}");
        self.project.kubectl(&["wait", "--for=condition=Complete", &job, "--timeout=60s"]);
        self.project.kubectl(&["logs", &job])
    }

    fn images(&self) -> Vec<String> {
        let pods: Value = serde_json::from_str(&self.project.kubectl(&["get", "pods", "-o", "json"])).expect("pods");
        let image = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str().map(str::to_owned);
        pods["items"].as_array().expect("a list").iter().filter_map(image).collect()
    }
}

impl Drop for Tidewatch {
    fn drop(&mut self) {
        // Volumes outlive the namespace otherwise, and the next test gets what is in them.
        kubectl(&["-n", &self.project.name, "delete", "statefulset,pvc", "--all", "--wait=false"]);
    }
}

#[test]
fn a_product_of_another_shape_deploys_with_nothing_but_its_configuration_and_manifests() {
    let tides = Tidewatch::new();
    tides.deploy("ebb").exits(0).says("StatefulSet").says("/tidewatch/gauge@sha256:");
    assert_eq!((tides.gauge(0, "level"), tides.gauge(1, "level")), ("low water\n".into(), "low water\n".into()));
    assert_eq!(tides.bulletin("by-hand").trim(), "bulletin: low water");
    let images = tides.images();
    assert!(images.len() == 3 && images.iter().all(|image| image.contains("@sha256:")), "{images:?}");
    let starts: u32 = tides.gauge(0, "starts").trim().parse().expect("a number");

    // Nothing changed: nothing is built, nothing restarts.
    tides.deploy("ebb").exits(0).says("no objects changed").never_says("build started");
    assert_eq!(tides.gauge(0, "starts").trim(), starts.to_string());

    // Without a name for the release, what runs keeps its images and the manifests are applied.
    tides.run(&["--skip-build"]).exits(0).says("the live pods run it").says("no objects changed");

    // One service changed: its pods are replaced one after another, on their volumes, and the deploy waits for both.
    tides.project.write("gauge/level", "high water\n");
    tides.deploy("flood").exits(0);
    assert_eq!((tides.gauge(0, "level"), tides.gauge(1, "level")), ("high water\n".into(), "high water\n".into()));
    assert_eq!(tides.gauge(0, "starts").trim(), (starts + 1).to_string());
    assert_eq!(tides.bulletin("after").trim(), "bulletin: high water");
}
