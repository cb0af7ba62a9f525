//! Pod Security admission: pods that a namespace would refuse, told from what the API server says of their template.
//!
//! It accepts a Deployment whose pods it will refuse, and only warns of it. The level that it warns by may be stricter
//! than the one that it enforces, so the warning alone decides nothing.

/// Label of a Namespace: the level that pods are held to.
pub const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Whether `warning`, given for a pod template, means that a namespace which enforces `level` refuses the pods.
pub fn refuses(warning: &str, level: Option<&str>) -> bool {
    let warned = warning.strip_prefix("would violate PodSecurity \"").and_then(|rest| rest.split([':', '"']).next());
    match (warned.and_then(rank), level.and_then(rank)) {
        (Some(warned), Some(enforced)) => warned <= enforced,
        _ => false,
    }
}

fn rank(level: &str) -> Option<usize> {
    ["privileged", "baseline", "restricted"].iter().position(|known| *known == level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_by_a_stricter_level_than_the_enforced_one_refuses_nothing() {
        let warning =
            |level: &str| format!("would violate PodSecurity \"{level}:latest\": privileged (container \"a\")");
        for (warned, enforced, refused) in [
            ("restricted", Some("restricted"), true),
            ("baseline", Some("restricted"), true),
            ("baseline", Some("baseline"), true),
            ("restricted", Some("baseline"), false),
            ("restricted", Some("privileged"), false),
            ("restricted", None, false),
            ("restricted", Some("no such level"), false),
        ] {
            assert_eq!(refuses(&warning(warned), enforced), refused, "{warned} {enforced:?}");
        }
        assert!(!refuses("spec.x: deprecated since v1.30", Some("restricted")));
    }
}
