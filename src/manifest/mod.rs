//! Manifests: read as kubectl reads them, drafted with holes for images, rendered, ordered into waves.
