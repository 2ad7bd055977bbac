"""OCI documents as frozen values; no input or output."""
