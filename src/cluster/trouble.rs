//! Failures of the connection in the words of somebody who has to mend them.

use super::client::Cluster;
use super::request::Failure;
use crate::error::Error;

/// What a failed connection's texts contain, what that means, and what to do.
const MEANINGS: [(&[&str], &str, &str); 9] = [
    (
        &["certificate expired", "Expired"],
        "the API server's certificate has expired, or this machine's clock is wrong",
        "k3s renews its certificates when it restarts: sudo systemctl restart k3s",
    ),
    (
        &["UnknownIssuer", "UnknownCA"],
        "the API server's certificate is not signed by the kubeconfig's certificate authority",
        "the cluster was set up anew or the kubeconfig is another cluster's: fetch its kubeconfig again",
    ),
    (
        &["NotValidForName", "not valid for name"],
        "the API server's certificate is for another name or address",
        "use an address that the certificate names, or start k3s with --tls-san",
    ),
    (
        &["Connection refused", "connection refused"],
        "nothing listens there: the connection was refused",
        "is the cluster running? On k3s: sudo systemctl status k3s",
    ),
    (
        &["failed to lookup", "dns error", "Name or service not known"],
        "the server's name cannot be resolved",
        "check the server's address in the kubeconfig",
    ),
    (
        &["auth error", "auth exec", "exec-plugin"],
        "the kubeconfig's credentials cannot be obtained",
        "run the kubeconfig's login command, then: kubectl get --raw /version",
    ),
    (
        &["no answer within", "deadline has elapsed", "timed out", "keep-alive"],
        "the server does not answer in time",
        "is the machine up, and does a firewall or VPN stand between? Try: kubectl get --raw /version",
    ),
    (
        &["the answer is larger than"],
        "the server answers more than an API server does",
        "is the kubeconfig's server an API server? Try: kubectl get --raw /version",
    ),
    (&["certificate"], "the encrypted connection could not be made", "try: kubectl get --raw /version"),
];

/// Clusters that renew their own certificates do not renew those in copies of their kubeconfig.
const CERTIFICATE_ENDS: &str = "see when the client certificate ends: kubectl config view --minify --raw \
    -o jsonpath='{.users[0].user.client-certificate-data}' | base64 -d | openssl x509 -noout -enddate";

/// Whether the failure stays until somebody does something about it.
pub(super) fn is_lasting(chain: &str) -> bool {
    let lasting = [0, 1, 2, 5, 7, 8].into_iter().flat_map(|index| MEANINGS[index].0);
    lasting.into_iter().any(|text| chain.contains(text))
}

/// What a failed connection means, and what to do about it.
pub(super) fn explain(chain: &str) -> (&'static str, &'static str) {
    let meaning = MEANINGS.iter().find(|(texts, ..)| texts.iter().any(|text| chain.contains(text)));
    meaning.map_or(("the connection failed", "try: kubectl get --raw /version"), |(_, what, hint)| (what, hint))
}

impl Cluster {
    /// `trying` is a clause such as "cannot list the pods of shop".
    pub(super) fn error(&self, trying: &str, failure: Failure) -> Error {
        let server = self.server();
        match failure {
            Failure::Transport(chain) => {
                let (what, hint) = explain(&chain);
                Error::refused(format!("{trying}: {server}: {what}")).because(chain).hint(hint)
            }
            Failure::Status(status) => {
                let (what, hint) = refused(status.code);
                let error = Error::refused(format!("{trying}: {server} answered {}{what}", status.code));
                let error = if status.message.is_empty() { error } else { error.because(status.message) };
                let error = hint.into_iter().fold(error, Error::hint);
                if status.code == 401 && self.has_certificate() { error.hint(CERTIFICATE_ENDS) } else { error }
            }
        }
    }
}

fn refused(code: u16) -> (&'static str, Option<&'static str>) {
    match code {
        401 => (
            " Unauthorized: it does not accept the kubeconfig's credentials",
            Some("they may have expired, or belong to a cluster that was set up anew: fetch the kubeconfig again"),
        ),
        403 => (
            " Forbidden: these credentials lack the right",
            Some("kubectl auth can-i --list shows the rights there are"),
        ),
        404 => (" Not Found", None),
        _ => ("", None),
    }
}
