"""What every handler is given besides its request."""

from dataclasses import dataclass

from registry_server.storage.interface import StorageBackend


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The storage and the limits of this registry."""

    storage: StorageBackend
    manifest_max_bytes: int
    allow_sparse: bool
    """Take manifests whose content is not here, as mirrors of some platforms push them."""
