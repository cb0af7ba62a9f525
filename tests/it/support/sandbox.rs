//! Where the real parts are, and questions to them that do not go through the program under test.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;

use hdeploy::model::Digest;
use serde_json::{Value, json};

use super::audit::Audit;

/// The environment that `scripts/sandbox/sandbox env` prints.
pub struct Sandbox {
    pub registry: String,
    pub owner: String,
    pub user: String,
    pub password: String,
    pub read_token: String,
    pub busybox: String,
    audit: Audit,
    state: String,
}

impl Sandbox {
    pub fn get() -> Self {
        let get = |name: &str| env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"));
        Self {
            registry: get("SANDBOX_REGISTRY"),
            owner: get("SANDBOX_REGISTRY_OWNER"),
            user: get("SANDBOX_REGISTRY_USER"),
            password: get("SANDBOX_REGISTRY_PASSWORD"),
            read_token: get("SANDBOX_REGISTRY_READ_TOKEN"),
            busybox: get("SANDBOX_MIRROR_BUSYBOX"),
            audit: Audit::of(&get("SANDBOX_AUDIT_LOG")),
            state: get("SANDBOX_STATE"),
        }
    }

    /// Writes by hdeploy that the API server logged, in the namespace of `project` and to objects outside of namespaces
    /// that are called `project` or `project-…`: everything but dry runs, reviews and the lock.
    pub fn writes(&self, project: &str) -> Vec<String> {
        self.audit.writes(project)
    }

    /// What the registry answers for a manifest: its digest, or `None`.
    pub fn digest(&self, image: &str, reference: &str) -> Option<String> {
        let url = format!("http://{}/v2/{}/{image}/manifests/{reference}", self.registry, self.owner);
        let credentials = format!("{}:{}", self.user, self.password);
        let output = Command::new("curl")
            .args(["-sI", "--user", &credentials, &url])
            .args(["-H", "Accept: application/vnd.oci.image.manifest.v1+json"])
            .args(["-H", "Accept: application/vnd.docker.distribution.manifest.v2+json"])
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
        let header = text.lines().find_map(|line| line.strip_prefix("docker-content-digest: "))?;
        text.lines().next()?.contains("200").then(|| header.trim().to_owned())
    }
}

impl Sandbox {
    /// Puts a manifest under a tag, as any client could.
    pub fn put(&self, image: &str, tag: &str, media_type: &str, manifest: &Value) {
        let url = format!("http://{}/v2/{}/{image}/manifests/{tag}", self.registry, self.owner);
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-X", "PUT", "--user", &format!("{}:{}", self.user, self.password)])
            .args(["-H", &format!("Content-Type: {media_type}"), "--data-binary", &manifest.to_string(), &url])
            .output()
            .expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    /// Puts a blob, and returns its descriptor.
    pub fn put_blob(&self, image: &str, content: &str) -> Value {
        let digest = Digest::of(content.as_bytes());
        let url = format!("http://{}/v2/{}/{image}/blobs/uploads/?digest={digest}", self.registry, self.owner);
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "-X", "POST", "--user", &format!("{}:{}", self.user, self.password)])
            .args(["-H", "Content-Type: application/octet-stream", "--data-binary", content, &url])
            .output()
            .expect("curl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": content.len()})
    }

    /// Takes an image away from the node.
    pub fn forget(&self, image: &str, digest: &str) {
        let socket = format!("{}/containerd.sock", self.state);
        let ctr = |arguments: &[&str]| {
            let output = Command::new("ctr").args(["-a", &socket, "-n", "k8s.io", "images"]).args(arguments).output();
            let output = output.expect("ctr");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let whole = format!("{}/{}/{image}@{digest}", self.registry, self.owner);
        let list = ctr(&["ls"]);
        let target = list.lines().find(|line| line.starts_with(&whole)).and_then(|line| line.split_whitespace().nth(2));
        let target = target.unwrap_or_else(|| panic!("{whole} is not on the node"));
        let names = list.lines().filter(|line| line.contains(target)).filter_map(|line| line.split_whitespace().next());
        for name in names {
            ctr(&["rm", "--sync", name]);
        }
    }

    /// Puts an image under another name, as somebody with the right to push could.
    pub fn copy(&self, from: &str, from_tag: &str, to: &str, to_tag: &str) {
        let name = |image: &str, tag: &str| format!("docker://{}/{}/{image}:{tag}", self.registry, self.owner);
        let credentials = format!("{}:{}", self.user, self.password);
        let output = Command::new("skopeo")
            .args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"])
            .args(["--src-creds", &credentials, "--dest-creds", &credentials])
            .args([name(from, from_tag), name(to, to_tag)])
            .output()
            .expect("skopeo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Runs kubectl and returns what it printed; panics with its words when it fails.
#[track_caller]
pub fn kubectl(arguments: &[&str]) -> String {
    let output = Command::new("kubectl").args(arguments).output().expect("kubectl");
    assert!(output.status.success(), "kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names and uids of the pods in `namespace`.
pub fn pods(namespace: &str) -> BTreeMap<String, Value> {
    let list: Value =
        serde_json::from_str(&kubectl(&["-n", namespace, "get", "pods", "-o", "json"])).expect("a list of pods");
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|pod| (pod["metadata"]["name"].as_str().expect("a name").to_owned(), pod)).collect()
}
