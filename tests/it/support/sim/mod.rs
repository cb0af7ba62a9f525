//! A control plane without a node, and a kubelet that runs nothing: rollouts as on a real cluster, in measured times and
//! words, with containers that do what their image is called.

mod kubelet;
mod logs;
mod pod;
mod product;
mod replay;
mod script;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use serde_json::Value;

pub use product::{Product, job, workload};
pub use replay::Recording;

use super::audit::Audit;

const NAME: &str = "sim";

/// The control plane that all tests of a machine share.
pub struct Sim {
    pub kubeconfig: PathBuf,
    pub audit: Audit,
}

impl Sim {
    /// Brings it up when the first test needs it. It goes on running, as the sandbox does, and goes down with it.
    pub fn get() -> &'static Self {
        static SIM: OnceLock<Sim> = OnceLock::new();
        SIM.get_or_init(Self::up)
    }

    fn up() -> Self {
        let (sim, state) = Self::without_kubelet(NAME);
        let lock = File::create(state.join("kubelet.lock")).expect("a lock");
        let here = sim.kubeconfig.clone();
        thread::spawn(move || kubelet::run(&here, &lock));
        sim
    }

    /// The control plane called `name`, and the folder of its state.
    fn without_kubelet(name: &str) -> (Self, PathBuf) {
        sandbox("up", name);
        let environment = sandbox("env", name);
        let variables: BTreeMap<&str, &str> =
            environment.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
        let (kubeconfig, audit) = (PathBuf::from(variables["KUBECONFIG"]), Audit::of(variables["SANDBOX_AUDIT_LOG"]));
        (Self { kubeconfig, audit }, PathBuf::from(variables["SANDBOX_STATE"]))
    }

    /// kubectl for this control plane.
    pub fn command(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// Runs kubectl and returns what it printed; panics with its words when it fails.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().expect("kubectl");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {words}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A control plane of one test, without any node. It goes down with this.
pub struct Apart {
    name: String,
    /// The process of its controllers.
    controllers: String,
    pub sim: &'static Sim,
}

impl Apart {
    pub fn up() -> Self {
        let name = format!("apart-{}", std::process::id());
        let (sim, _) = Sim::without_kubelet(&name);
        let status = sandbox("status", &name);
        let line = status.lines().find(|line| line.starts_with("controller-manager")).expect("controllers");
        let controllers = line.split_whitespace().nth(1).expect("a process").to_owned();
        Self { name, controllers, sim: Box::leak(Box::new(sim)) }
    }

    /// Stops its controllers, or lets them go on, by the name of a signal.
    pub fn controllers(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.controllers]).status().expect("kill").success());
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.controllers("-CONT");
        sandbox("down", &self.name);
    }
}

fn sandbox(verb: &str, name: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sandbox/sandbox");
    let output =
        Command::new(script).args([verb, "--control-plane", name]).stdin(Stdio::null()).output().expect("the sandbox");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb} of the control plane {name} fails: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
