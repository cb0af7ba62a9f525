//! Where image references stand in an object.

use serde_json::Value;

/// Where a pod template may stand.
const TEMPLATES: &[&str] = &["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec", "/template/spec"];
/// The lists of containers of a pod.
pub const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];

/// The pod specifications in `object`: of itself when it is a Pod, of its template otherwise.
pub fn pod_specs(object: &Value) -> Vec<&Value> {
    TEMPLATES
        .iter()
        .filter_map(|pointer| object.pointer(pointer))
        .filter(|spec| spec["containers"].is_array())
        .collect()
}

/// The same, to change them. One object has its pods in one place.
pub fn pod_spec_mut(object: &mut Value) -> Option<&mut Value> {
    let has_pods = |pointer: &&&str| object.pointer(pointer).is_some_and(|spec| spec["containers"].is_array());
    let pointer = TEMPLATES.iter().find(has_pods)?;
    object.pointer_mut(pointer)
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.iter().filter_map(|field| spec[*field].as_array()).flatten()
}

/// Every image reference in `object`.
pub fn references(object: &Value) -> Vec<&str> {
    pod_specs(object).into_iter().flat_map(containers).filter_map(|container| container["image"].as_str()).collect()
}

/// Replaces image references: `change` returns the new one, or `None` to leave it.
pub fn replace(object: &mut Value, mut change: impl FnMut(&str) -> Option<String>) {
    for pointer in TEMPLATES {
        let Some(spec) = object.pointer_mut(pointer).filter(|spec| spec["containers"].is_array()) else { continue };
        for field in CONTAINERS {
            for container in spec.get_mut(*field).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(new) = container["image"].as_str().and_then(&mut change) {
                    container["image"] = Value::String(new);
                }
            }
        }
    }
}
