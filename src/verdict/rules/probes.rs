//! Probes. A container that is not ready yet may become so: only a kill, or a probe that can never work, counts.

use super::{Fails, Scene, Sign};
use crate::verdict::cause::{Cause, Rule};
use crate::verdict::pods::Part;
use crate::verdict::reports::{about_part, fresh, latest, message, reason};

const LIVENESS_KILLS: i32 = 2;
const CANNOT_RUN: i32 = 3;

pub(super) fn sign(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    startup(scene, part).or_else(|| liveness(scene, part)).or_else(|| cannot_run(scene, part))
}

fn startup(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let kills = kills(scene, part, "failed startup probe");
    (kills >= 1).then(|| {
        let cause = cause(scene, part, Rule::StartupProbe, "startup")
            .advise("mend the probe's path or port, or give the start more time: failureThreshold × periodSeconds");
        Sign::of_part(part, cause, Fails::NOW)
    })
}

fn liveness(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let kills = kills(scene, part, "failed liveness probe");
    (kills >= 1).then(|| {
        let cause = cause(scene, part, Rule::LivenessProbe, "liveness")
            .advise("mend the probe's path or port, or its timing; a slow start belongs to a startupProbe");
        Sign::of_part(part, cause, if kills >= LIVENESS_KILLS { Fails::NOW } else { Fails::Never })
    })
}

/// The kubelet says so in a Normal event, with the reason that every end of a container has.
fn kills(scene: &Scene<'_>, part: &Part<'_>, words: &str) -> i32 {
    about_part(scene.snapshot, part)
        .filter(|event| reason(event) == "Killing" && message(event).contains(words))
        .map(|event| fresh(event, &scene.baseline.events))
        .sum()
}

fn cause(scene: &Scene<'_>, part: &Part<'_>, rule: Rule, kind: &str) -> Cause {
    let prefix = if kind == "startup" { "Startup probe" } else { "Liveness probe" };
    let said = latest(
        about_part(scene.snapshot, part)
            .filter(|event| reason(event) == "Unhealthy" && message(event).starts_with(prefix)),
    );
    let text = said.map_or("the kubelet ended the container", message);
    let target = target(part, kind).map(|target| format!(" ({target})")).unwrap_or_default();
    let meaning = format!("the kubelet ends the container, because its {kind} probe{target} fails");
    Cause::new(rule, format!("{kind} probe"), text, meaning).of_part(part).with_log_of(part)
}

/// What a probe asks: `GET :8080/health`.
pub(in crate::verdict) fn target(part: &Part<'_>, kind: &str) -> Option<String> {
    let probe = match kind {
        "startup" => part.spec.startup_probe.as_ref(),
        "liveness" => part.spec.liveness_probe.as_ref(),
        _ => part.spec.readiness_probe.as_ref(),
    }?;
    let port = |port: &k8s_openapi::apimachinery::pkg::util::intstr::IntOrString| match port {
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(number) => number.to_string(),
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::String(name) => name.clone(),
    };
    if let Some(get) = &probe.http_get {
        return Some(format!("GET :{}{}", port(&get.port), get.path.as_deref().unwrap_or("/")));
    }
    if let Some(socket) = &probe.tcp_socket {
        return Some(format!("TCP port {}", port(&socket.port)));
    }
    if let Some(grpc) = &probe.grpc {
        return Some(format!("gRPC port {}", grpc.port));
    }
    let command = probe.exec.as_ref()?.command.as_ref()?;
    command.first().map(|program| format!("command {program}"))
}

/// Of a command with its path, and of one that is looked for.
fn lacks_command(said: &str) -> bool {
    said.contains("errored")
        && (said.contains("no such file or directory") || said.contains("executable file not found"))
}

/// Each message carries another id, so that the same failure comes as many events.
fn cannot_run(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let events = || {
        about_part(scene.snapshot, part).filter(|event| reason(event) == "Unhealthy" && lacks_command(message(event)))
    };
    let times: i32 = events().map(|event| fresh(event, &scene.baseline.events)).sum();
    let newest = latest(events())?;
    (times >= 1).then(|| {
        let cause = Cause::new(
            Rule::ProbeCannotRun,
            "probe",
            message(newest),
            "the command of a probe does not exist in the image",
        )
        .of_part(part)
        .advise("put the command into the image, or probe by HTTP or TCP");
        Sign::of_part(part, cause, if times >= CANNOT_RUN { Fails::NOW } else { Fails::Never })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_exist_is_read_from_the_kubelets_words() {
        let of = |why: &str| {
            format!("Readiness probe errored and resulted in unknown state: unable to start: exec: {why}: unknown")
        };
        assert!(lacks_command(&of("\"/no/such/program\": stat /no/such/program: no such file or directory")));
        assert!(lacks_command(&of("\"no-such-program\": executable file not found in $PATH")));
        assert!(!lacks_command(&of("context deadline exceeded")));
        assert!(!lacks_command("Readiness probe failed: cat: /tmp/ready: no such file or directory"));
    }
}
