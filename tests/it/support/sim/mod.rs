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
        sandbox("up");
        let environment = sandbox("env");
        let variables: BTreeMap<&str, &str> =
            environment.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
        let kubeconfig = PathBuf::from(variables["KUBECONFIG"]);
        let lock = File::create(Path::new(variables["SANDBOX_STATE"]).join("kubelet.lock")).expect("a lock");
        let (here, audit) = (kubeconfig.clone(), Audit::of(variables["SANDBOX_AUDIT_LOG"]));
        thread::spawn(move || kubelet::run(&here, &lock));
        Self { kubeconfig, audit }
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

fn sandbox(verb: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sandbox/sandbox");
    let output =
        Command::new(script).args([verb, "--control-plane", NAME]).stdin(Stdio::null()).output().expect("the sandbox");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the control plane {NAME} does not come up: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
