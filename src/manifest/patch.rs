//! Changes to single objects that the configuration asks for.

use crate::config::{Patch, PatchOperation, PatchTarget};
use crate::manifest::Object;
use crate::manifest::read::identity;
use crate::model::ObjectKey;
use crate::suggest::did_you_mean;

/// Applies `patches` in order. One whose target lies in a file that was left out is left out with it.
pub fn apply(objects: &mut [Object], left_out: &[Object], patches: &[Patch], findings: &mut Vec<String>) {
    for patch in patches {
        let mut hit = left_out.iter().any(|object| matches(&patch.target, object));
        for object in objects.iter_mut().filter(|object| matches(&patch.target, object)) {
            hit = true;
            let key = object.key();
            let before = object.value.clone();
            if let Err(why) = change(&patch.operation, object, &key) {
                object.value = before;
                findings.push(format!("{}: the patch of {key} does not fit: {why}", patch.origin));
            }
        }
        if !hit {
            findings.push(nothing(patch, objects));
        }
    }
}

fn matches(target: &PatchTarget, object: &Object) -> bool {
    let key = object.key();
    target.kind == key.kind
        && target.name == key.name
        && target.api_version.as_ref().is_none_or(|version| *version == key.api_version)
        && target.namespace.as_ref().is_none_or(|namespace| Some(namespace) == key.namespace.as_ref())
}

fn change(operation: &PatchOperation, object: &mut Object, key: &ObjectKey) -> Result<(), String> {
    match operation {
        PatchOperation::Merge(patch) => json_patch::merge(&mut object.value, patch),
        PatchOperation::Json(patch) => {
            json_patch::patch(&mut object.value, patch).map_err(|error| error.to_string())?;
        }
    }
    match ObjectKey::of(&object.value) {
        Some(after) if after == *key => identity(&object.value),
        _ => Err("it changes what identifies the object".into()),
    }
}

fn nothing(patch: &Patch, objects: &[Object]) -> String {
    let target = format!("{} {}", patch.target.kind, patch.target.name);
    let names: Vec<String> = objects.iter().map(|object| format!("{} {}", object.kind(), object.name())).collect();
    format!("{}: no manifest holds {target}{}", patch.origin, did_you_mean(&target, names.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;
    use serde_json::{Value, json};

    fn object(name: &str) -> Object {
        let value =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": 3}});
        Object { value, source: Source { file: "a.yaml".into(), document: 1, line: 1 } }
    }

    fn patch(name: &str, operation: PatchOperation) -> Patch {
        let target = PatchTarget { api_version: None, kind: "Deployment".into(), name: name.into(), namespace: None };
        Patch { target, operation, origin: "config.yaml:4".into() }
    }

    fn run(patches: &[Patch]) -> (Value, Vec<String>) {
        let mut objects = [object("web")];
        let mut findings = Vec::new();
        apply(&mut objects, &[object("absent")], patches, &mut findings);
        (objects[0].value["spec"].clone(), findings)
    }

    #[test]
    fn both_kinds_of_patches_change_their_object() {
        let json: json_patch::Patch =
            serde_json::from_value(json!([{"op": "add", "path": "/spec/paused", "value": true}])).expect("a patch");
        let merge = PatchOperation::Merge(json!({"spec": {"replicas": 1}}));
        let (spec, findings) = run(&[patch("web", merge), patch("web", PatchOperation::Json(json))]);
        assert_eq!((spec, findings.len()), (json!({"replicas": 1, "paused": true}), 0));
    }

    #[test]
    fn a_patch_cannot_make_another_object_of_its_own() {
        let renamed =
            patch("web", PatchOperation::Merge(json!({"metadata": {"name": "wab"}, "spec": {"replicas": 1}})));
        let (spec, findings) = run(&[renamed]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("it changes what identifies the object"), "{findings:?}");
        assert_eq!(spec, json!({"replicas": 3}));
    }

    #[test]
    fn a_patch_hits_nothing_but_its_target() {
        let merge = || PatchOperation::Merge(json!({"spec": {"replicas": 1}}));
        let with = |change: &dyn Fn(&mut PatchTarget)| {
            let mut patch = patch("web", merge());
            change(&mut patch.target);
            run(&[patch])
        };
        let miss = [
            with(&|target| target.kind = "StatefulSet".into()),
            with(&|target| target.name = "other".into()),
            with(&|target| target.api_version = Some("apps/v2".into())),
            with(&|target| target.namespace = Some("elsewhere".into())),
        ];
        for (spec, findings) in miss {
            assert_eq!((spec, findings.len()), (json!({"replicas": 3}), 1));
        }
        let (spec, findings) = with(&|target| target.api_version = Some("apps/v1".into()));
        assert_eq!((spec, findings.len()), (json!({"replicas": 1}), 0));
    }

    #[test]
    fn a_patch_that_matches_nothing_or_does_not_fit_is_refused() {
        let merge = || PatchOperation::Merge(json!({"spec": {}}));
        let json: json_patch::Patch =
            serde_json::from_value(json!([{"op": "remove", "path": "/spec/nothing"}])).expect("a patch");
        let nameless = patch("web", PatchOperation::Merge(json!({"metadata": null})));
        let (_, findings) = run(&[
            patch("webb", merge()),
            patch("web", PatchOperation::Json(json)),
            patch("absent", merge()),
            nameless,
        ]);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].contains("config.yaml:4") && findings[0].contains("did you mean \"Deployment web\"?"));
    }
}
