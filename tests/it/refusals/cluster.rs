//! The cluster, and the right to change it.

use std::process::Command;

use super::{CLOSED, CONFIG, Refused, silent};
use crate::support::{Project, kubectl};

/// The sandbox's kubeconfig with something replaced in it, in a file of the project's.
fn kubeconfig(project: &Project, change: impl FnOnce(String) -> String) -> String {
    let path = std::env::var("KUBECONFIG").expect("the sandbox");
    let flat = kubectl(&["config", "view", "--flatten", "--minify", "--raw", "--kubeconfig", &path]);
    project.write("kubeconfig", &change(flat));
    project.path("kubeconfig").display().to_string()
}

/// The value behind `key` in a kubeconfig.
fn value<'a>(kubeconfig: &'a str, key: &str) -> &'a str {
    let rest = kubeconfig.split(&format!("{key}: ")).nth(1).expect(key);
    rest.lines().next().expect("a line")
}

#[test]
fn another_cluster_than_the_expected_one() {
    let project = Project::new("context");
    project.edit(CONFIG, "registry:", "context: production\nregistry:");
    Refused::of(&project).says(&["is for the context production", "sandbox", "--context production"]);
    Refused::of(&project).arguments(&["all", "--context", "production"]).says(&[
        "no context called production",
        "there is: sandbox",
        "kubectl config get-contexts",
    ]);
}

#[test]
fn a_cluster_that_is_not_there() {
    let project = Project::new("nowhere");
    Refused::of(&project).with(&[("KUBECONFIG", "/nowhere/kubeconfig")]).says(&["/nowhere/kubeconfig", "KUBECONFIG"]);

    let server = format!("https://{CLOSED}");
    let closed = kubeconfig(&project, |text| text.replace(value(&text, "server"), &server));
    let words = [&server, "nothing listens there", "is the cluster running?"];
    Refused::of(&project).with(&[("KUBECONFIG", &closed)]).says(&words);
    // Also when it would be asked what runs there.
    Refused::of(&project).arguments(&["--skip-build"]).with(&[("KUBECONFIG", &closed)]).says(&words);

    // Somebody listens and never says a word.
    let (_silent, address) = silent();
    let server = format!("https://{address}");
    let mute = kubeconfig(&project, |text| text.replace(value(&text, "server"), &server));
    Refused::of(&project).with(&[("KUBECONFIG", &mute)]).says(&[
        &server,
        "does not answer in time",
        "kubectl get --raw /version",
    ]);
}

#[test]
fn certificates_that_do_not_hold() {
    let project = Project::new("certificates");
    let other = std::fs::read(std::env::var("SANDBOX_PLAIN_REGISTRY_CA").expect("the sandbox")).expect("an authority");
    let stranger =
        kubeconfig(&project, |text| text.replace(value(&text, "certificate-authority-data"), &base64(&other)));
    Refused::of(&project)
        .with(&[("KUBECONFIG", &stranger)])
        .says(&["is not signed by the kubeconfig's certificate authority", "fetch its kubeconfig again"]);

    let (certificate, key) = expired(&project);
    let expired = kubeconfig(&project, |text| {
        let with = text.replace(value(&text, "client-certificate-data"), &base64(&certificate));
        with.replace(value(&text, "client-key-data"), &base64(&key))
    });
    let words =
        ["cannot use the cluster: https://", "401 Unauthorized", "may have expired", "openssl x509 -noout -enddate"];
    Refused::of(&project).with(&[("KUBECONFIG", &expired)]).says(&words);
}

/// A client certificate of the sandbox's own authority, which ended long ago.
fn expired(project: &Project) -> (Vec<u8>, Vec<u8>) {
    let pki = format!("{}/pki", std::env::var("SANDBOX_STATE").expect("the sandbox"));
    let file = |name: &str| project.path(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().expect("openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, request, certificate) = (file("old.key"), file("old.csr"), file("old.crt"));
    openssl(&[
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        &key,
        "-out",
        &request,
        "-subj",
        "/O=system:masters/CN=old",
    ]);
    let (ca, ca_key, serial) = (format!("{pki}/ca.crt"), format!("{pki}/ca.key"), file("serial"));
    project.write("v3", "basicConstraints = CA:FALSE\n");
    let by = ["x509", "-req", "-CA", &ca, "-CAkey", &ca_key, "-CAserial", &serial, "-CAcreateserial"];
    openssl(&[&by[..], &["-in", &request, "-extfile", &file("v3"), "-days", "-1", "-out", &certificate]].concat());
    (std::fs::read(certificate).expect("a certificate"), std::fs::read(key).expect("a key"))
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn o9_an_account_without_rights() {
    let project = Project::new("rights");
    project.kubectl(&["create", "serviceaccount", "robot"]);
    let resources = "--resource=pods,services,configmaps,jobs.batch";
    project.kubectl(&["create", "role", "robot", "--verb=get,list,watch", resources]);
    project.kubectl(&[
        "create",
        "rolebinding",
        "robot",
        "--role=robot",
        &format!("--serviceaccount={}:robot", project.name),
    ]);
    let token = project.kubectl(&["create", "token", "robot"]);
    let mut server = String::new();
    let robot = kubeconfig(&project, |text| {
        value(&text, "server").clone_into(&mut server);
        let user = text.find("users:").expect("users");
        let name = value(&text[user..], "name");
        format!("{}users:\n- name: {name}\n  user:\n    token: {}\n", &text[..user], token.trim())
    });
    let name = &project.name;
    let words = [
        format!("may not create, delete, patch configmaps in {name}"),
        format!("may not create, get, list, patch, watch deployments.apps in {name}"),
        format!("may not get pods/log in {name}"),
        format!("may not create, delete, patch jobs.batch in {name}"),
        format!("may not create, delete, get, list, patch secrets in {name}"),
        "may not create, get, list, patch namespaces\n".to_owned(),
        format!("this account may not do everything at {server}"),
        "kubectl auth whoami".to_owned(),
    ];
    Refused::of(&project)
        .with(&[("KUBECONFIG", &robot)])
        .says(&words.each_ref().map(String::as_str))
        .never_says(token.trim())
        .never_says("User \"system")
        .never_says("cannot read");
}

/// A namespace that is being deleted and cannot go, until this is dropped.
struct Held<'a>(&'a Project);

impl<'a> Held<'a> {
    fn new(project: &'a Project) -> Self {
        let held = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: held\n  finalizers: [example.test/hold]\n";
        project.write("held.yaml", held);
        project.kubectl(&["create", "-f", &project.path("held.yaml").display().to_string()]);
        let held = Self(project);
        kubectl(&["delete", "namespace", &project.name, "--wait=false"]);
        let told = "--for=condition=NamespaceFinalizersRemaining";
        kubectl(&["wait", told, &format!("namespace/{}", project.name), "--timeout=60s"]);
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let free = ["patch", "configmap", "held", "--type=merge", "-p", "{\"metadata\":{\"finalizers\":null}}"];
        let _ = Command::new("kubectl").args(["-n", &self.0.name]).args(free).output();
    }
}

#[test]
fn a12_a_namespace_that_is_being_deleted() {
    let project = Project::new("dying");
    let _held = Held::new(&project);
    let name = &project.name;
    let outcome = Refused::of(&project).says(&[
        &format!("the namespace {name} is being deleted"),
        "example.test/hold in 1 resource instances",
        &format!("kubectl get namespace {name} -o yaml"),
    ]);
    outcome.never_says("was not applied");
}
