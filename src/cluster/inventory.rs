//! The inventory of a namespace, in a ConfigMap that people can read.

use serde_json::json;

use super::apply::ApplyOptions;
use super::client::Cluster;
use super::objects::Look;
use crate::error::Result;
use crate::model::ObjectKey;
use crate::plan::inventory::Inventory;

const NAME: &str = "hdeploy-inventory";
const FIELD: &str = "objects";

impl Cluster {
    /// What was applied to the product that lives in `namespace`; nothing when it was never deployed, or when this
    /// account may not know.
    pub async fn inventory(&self, namespace: &str) -> Result<Inventory> {
        let key = ObjectKey {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: Some(namespace.into()),
            name: NAME.into(),
        };
        let Look::Object(live) = self.look(&key).await? else { return Ok(Inventory::default()) };
        Ok(Inventory::parse(live["data"][FIELD].as_str().unwrap_or_default()))
    }

    /// Stores it.
    pub async fn store_inventory(&self, namespace: &str, inventory: &Inventory) -> Result<()> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace},
            "data": {FIELD: inventory.to_string()},
        });
        self.apply(&body, ApplyOptions { dry_run: false, force: true }).await?;
        Ok(())
    }
}
