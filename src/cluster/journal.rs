//! The journal of a namespace, in Secrets: what it holds may be secret, and who may read it is who may read Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use serde_json::{Value, json};

use super::apply::ApplyOptions;
use super::client::Cluster;
use crate::error::{Error, Kind, Result};
use crate::model::ObjectKey;
use crate::release::journal::{Damaged, Header, Journal};

/// Name of the header, and beginning of the names of the parts.
const NAME: &str = "hdeploy-journal";
/// Label of everything that belongs to a journal.
const LABEL: &str = "hdeploy.dev/journal";
const AT_ONCE: usize = 4;

impl Cluster {
    /// Stores `journal`; when this returns, it exists.
    ///
    /// # Errors
    /// Also when there is one: it has to be put back first.
    pub async fn write_journal(&self, namespace: &str, journal: &Journal) -> Result<()> {
        if self.has_journal(namespace).await? {
            let message = format!("the namespace {namespace} has the journal of another deploy");
            return Err(Error::new(Kind::Refused, message).hint("hdeploy recover"));
        }
        let (header, parts) = journal.pack();
        let parts = parts.iter().enumerate().map(|(number, part)| secret(namespace, &part_name(&header, number), part));
        iter(parts.map(Ok::<Value, Error>))
            .try_for_each_concurrent(AT_ONCE, |part| async move { self.store(&part).await })
            .await?;
        let header = serde_json::to_vec(&header).expect("a header is JSON");
        self.store(&secret(namespace, NAME, &header)).await
    }

    async fn store(&self, secret: &Value) -> Result<()> {
        self.apply(secret, ApplyOptions { dry_run: false, force: true }).await?;
        Ok(())
    }

    /// Whether an earlier deploy did not come to its end, or another one is under way.
    pub async fn has_journal(&self, namespace: &str) -> Result<bool> {
        Ok(self.get(&key(namespace, NAME)).await?.is_some())
    }

    /// The journal of an earlier deploy that did not come to its end.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub async fn read_journal(&self, namespace: &str) -> Result<Option<Journal>> {
        let Some(header) = self.get(&key(namespace, NAME)).await? else { return Ok(None) };
        let header = Header::read(&content(&header).unwrap_or_default()).map_err(|why| damaged(namespace, why))?;
        let numbers = iter((0..header.parts).map(|number| key(namespace, &part_name(&header, number))));
        let numbers = numbers.map(|key| async move { self.get(&key).await });
        let parts: Vec<Option<Value>> = numbers.buffered(AT_ONCE).try_collect().await?;
        let parts: Option<Vec<Vec<u8>>> = parts.iter().map(|part| content(part.as_ref()?)).collect();
        let journal = Journal::unpack(&header, &parts.unwrap_or_default());
        journal.map(Some).map_err(|why| damaged(namespace, why))
    }

    /// Takes the journal away: first the header, so that a half of it never counts.
    pub async fn delete_journal(&self, namespace: &str) -> Result<()> {
        self.delete(&key(namespace, NAME), None).await?;
        for part in self.list_all("v1", "Secret", Some(namespace), Some(LABEL)).await? {
            if let Some(key) = ObjectKey::of(&part) {
                self.delete(&key, None).await?;
            }
        }
        Ok(())
    }
}

/// Parts of different journals never get in each other's way.
fn part_name(header: &Header, number: usize) -> String {
    format!("{NAME}-{}-{number}", header.hash.short())
}

fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { api_version: "v1".into(), kind: "Secret".into(), namespace: Some(namespace.into()), name: name.into() }
}

fn secret(namespace: &str, name: &str, content: &[u8]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: "v1"}},
        "type": "hdeploy.dev/journal",
        "data": {"content": STANDARD.encode(content)},
    })
}

fn content(secret: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(secret["data"]["content"].as_str()?).ok()
}

fn damaged(namespace: &str, why: Damaged) -> Error {
    let place = format!("the journal of an unfinished deploy in the namespace {namespace}");
    match why {
        Damaged::Version => {
            Error::new(Kind::Refused, format!("{place} was written by a newer version of this program"))
                .hint("run that version: hdeploy recover")
        }
        Damaged::Content => Error::new(Kind::Refused, format!("{place} is damaged"))
            .hint("look at what runs and mend it by hand, for what it was before is lost")
            .hint(format!("then take the journal away: kubectl delete secret -n {namespace} -l {LABEL}")),
    }
}
