//! A control plane without a node, and a kubelet that runs nothing: rollouts as on a real cluster, in measured times and
//! words, with containers that do what their image is called.

mod kubelet;
mod logs;
mod pod;
mod product;
mod replay;
mod script;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use product::{Product, job, workload};
pub use replay::Recording;

use super::audit::Audit;
use super::lasts;

const NAME: &str = "sim";

/// A control plane with its kubelet.
pub struct Sim {
    pub kubeconfig: PathBuf,
    pub audit: Audit,
    name: String,
    state: PathBuf,
}

/// A control plane of one test. It goes down with it.
pub struct Own(pub &'static Sim);

impl Sim {
    /// The one that all tests of a machine share. It is brought up when the first test needs it and goes on running, as
    /// the sandbox does, and goes down with it.
    pub fn get() -> &'static Self {
        static SIM: OnceLock<Sim> = OnceLock::new();
        SIM.get_or_init(|| Self::up(NAME))
    }

    fn up(name: &str) -> Self {
        sandbox("up", name);
        let environment = sandbox("env", name);
        let variables: BTreeMap<&str, &str> =
            environment.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('=')).collect();
        let (kubeconfig, state) = (PathBuf::from(variables["KUBECONFIG"]), PathBuf::from(variables["SANDBOX_STATE"]));
        let lock = File::create(state.join("kubelet.lock")).expect("a lock");
        let (here, audit) = (kubeconfig.clone(), Audit::of(variables["SANDBOX_AUDIT_LOG"]));
        thread::spawn(move || kubelet::run(&here, &lock));
        Self { kubeconfig, audit, name: name.to_owned(), state }
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

impl Own {
    /// Brings it up.
    pub fn new(name: &str) -> Self {
        Self(Box::leak(Box::new(Sim::up(&format!("{name}-{}", std::process::id())))))
    }

    /// Sends a signal to one of its parts, as `sandbox status` calls them.
    pub fn signal(&self, part: &str, signal: Signal) {
        let number = Pid::from_raw(self.number(part).parse().expect("a number"));
        kill_process(number.expect("a number"), signal).expect("it runs");
    }

    /// Waits until one of its parts has ended.
    pub fn until_ended(&self, part: &str) {
        let stat = PathBuf::from(format!("/proc/{}/stat", self.number(part)));
        // Whoever should bury it may be late.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            lasts(Duration::from_millis(50));
        }
    }

    fn number(&self, part: &str) -> String {
        let file = fs::read_to_string(self.0.state.join("pid").join(part)).expect("a number");
        file.split(' ').next().expect("a number").to_owned()
    }

    /// Starts what does not run.
    pub fn start(&self) {
        sandbox("up", &self.0.name);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = command("down", &self.0.name).output();
    }
}

fn command(verb: &str, name: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sandbox/sandbox"));
    command.args([verb, "--control-plane", name]).stdin(Stdio::null());
    command
}

fn sandbox(verb: &str, name: &str) -> String {
    let output = command(verb, name).output().expect("the sandbox");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{verb} --control-plane {name}: {words}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
