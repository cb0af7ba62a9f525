//! The edge to the image registry. Only this module names the OCI client.
