//! The edge to the Docker daemon and its BuildKit. Only this module names bollard.
