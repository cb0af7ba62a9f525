//! What a product has in its cluster, by name: what hdeploy applied and has not deleted since.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::{Identity, ObjectKey};

/// Every object that was applied. Jobs, which are run rather than kept, and copies of configuration are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    objects: BTreeMap<Identity, ObjectKey>,
}

impl Inventory {
    /// Reads what [`fmt::Display`] writes. A line that is none is passed over: a list that a person has edited is still
    /// good for the rest.
    pub fn parse(text: &str) -> Self {
        let mut inventory = Self::default();
        text.lines().filter_map(parse).for_each(|key| inventory.add(key));
        inventory
    }

    /// Adds an object; what is applied by another version of its kind is the same object.
    pub fn add(&mut self, key: ObjectKey) {
        self.objects.insert(key.identity(), key);
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.objects.remove(&key.identity());
    }

    /// The objects.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.objects.values()
    }
}

/// A line for each object: version, kind, namespace and name.
impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keys().try_for_each(|key| {
            let ObjectKey { api_version, kind, namespace, name } = key;
            writeln!(f, "{api_version} {kind} {}/{name}", namespace.as_deref().unwrap_or_default())
        })
    }
}

fn parse(line: &str) -> Option<ObjectKey> {
    let mut words = line.split_whitespace();
    let (api_version, kind, place) = (words.next()?, words.next()?, words.next()?);
    let (namespace, name) = place.split_once('/')?;
    (words.next().is_none() && !name.is_empty()).then(|| ObjectKey {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_what_is_no_line_is_passed_over() {
        let text = "apps/v1 Deployment shop/api\nv1 Namespace /shop\n";
        let inventory = Inventory::parse(text);
        assert_eq!(inventory.keys().count(), 2);
        assert_eq!(Inventory::parse(&inventory.to_string()), inventory);
        assert_eq!(Inventory::parse(&format!("\n# mine\nv1 Pod\nv1 Pod /\n{text}")), inventory);
    }

    #[test]
    fn an_object_is_the_same_in_every_version_of_its_kind() {
        let mut inventory = Inventory::parse("autoscaling/v1 HorizontalPodAutoscaler shop/api\n");
        inventory.add(parse("autoscaling/v2 HorizontalPodAutoscaler shop/api").expect("a line"));
        assert_eq!(inventory.to_string(), "autoscaling/v2 HorizontalPodAutoscaler shop/api\n");
        inventory.remove(&parse("autoscaling/v1 HorizontalPodAutoscaler shop/api").expect("a line"));
        assert_eq!(inventory, Inventory::default());
    }
}
