"""The errors that the registry answers with, one row each, and the exception that carries one.

ImagekitError
├── RegistryError            answered to the client as ``{"errors": [...]}``
├── HostError
│   └── ServerStartError     the server cannot start: address, certificate
└── UserError
    └── SettingsError        a setting that contradicts another or cannot be read

Source: distribution-spec 1.1, "Error Codes"; the rows marked *old* come from docker's registry v2.
"""

import json
from dataclasses import dataclass

from imagekit.base.errors import HostError, ImagekitError, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """One kind of answer: the code of the specification, the HTTP status, the sentence."""

    code: str
    status: int
    message: str


BLOB_UNKNOWN = ErrorRow(code="BLOB_UNKNOWN", status=404, message="blob unknown to repository")
UPLOAD_INVALID = ErrorRow(code="BLOB_UPLOAD_INVALID", status=400, message="blob upload invalid")
UPLOAD_BUSY = ErrorRow(
    code="BLOB_UPLOAD_INVALID", status=409, message="another request is writing to this upload"
)
UPLOAD_OUT_OF_ORDER = ErrorRow(
    code="BLOB_UPLOAD_INVALID", status=416, message="chunk does not follow what was received"
)
UPLOAD_UNKNOWN = ErrorRow(
    code="BLOB_UPLOAD_UNKNOWN", status=404, message="blob upload unknown to repository"
)
DIGEST_INVALID = ErrorRow(
    code="DIGEST_INVALID", status=400, message="digest is malformed or is not that of the content"
)
MANIFEST_BLOB_UNKNOWN = ErrorRow(
    code="MANIFEST_BLOB_UNKNOWN",
    status=400,
    message="manifest refers to content unknown to repository",
)
MANIFEST_INVALID = ErrorRow(code="MANIFEST_INVALID", status=400, message="manifest invalid")
MANIFEST_TOO_LARGE = ErrorRow(code="MANIFEST_INVALID", status=413, message="manifest too large")
MANIFEST_UNKNOWN = ErrorRow(
    code="MANIFEST_UNKNOWN", status=404, message="manifest unknown to repository"
)
NAME_INVALID = ErrorRow(code="NAME_INVALID", status=400, message="invalid repository name")
NAME_UNKNOWN = ErrorRow(code="NAME_UNKNOWN", status=404, message="repository name not known")
SIZE_INVALID = ErrorRow(
    code="SIZE_INVALID", status=400, message="length does not match what was announced"
)
UNAUTHORIZED = ErrorRow(code="UNAUTHORIZED", status=401, message="authentication required")
READ_ONLY = ErrorRow(code="UNSUPPORTED", status=405, message="the registry is read-only")
UNSUPPORTED = ErrorRow(code="UNSUPPORTED", status=405, message="the operation is unsupported")
NOT_FOUND = ErrorRow(code="NAME_UNKNOWN", status=404, message="no such resource")
RANGE_INVALID = ErrorRow(code="RANGE_INVALID", status=416, message="range lies outside the content")
TAG_INVALID = ErrorRow(code="TAG_INVALID", status=400, message="invalid tag")  # old
PAGE_INVALID = ErrorRow(
    code="PAGINATION_NUMBER_INVALID", status=400, message="invalid number of results requested"
)  # old
STORAGE_FULL = ErrorRow(code="UNKNOWN", status=507, message="the registry's storage is full")
INTERNAL = ErrorRow(code="UNKNOWN", status=500, message="the registry failed")

ERROR_TABLE = (
    BLOB_UNKNOWN,
    UPLOAD_INVALID,
    UPLOAD_BUSY,
    UPLOAD_OUT_OF_ORDER,
    UPLOAD_UNKNOWN,
    DIGEST_INVALID,
    MANIFEST_BLOB_UNKNOWN,
    MANIFEST_INVALID,
    MANIFEST_TOO_LARGE,
    MANIFEST_UNKNOWN,
    NAME_INVALID,
    NAME_UNKNOWN,
    SIZE_INVALID,
    UNAUTHORIZED,
    READ_ONLY,
    UNSUPPORTED,
    NOT_FOUND,
    RANGE_INVALID,
    TAG_INVALID,
    PAGE_INVALID,
    STORAGE_FULL,
    INTERNAL,
)


class RegistryError(ImagekitError):
    """A refusal that becomes one row of the error table, with a detail for the client.

    ``headers`` are added to the answer, as a 416 or a 401 need them.
    """

    code = "registry-refusal"

    def __init__(
        self,
        row: ErrorRow,
        detail: object = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(row.message)
        self.row = row
        self.detail = detail
        self.headers = headers


class ServerStartError(HostError):
    """The server could not be started on this machine."""

    code = "registry-start"


class SettingsError(UserError):
    """The settings contradict each other or name something unusable."""

    code = "registry-settings"


def error_body(row: ErrorRow, detail: object = None) -> bytes:
    """Return the JSON document that the specification prescribes for a failure."""
    entry: dict[str, object] = {"code": row.code, "message": row.message}
    if detail is not None:
        entry["detail"] = detail
    return json.dumps({"errors": [entry]}).encode()
