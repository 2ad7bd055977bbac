"""Images, layers and snapshots on disk."""
