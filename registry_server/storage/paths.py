"""The layout of the registry's directory: a pure map from names to paths.

    ROOT/
      blobs/ALGORITHM/XX/HEX                     content of blobs and manifests, written once
      repositories/NAME/                         NAME may hold slashes; _x cannot be part of a name
        _blobs/ALGORITHM/HEX                     empty: the repository holds this blob
        _manifests/ALGORITHM/HEX                 the media type that the manifest was pushed with
        _tags/TAG                                the digest that the tag points to
        _referrers/ALGORITHM/HEX/ALGORITHM-HEX   descriptor (JSON) of a manifest with that subject
        _uploads/UUID                            bytes received so far; the offset is the file size

XX are the first two digits of HEX. A file whose name begins with "." is being written. There is no
index: a directory copied with rsync is a registry, and any number of processes may serve it.
"""

from pathlib import Path

from imagekit.oci.digest import Digest


class Layout:
    """Paths under one root; touches no disk. Arguments must be parsed names and digests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blobs = f"{root}/blobs"
        self._repositories = f"{root}/repositories"

    @property
    def repositories(self) -> Path:
        """The directory that repositories are in."""
        return Path(self._repositories)

    def content(self, digest: Digest) -> str:
        """The file with the bytes of this digest."""
        return f"{self._blobs}/{digest.algorithm}/{digest.hex[:2]}/{digest.hex}"

    def repository(self, repository: str) -> str:
        """The directory of a repository."""
        return f"{self._repositories}/{repository}"

    def blob_link(self, repository: str, digest: Digest) -> str:
        """The file that says that the repository holds the blob."""
        return f"{self._repositories}/{repository}/_blobs/{digest.algorithm}/{digest.hex}"

    def manifests(self, repository: str) -> str:
        """The directory of manifest links, one level per algorithm."""
        return f"{self._repositories}/{repository}/_manifests"

    def manifest_link(self, repository: str, digest: Digest) -> str:
        """The file with a manifest's media type."""
        return f"{self._repositories}/{repository}/_manifests/{digest.algorithm}/{digest.hex}"

    def tags(self, repository: str) -> str:
        """The directory of tags."""
        return f"{self._repositories}/{repository}/_tags"

    def tag(self, repository: str, tag: str) -> str:
        """The file that says where a tag points."""
        return f"{self._repositories}/{repository}/_tags/{tag}"

    def referrers(self, repository: str, subject: Digest) -> str:
        """The directory of the descriptors that name this subject."""
        return f"{self._repositories}/{repository}/_referrers/{subject.algorithm}/{subject.hex}"

    def referrer(self, repository: str, subject: Digest, digest: Digest) -> str:
        """The file with the descriptor of one referrer."""
        return f"{self.referrers(repository, subject)}/{digest.algorithm}-{digest.hex}"

    def uploads(self, repository: str) -> str:
        """The directory of upload sessions."""
        return f"{self._repositories}/{repository}/_uploads"

    def upload(self, repository: str, upload: str) -> str:
        """The file that collects the bytes of an upload session."""
        return f"{self._repositories}/{repository}/_uploads/{upload}"
