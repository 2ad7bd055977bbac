"""Layer archives onto directories.

Everything happens on directory descriptors below the target; see ``tree`` and ``extract`` for how
names are confined. The target must not be reachable for others while this runs (a store directory
of mode 0700, or a root file system in which nothing runs).
"""

import enum
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import msgspec

from imagekit.base.fds import OwnedFd
from imagekit.base.streams import Readable
from imagekit.layers import overlay
from imagekit.layers.compression import open_layer
from imagekit.layers.entry import Entry, EntryType
from imagekit.layers.errors import (
    LayerContentError,
    LayerFormatError,
    UnsafeLayerError,
    host_error,
    shown,
)
from imagekit.layers.extract import Extractor
from imagekit.layers.limits import Limits
from imagekit.layers.reader import TarReader
from imagekit.layers.tree import Directory, Tree, clean_path, host_metadata

__all__ = ["ApplyResult", "Limits", "WhiteoutForm", "apply_layer", "extract_archive"]


class WhiteoutForm(enum.Enum):
    """How deletions are expressed in the target."""

    OVERLAY_TRUSTED = "overlay-trusted"
    """As overlayfs mounted by root reads them."""
    OVERLAY_USER = "overlay-user"
    """As overlayfs with ``userxattr`` reads them."""
    PLAIN = "plain"
    """By deleting from the target, which holds all layers below."""


class ApplyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was unpacked.

    ``skipped_devices`` were not allowed to this user; ``skipped_xattrs`` do not belong into a
    layer, or the file system cannot hold them.
    """

    entries: int
    unpacked_bytes: int
    skipped_devices: int = 0
    skipped_xattrs: int = 0


_OPAQUE_XATTRS = {
    WhiteoutForm.OVERLAY_TRUSTED: overlay.OPAQUE_TRUSTED,
    WhiteoutForm.OVERLAY_USER: overlay.OPAQUE_USER,
    WhiteoutForm.PLAIN: None,
}
_UNNAMED_PARENT = Entry(path="", type=EntryType.DIRECTORY, mode=0o755)


def apply_layer(
    stream: Readable,
    target: Path,
    *,
    lowerdirs: Sequence[Path] = (),
    form: WhiteoutForm,
    limits: Limits | None = None,
) -> ApplyResult:
    """Unpack the uncompressed layer ``stream`` into the existing directory ``target``.

    In the overlay forms ``target`` is empty and becomes a layer directory over ``lowerdirs`` (all
    of them, topmost first): directories that the archive does not name but needs, the root too,
    take their metadata from there (or are 0755, root's, of time 0), links and hard links resolve
    through them, nothing in them is touched. Deletions act on lower layers only, wherever in the
    archive they stand. Of several entries with one name the last wins. The stream is read to its
    end. After an error the target holds a part of the layer and is to be thrown away.

    Raises:
        LayerFormatError, LayerLimitError: from the archive.
        UnsafeLayerError: an entry leads out of the target or would act as a hidden deletion.
        LayerHostError: the kernel refused something.

    """
    reader = TarReader(stream, limits=limits)
    entry: Entry | None = None
    try:
        with OwnedFd(os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            tree = Tree(
                root.fileno(),
                lowers=overlay.lower_roots(lowerdirs) if form is not WhiteoutForm.PLAIN else (),
                opaque_xattr=_OPAQUE_XATTRS[form],
                parent=_UNNAMED_PARENT,
            )
            if tree.root.lowers:
                topmost = tree.root.lowers[0]
                tree.metadata[""] = host_metadata(topmost, os.stat(topmost))
            applier = _PlainApplier(tree) if form is WhiteoutForm.PLAIN else _OverlayApplier(tree)
            try:
                for entry in reader:
                    applier.apply(entry)
                entry = None
                applier.extractor.finish()
            finally:
                tree.reopen()
    except OSError as error:
        where = "the layer" if entry is None else shown(entry.path)
        raise host_error(f"unpack {where}", error) from error
    return ApplyResult(
        entries=reader.entries,
        unpacked_bytes=reader.unpacked_bytes,
        skipped_devices=applier.extractor.skipped_devices,
        skipped_xattrs=applier.extractor.skipped_xattrs,
    )


def extract_archive(
    stream: Readable,
    root: Path,
    destination: str,
    *,
    owner: tuple[int, int] | None = None,
    limits: Limits | None = None,
) -> ApplyResult:
    """Unpack an archive, compressed or not, into ``destination`` inside ``root``, as ADD does.

    ``destination`` is an absolute path of the image; links in it are followed inside ``root``, and
    what is missing is made (0755; ``owner`` or root). Directories that exist are merged and take
    the entry's metadata, anything else in the way is replaced; an entry for ``.`` changes nothing.
    Names beginning with ``.wh.`` mean nothing here. ``owner`` is given to every entry.

    Raises:
        LayerContentError: ``destination`` runs through a file.
        LayerError: as ``apply_layer``.

    """
    _, plain = open_layer(stream, limits=limits)
    reader = TarReader(plain, limits=limits, what="archive")
    base = clean_path(destination) if destination else ""
    entry: Entry | None = None
    try:
        with OwnedFd(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd:
            tree = Tree(root_fd.fileno(), lowers=(), opaque_xattr=None, parent=_UNNAMED_PARENT)
            extractor = Extractor(tree, base=base, owner=owner)
            try:
                _make_destination(tree, base)
                for entry in reader:
                    path = clean_path(entry.path)
                    if path:
                        extractor.add(entry, *extractor.place(path))
                entry = None
                extractor.finish()
            finally:
                tree.reopen()
    except OSError as error:
        where = destination if entry is None else shown(entry.path)
        raise host_error(f"unpack {where}", error) from error
    return ApplyResult(
        entries=reader.entries,
        unpacked_bytes=reader.unpacked_bytes,
        skipped_devices=extractor.skipped_devices,
        skipped_xattrs=extractor.skipped_xattrs,
    )


def _make_destination(tree: Tree, base: str) -> None:
    try:
        tree.directory(base, create=True)
    except LayerFormatError as error:
        raise LayerContentError(f"cannot unpack into /{base}: {error.message}") from error


class _OverlayApplier:
    """Entries and deletions in overlayfs' form."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._is_root_hidden = False
        self.extractor = Extractor(tree)

    def apply(self, entry: Entry) -> None:
        """Apply one entry of the archive."""
        path = clean_path(entry.path)
        if not path:
            _set_root(self._tree, entry)
            return
        hidden = hidden_path(path)
        if hidden is None:
            self.extractor.add(entry, *self.extractor.place(path))
        elif hidden.opaque:
            self._hide_all(hidden.path)
        elif hidden.path:
            self._hide(hidden.path)

    def _hide(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        directory = self._tree.directory(parent, create=False)
        if directory is not None:
            self._hide_name(directory, name)

    def _hide_name(self, directory: Directory, name: str) -> None:
        path = directory.child_path(name)
        try:
            status = os.lstat(name, dir_fd=directory.fd)
        except FileNotFoundError:
            # Over nothing there must be none: in a directory of one layer only, overlayfs lists it.
            if self._tree.lower(directory, name) is not None:
                self._make_whiteout(directory, name)
            return
        if self._tree.is_only_copied(path):
            self._tree.remove(directory, name)
            self._make_whiteout(directory, name)
        elif stat.S_ISDIR(status.st_mode):  # the layer's own; what is below it is hidden
            self.extractor.make_opaque(directory, name)

    def _make_whiteout(self, directory: Directory, name: str) -> None:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory.fd)

    def _hide_all(self, path: str) -> None:
        directory = self._tree.directory(path, create=False)
        if directory is None:
            return  # nothing to hide, now or when the directory comes later
        if directory is not self._tree.root:
            self._tree.set_opaque(directory.fd, directory.path)
            return
        if self._is_root_hidden:
            return
        self._is_root_hidden = True
        # overlayfs does not look at the mark on a layer's root: hide its names one by one.
        names = {name for lower in directory.lowers for name in os.listdir(lower)}
        for name in sorted(names):
            if self._tree.lower(directory, name) is not None:
                self._hide_name(directory, name)


class _PlainApplier:
    """Entries and deletions on a tree that holds everything."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._own: set[str] = set()
        # Directories in which everything is the layer's own: saying it again must cost nothing.
        self._emptied: set[str] = set()
        self.extractor = Extractor(tree)

    def apply(self, entry: Entry) -> None:
        """Apply one entry of the archive."""
        path = clean_path(entry.path)
        if not path:
            _set_root(self._tree, entry)
            return
        hidden = hidden_path(path)
        if hidden is None:
            directory, name = self.extractor.place(path)
            own = directory.child_path(name)
            self.extractor.add(entry, directory, name)
            while own and own not in self._own:
                self._own.add(own)
                own = own.rpartition("/")[0]
            return
        if not hidden.path and not hidden.opaque:
            return
        directory_path, _, name = hidden.path.rpartition("/")
        if hidden.opaque:
            directory_path = hidden.path
        found = self._tree.directory(directory_path, create=False)
        if found is None:
            return
        if not hidden.opaque:
            self._delete([found.child_path(name)])
        elif found.path not in self._emptied:
            self._emptied.add(found.path)
            self._delete([found.child_path(name) for name in os.listdir(found.fd)])

    def _delete(self, paths: list[str]) -> None:
        """Delete what this layer did not bring itself."""
        while paths:
            path = paths.pop()
            parent, _, name = path.rpartition("/")
            directory = self._tree.directory(parent, create=False)
            assert directory is not None
            try:
                status = os.lstat(name, dir_fd=directory.fd)
            except FileNotFoundError:
                continue
            if path not in self._own:
                self._tree.remove(directory, name)
            elif stat.S_ISDIR(status.st_mode) and path not in self._emptied:
                self._emptied.add(path)
                inner = self._tree.directory(path, create=False)
                assert inner is not None
                paths += [inner.child_path(child) for child in os.listdir(inner.fd)]


class Hidden(msgspec.Struct, frozen=True):
    """A deletion: of ``path``, or of all in it when ``opaque``; of nothing when both are empty."""

    path: str
    opaque: bool = False


def hidden_path(path: str) -> Hidden | None:
    """Return what a (clean) archive path deletes, or None for an ordinary entry.

    Raises:
        UnsafeLayerError: the deletion names ``.``, ``..`` or nothing, or lies inside another.

    """
    if overlay.WHITEOUT_PREFIX not in path:
        return None
    parent, _, name = path.rpartition("/")
    for part in parent.split("/"):
        if part.startswith(overlay.METADATA_PREFIX):
            return Hidden("")
        if part.startswith(overlay.WHITEOUT_PREFIX):
            raise UnsafeLayerError(f"{path!r} lies inside a deletion")
    if name == overlay.OPAQUE_MARKER:
        return Hidden(parent, opaque=True)
    if name.startswith(overlay.METADATA_PREFIX):
        return Hidden("")
    if not name.startswith(overlay.WHITEOUT_PREFIX):
        return None
    target = name[len(overlay.WHITEOUT_PREFIX) :]
    if target in ("", ".", ".."):
        raise UnsafeLayerError(f"{path!r} would delete a directory from within")
    return Hidden(f"{parent}/{target}" if parent else target)


def _set_root(tree: Tree, entry: Entry) -> None:
    if entry.type is not EntryType.DIRECTORY:
        raise UnsafeLayerError("the archive would replace the root by something else")
    tree.metadata[""] = entry
