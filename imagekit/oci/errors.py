"""Errors of OCI values.

UserError
└── InvalidReferenceError    a name, tag, digest or platform a user wrote
CorruptionError
└── InvalidDocumentError     a manifest, index or config that breaks its specification
"""

from imagekit.base.errors import CorruptionError, UserError


class InvalidReferenceError(UserError):
    """A reference, digest or platform does not follow its grammar."""

    code = "invalid-reference"


class InvalidDocumentError(CorruptionError):
    """A JSON document is not the manifest, index or config that it claims to be."""

    code = "invalid-document"
