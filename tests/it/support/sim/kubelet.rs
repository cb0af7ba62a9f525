//! A kubelet that runs nothing: it registers a node and plays the pods that the scheduler binds to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::logs::Logs;
use super::pod::Playing;

pub const NODE: &str = "sim";

/// Is the kubelet until this process ends. Only one process is at a time; the next one takes over when it ends.
pub fn run(kubeconfig: &Path, lock: &File) {
    lock.lock().expect("the lock of the simulated kubelet");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = client(kubeconfig).await;
        let logs = Logs::default();
        register(&client, logs.serve(kubeconfig.parent().expect("a folder"))).await;
        let mut kubelet = Kubelet { client, logs, playing: BTreeMap::new() };
        loop {
            // An error ends a round; the next list mends whatever was missed.
            if kubelet.round().await.is_err() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    });
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

async fn register(client: &Client, port: u16) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {
        "kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}}});
    let new: Node = serde_json::from_value(node).expect("a node");
    match nodes.create(&PostParams::default(), &new).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => panic!("cannot register the node: {error}"),
    }
    let room = json!({"cpu": "1000", "memory": "1000Gi", "ephemeral-storage": "1000Gi", "pods": "5000"});
    let status = json!({"status": {
        "capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NODE}],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {"kubeletVersion": "v1.34.4", "operatingSystem": "linux", "architecture": "amd64"},
    }});
    nodes.patch_status(NODE, &PatchParams::default(), &Patch::Strategic(status)).await.expect("the node's status");
    // New nodes are tainted, and nobody else takes that away here.
    let free = Patch::Merge(json!({"spec": {"taints": null}}));
    nodes.patch(NODE, &PatchParams::default(), &free).await.expect("a node without taints");
}

struct Kubelet {
    client: Client,
    logs: Logs,
    /// Pods by uid, each with what tells it that it was deleted.
    playing: BTreeMap<String, watch::Sender<bool>>,
}

impl Kubelet {
    async fn round(&mut self) -> Result<(), kube::Error> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let here = format!("spec.nodeName={NODE}");
        let list = pods.list(&ListParams::default().fields(&here)).await?;
        let version = list.metadata.resource_version.clone().unwrap_or_default();
        let there: Vec<String> = list.items.iter().map(uid).collect();
        self.playing.retain(|uid, _| there.contains(uid));
        list.items.into_iter().for_each(|pod| self.see(pod));
        let events = pods.watch(&WatchParams::default().fields(&here), &version).await?;
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.see(pod),
                WatchEvent::Deleted(pod) => drop(self.playing.remove(&uid(&pod))),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
            }
        }
        Ok(())
    }

    fn see(&mut self, pod: Pod) {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        let told = self.playing.entry(uid(&pod)).or_insert_with(|| {
            let (told, heard) = watch::channel(false);
            tokio::spawn(Playing::new(&self.client, &self.logs, pod).play(heard));
            told
        });
        if deleted {
            told.send_replace(true);
        }
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
