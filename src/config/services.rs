//! The registry and the services whose images go there.

use std::collections::BTreeMap;

use super::env_file::is_variable_name;
use super::fields::Fields;
use super::source::Place;
use super::tree::{Entry, Node};
use super::value::Values;
use super::{Build, Credentials, Registry, Service};
use crate::model::{Invalid, Repository, ServiceName, is_repository_path};
use crate::redact::Secret;

const REPOSITORY_RULE: &str = "lower-case letters and digits, separated by '.', '_', '-' or '/', without host and tag";

/// `registry:`.
pub(super) fn registry(root: &Fields<'_>, values: &Values<'_>) -> Option<Registry> {
    let known = ["ca", "owner", "password", "plainHttp", "server", "username"];
    let fields = Fields::open(values, root.required("registry")?, "registry", &known)?;
    let server = server(&fields);
    let owner = fields.required_text("owner");
    if let Some(owner) = owner.as_deref().filter(|owner| !is_repository_path(owner)) {
        fields.report("owner", format!("{owner:?} is no part of an image's path: {REPOSITORY_RULE}"));
    }
    let plain_http = fields.flag("plainHttp");
    if let Some(server) = server.as_deref().filter(|server| plain_http && !is_loopback(server)) {
        let message =
            format!("plainHttp would send the password to {server} in the clear; it is for this machine only");
        fields.report("plainHttp", message);
    }
    let credentials = credentials(&fields, values);
    let ca = fields.path("ca");
    if let Some(ca) = ca.as_deref().filter(|ca| !ca.is_file()) {
        fields.report("ca", format!("the file {} does not exist", values.sources.shown(ca)));
    }
    Some(Registry { server: server?, owner: owner?, credentials, ca, plain_http })
}

fn server(fields: &Fields<'_>) -> Option<String> {
    let server = fields.required_text("server")?;
    if is_server(&server) {
        return Some(server);
    }
    let scheme = if server.contains("://") { "; leave the scheme away" } else { "" };
    fields.report("server", format!("registry.server is host or host:port; this is {server:?}{scheme}"));
    None
}

fn is_server(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    let numbered = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = named || numbered.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Whether `server` is this machine by its address or by the one name that cannot mean another.
fn is_loopback(server: &str) -> bool {
    let host = server.rsplit_once(':').filter(|_| !server.ends_with(']')).map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn credentials(fields: &Fields<'_>, values: &Values<'_>) -> Option<Credentials> {
    match (fields.get("username"), fields.get("password")) {
        (None, Some(_)) => fields.report("password", "registry.password needs registry.username beside it"),
        (Some(_), None) => fields.report("username", "registry.username needs registry.password beside it"),
        _ => {}
    }
    fields.get("password")?;
    let password = fields.required_text("password");
    if let Some(password) = &password {
        values.learn(password);
    }
    let username = fields.get("username").and_then(|_| fields.required_text("username"));
    Some(Credentials { username: username?, password: Secret::new(password?) })
}

/// `services:`, in their order.
pub(super) fn services(root: &Fields<'_>, values: &Values<'_>, registry: Option<&Registry>) -> Vec<Service> {
    let entries = root.required("services").map(|_| root.map("services")).unwrap_or_default();
    if entries.is_empty() && root.get("services").is_some_and(|node| node.map().is_some()) {
        root.report("services", "services names at least one service");
    }
    let mut images = Vec::new();
    let mut services = Vec::new();
    for entry in entries {
        let (name, image, build) = service(entry, values);
        let Some((image, place)) = image else { continue };
        refuse_same_image(&images, entry, &image, place, values);
        images.push((image.clone(), entry.key.as_str(), place));
        if let (Some(name), Some(registry)) = (name, registry) {
            let path = format!("{}/{image}", registry.owner);
            services.push(Service { name, repository: Repository { registry: registry.server.clone(), path }, build });
        }
    }
    services
}

type Image = (String, Place);

fn service(entry: &Entry, values: &Values<'_>) -> (Option<ServiceName>, Option<Image>, Option<Build>) {
    let name = entry.key.parse().map_err(|error: Invalid| values.sources.report(entry.place, error.to_string())).ok();
    let fields = Fields::open(values, &entry.value, &format!("services.{}", entry.key), &["build", "image"]);
    let Some(fields) = fields else { return (name, None, None) };
    (name, image(&fields), fields.get("build").and_then(|node| build(node, &entry.key, values)))
}

fn image(fields: &Fields<'_>) -> Option<Image> {
    let image = fields.required_text("image")?;
    if !is_repository_path(&image) {
        fields.report("image", format!("{image:?} is no image: {REPOSITORY_RULE}"));
    }
    Some((image, fields.get("image")?.place))
}

fn refuse_same_image(known: &[(String, &str, Place)], entry: &Entry, image: &str, place: Place, values: &Values<'_>) {
    let Some((_, first, first_place)) = known.iter().find(|(other, ..)| other == image) else { return };
    let message = format!("the services {first} and {} have the same image {image:?}", entry.key);
    values.sources.report_both(*first_place, place, message);
}

fn build(node: &Node, service: &str, values: &Values<'_>) -> Option<Build> {
    let name = format!("services.{service}.build");
    let fields = Fields::open(values, node, &name, &["args", "context", "dockerfile", "target"])?;
    let context = fields.required("context").and_then(|_| fields.path("context"));
    let dockerfile = fields.text("dockerfile").unwrap_or_else(|| "Dockerfile".into());
    let (args, target) = (args(fields.map("args"), values), fields.text("target"));
    Some(Build { context: context?, dockerfile, target, args })
}

fn args(entries: &[Entry], values: &Values<'_>) -> BTreeMap<String, String> {
    for entry in entries.iter().filter(|entry| !is_variable_name(&entry.key)) {
        let message = format!("{:?} cannot be the name of a build argument", entry.key);
        values.sources.report(entry.place, message);
    }
    entries.iter().filter_map(|entry| Some((entry.key.clone(), values.product_text(entry)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_hosts_with_an_optional_port() {
        for text in ["registry.example", "127.0.0.1:3300", "localhost", "[::1]:5000", "[::1]"] {
            assert!(is_server(text), "{text}");
        }
        for text in ["", "https://registry.example", "a/b", "a:", "a:0", "a:99999", "a b", "::1", ":80"] {
            assert!(!is_server(text), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for text in ["localhost", "localhost:5000", "127.0.0.1:3300", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(text), "{text}");
        }
        for text in ["localhost.example", "10.0.0.1:80", "registry.example:5000", "127.0.0.1.example"] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
