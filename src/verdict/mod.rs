//! Whether a workload has settled: pure functions over Kubernetes objects.
