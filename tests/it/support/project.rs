//! A small product made for one test: two services from two repositories, manifests, a namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Outcome, Sandbox, kubectl};

/// A folder with `product/` (services `api` and `job`, manifests, configuration) and `site/` (service `site`, a
/// repository of its own), and the namespace that it deploys to. Both are gone when it is dropped.
pub struct Project {
    folder: TempDir,
    /// Namespace, and prefix of the image names.
    pub name: String,
    sandbox: Sandbox,
    in_cluster: bool,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

const DOCKERFILE: &str = "ARG BASE\nFROM ${BASE} AS api\nCOPY www /www\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n\nFROM ${BASE} AS job\nCOPY job.txt /job.txt\nCMD [\"cat\", \"/job.txt\"]\n";
const SITE_DOCKERFILE: &str = "ARG BASE\nFROM ${BASE}\nARG GREETING=hello\nCOPY www /www\nRUN echo \"$GREETING\" > /www/greeting\nCMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n";

impl Project {
    /// An empty folder.
    pub fn empty(name: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t-{name}-{}-{number}", std::process::id());
        let folder = TempDir::new().expect("a folder");
        Self { folder, name, sandbox: Sandbox::get(), in_cluster: false }
    }

    /// The whole product, committed, its namespace and pull secret made.
    pub fn new(name: &str) -> Self {
        let mut project = Self::empty(name);
        project.sources();
        project.manifests();
        project.write("product/deploy-k3s/config.yaml", &project.config(""));
        project.commit("product");
        project.commit("site");
        project.namespace();
        project
    }

    /// A product that is nothing but `objects`: no sources, no repository. Its namespace exists.
    pub fn bare(name: &str, objects: &str) -> Self {
        let mut project = Self::empty(name);
        let Sandbox { registry, owner, .. } = &project.sandbox;
        let config = format!(
            "namespace: {name}\nregistry: {{server: \"{registry}\", owner: {owner}, plainHttp: true}}\n\
             services: {{unused: {{image: {name}-unused}}}}\nmanifests: [manifests]\nsettle: {{soak: 0}}\n",
            name = project.name
        );
        project.write("deploy-k3s/config.yaml", &config);
        project.objects(objects);
        project.make_namespace();
        project
    }

    /// Gives a product made with [`Project::bare`] other objects.
    pub fn objects(&self, objects: &str) {
        self.write("deploy-k3s/manifests/objects.yaml", objects);
    }

    /// Deploys a product made with [`Project::bare`].
    pub fn deploy(&self) -> Outcome {
        self.deploy_with(&[], &[])
    }

    /// The same with further arguments and environment variables.
    pub fn deploy_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        self.hdeploy_with(&[&["all", "--tag", "v1"], arguments].concat(), environment)
    }

    /// The same with a standard output that nobody reads any more.
    pub fn deploy_unread(&self, arguments: &[&str]) -> Outcome {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = self.command(&[&["all", "--tag", "v1"], arguments].concat());
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("the program starts");
        Outcome::from(child.wait_with_output().expect("it ended"))
    }

    /// The live object called `name` ("deployment/api").
    #[track_caller]
    pub fn live(&self, name: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", name, "--show-managed-fields", "-o", "json"])).expect("an object")
    }

    /// `kubectl VERB -f` with `objects`, which may be YAML or JSON.
    #[track_caller]
    pub fn kubectl_with(&self, verb: &[&str], objects: &str) -> String {
        let file = self.path(&format!("by-hand-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::write(&file, objects).expect("a file");
        self.kubectl(&[verb, &["-f", &file.display().to_string()]].concat())
    }

    fn sources(&self) {
        self.write("product/.gitignore", "deploy-k3s/config.yaml\n");
        self.write("product/.dockerignore", "deploy-k3s\n.git\n");
        self.write("product/Dockerfile", DOCKERFILE);
        self.write("product/www/index.html", "api one\n");
        self.write("product/job.txt", "the job ran\n");
        self.write("site/Dockerfile", SITE_DOCKERFILE);
        self.write("site/www/index.html", "site one\n");
    }

    fn manifests(&self) {
        let name = &self.name;
        self.write(
            "product/deploy-k3s/manifests/namespace.yaml",
            &format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n"),
        );
        for service in ["api", "site"] {
            self.write(
                &format!("product/deploy-k3s/manifests/{service}.yaml"),
                &include_str!("../../fixtures/product/workload.yaml")
                    .replace("NAMESPACE", name)
                    .replace("SERVICE", service)
                    .replace("OWNER", &self.sandbox.owner),
            );
        }
        self.write(
            "product/deploy-k3s/manifests/job.yaml",
            &include_str!("../../fixtures/product/job.yaml")
                .replace("NAMESPACE", name)
                .replace("OWNER", &self.sandbox.owner),
        );
    }

    /// The configuration, with `more` behind it.
    pub fn config(&self, more: &str) -> String {
        include_str!("../../fixtures/product/config.yaml")
            .replace("NAMESPACE", &self.name)
            .replace("REGISTRY", &self.sandbox.registry)
            .replace("OWNER", &self.sandbox.owner)
            .replace("BUSYBOX", &self.sandbox.busybox)
            + more
    }

    fn namespace(&mut self) {
        self.make_namespace();
        let Sandbox { registry, user, password, .. } = &self.sandbox;
        self.pull_secret("pull", registry, user, password);
    }

    /// Makes the namespace.
    pub fn make_namespace(&mut self) {
        self.delete_in_the_end();
        kubectl(&["create", "namespace", &self.name]);
    }

    /// Makes a Secret with credentials of a registry.
    pub fn pull_secret(&self, name: &str, registry: &str, user: &str, password: &str) {
        self.kubectl(&[
            "create",
            "secret",
            "docker-registry",
            name,
            &format!("--docker-server={registry}"),
            &format!("--docker-username={user}"),
            &format!("--docker-password={password}"),
        ]);
    }

    /// From now on the namespace exists and is the project's to delete.
    pub fn delete_in_the_end(&mut self) {
        self.in_cluster = true;
    }

    /// A path inside the folder.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Writes a file.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    /// Copies a folder, each text through `change`.
    pub fn copy(&self, from: &Path, to: &str, change: &dyn Fn(&str) -> String) {
        for entry in fs::read_dir(from).expect("a folder") {
            let path = entry.expect("an entry").path();
            let inside = format!("{to}/{}", path.file_name().expect("a name").to_string_lossy());
            if path.is_dir() {
                self.copy(&path, &inside, change);
            } else {
                self.write(&inside, &change(&fs::read_to_string(&path).expect("a text")));
            }
        }
    }

    /// Replaces text in a file.
    #[track_caller]
    pub fn edit(&self, inside: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(inside)).expect("a file");
        assert!(text.contains(from), "{from:?} is not in {inside}");
        self.write(inside, &text.replace(from, to));
    }

    /// Commits everything in the repository `inside`, making one when there is none.
    pub fn commit(&self, inside: &str) -> String {
        let folder = self.path(inside);
        let git = |arguments: &[&str]| git(&folder, arguments);
        if !folder.join(".git").exists() {
            git(&["init", "-q", "-b", "main"]);
        }
        git(&["add", "-A"]);
        git(&["-c", "user.name=test", "-c", "user.email=test@example.test", "commit", "-q", "-m", "change"]);
        git(&["rev-parse", "--short=7", "HEAD"]).trim().to_owned()
    }

    /// The short revision of the repository `inside`.
    pub fn commit_of(&self, inside: &str) -> String {
        git(&self.path(inside), &["rev-parse", "--short=7", "HEAD"]).trim().to_owned()
    }

    /// What a service answers at `/`.
    pub fn served(&self, service: &str) -> String {
        self.fetch(service, "/")
    }

    /// What a service answers at `path`, asked through its ClusterIP.
    pub fn fetch(&self, service: &str, path: &str) -> String {
        let address = self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.clusterIP}"]);
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", "--retry", "10", "--retry-connrefused", "--retry-delay", "1"])
            .arg(format!("http://{address}{path}"))
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the program in `product/`, or in the folder itself when there is no product.
    pub fn hdeploy(&self, arguments: &[&str]) -> Outcome {
        self.hdeploy_with(arguments, &[])
    }

    /// The same with further environment variables.
    pub fn hdeploy_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        Outcome::of(self.command(arguments).envs(environment.iter().copied()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let product = self.path("product");
        let here = if product.exists() { product } else { self.folder.path().to_owned() };
        let mut command = Command::new(env!("CARGO_BIN_EXE_hdeploy"));
        command.args(arguments).current_dir(here).stdin(Stdio::null());
        command.env("SHOP_PASSWORD", &self.sandbox.password);
        command
    }

    /// Starts the program in the background. It is killed at the end of the test at the latest.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts"))
    }

    /// Waits until `kubectl get` with `arguments` prints what is `wanted`, and returns that.
    #[track_caller]
    pub fn until(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let found = self.kubectl(&[&["get", "--ignore-not-found"], arguments].concat());
            if wanted(&found) {
                return found;
            }
            assert!(Instant::now() < end, "{arguments:?}: {found}");
        }
    }

    /// kubectl in the project's namespace.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        kubectl(&all)
    }

    /// The image name of a service in the registry.
    pub fn image(&self, service: &str) -> String {
        format!("{}-{service}", self.name)
    }

    /// Where the real parts are.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// The program in the background.
pub struct Running(Child);

impl Running {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Kills it, as SIGKILL does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        self.0.wait().expect("it ended");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.in_cluster {
            let arguments = ["delete", "namespace", &self.name, "--wait=false", "--ignore-not-found"];
            let _ = Command::new("kubectl").args(arguments).stdout(Stdio::null()).status();
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
