//! The edge to the Kubernetes API. Only this module names the kube client.
