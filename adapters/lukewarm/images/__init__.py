"""OCI layers and a registry client, without a container engine."""
