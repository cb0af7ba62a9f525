//! A product for one test on the simulated node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::Sim;
use crate::support::Outcome;

static NEXT: AtomicU32 = AtomicU32::new(0);

const CONFIG: &str = "namespace: NAMESPACE
registry: {server: registry.example, owner: shop, username: nobody, password: made-up}
services: {none: {image: none}}
manifests: [manifests]
settle: {soak: 0}
";

/// A folder with manifests whose images are rows of the kubelet's table, and a namespace of its own.
pub struct Product {
    folder: TempDir,
    /// The namespace.
    pub name: String,
    pub sim: &'static Sim,
    outside: Mutex<Vec<[String; 2]>>,
}

impl Product {
    /// No manifests yet, and no namespace: one that a deploy makes is deleted in the end all the same.
    pub fn new(name: &str) -> Self {
        Self::on(Sim::get(), name)
    }

    /// The same on another control plane.
    pub fn on(sim: &'static Sim, name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t-{name}-{}-{number}", std::process::id());
        let product = Self { folder: TempDir::new().expect("a folder"), name, sim, outside: Mutex::default() };
        product.file("deploy-k3s/config.yaml", CONFIG);
        fs::create_dir_all(product.path("deploy-k3s/manifests")).expect("a folder");
        product.manifest("namespace", "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAMESPACE}\n");
        product
    }

    /// An object outside of the namespace is deleted in the end.
    pub fn delete_in_the_end(&self, kind: &str, name: &str) {
        self.outside.lock().expect("a list").push([kind.to_owned(), name.to_owned()]);
    }

    /// A path inside the folder.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file; `NAMESPACE` in it becomes the namespace.
    pub fn file(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text.replace("NAMESPACE", &self.name)).expect("a file");
    }

    /// Writes a manifest.
    pub fn manifest(&self, name: &str, text: &str) {
        self.file(&format!("deploy-k3s/manifests/{name}.yaml"), text);
    }

    /// Writes a Deployment with one container.
    pub fn workload(&self, name: &str, image: &str) {
        self.manifest(name, &workload(name, image));
    }

    /// Writes a Job with one container.
    pub fn job(&self, name: &str, image: &str) {
        self.manifest(name, &job(name, image));
    }

    /// Adds lines to the configuration.
    pub fn configure(&self, more: &str) {
        self.file("deploy-k3s/config.yaml", &format!("{CONFIG}{more}"));
    }

    /// The program, about to deploy.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hdeploy"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("KUBECONFIG", &self.sim.kubeconfig);
        command
    }

    /// Deploys to the end.
    pub fn deploy(&self) -> Outcome {
        self.hdeploy(&["all", "--tag", "v1"])
    }

    /// Runs the program.
    pub fn hdeploy(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// A deploy in the background, its words in pipes.
    pub fn start(&self) -> Child {
        self.start_with(&[], &self.sim.kubeconfig)
    }

    /// The same with further arguments, by another way.
    pub fn start_with(&self, arguments: &[&str], kubeconfig: &Path) -> Child {
        let mut command = self.command(&[&["all", "--tag", "v1"], arguments].concat());
        command.env("KUBECONFIG", kubeconfig);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// kubectl in the namespace.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.sim.kubectl(&[&["-n", self.name.as_str()], arguments].concat())
    }

    /// An object, or all of a kind.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.sim.json(&[&["-n", self.name.as_str(), "get"], arguments].concat())
    }

    /// Waits until a kubectl get shows what is wanted.
    #[track_caller]
    pub fn until(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let found = self.kubectl(&[&["get", "--ignore-not-found"], arguments].concat());
            if wanted(&found) {
                return;
            }
            assert!(Instant::now() < end, "{arguments:?}: {found}");
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let namespace = ["namespace".to_owned(), self.name.clone()];
        for [kind, name] in std::mem::take(&mut *self.outside.lock().expect("a list")).into_iter().chain([namespace]) {
            let arguments = ["delete", &kind, &name, "--wait=false", "--ignore-not-found"];
            let _ = self.sim.command().args(arguments).stdout(Stdio::null()).status();
        }
    }
}

/// A Deployment with one container.
pub fn workload(name: &str, image: &str) -> String {
    include_str!("../../../fixtures/sim/workload.yaml").replace("WORKLOAD", name).replace("IMAGE", image)
}

/// A Job with one container.
pub fn job(name: &str, image: &str) -> String {
    include_str!("../../../fixtures/sim/job.yaml").replace("JOB", name).replace("IMAGE", image)
}
