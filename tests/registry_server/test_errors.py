"""The error table and the tree in its module's docstring."""

import json

from imagekit.base.errors import HostError, ImagekitError, UserError
from registry_server import errors

SPECIFIED = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "UNSUPPORTED",
}


def test_table_holds_every_row_and_every_specified_code() -> None:
    rows = {value for value in vars(errors).values() if isinstance(value, errors.ErrorRow)}

    assert rows == set(errors.ERROR_TABLE)
    assert {row.code for row in rows} >= SPECIFIED
    assert len({(row.code, row.status, row.message) for row in rows}) == len(errors.ERROR_TABLE)


def test_body_is_the_specified_document() -> None:
    body = json.loads(errors.error_body(errors.BLOB_UNKNOWN, {"digest": "x"}))

    assert body == {
        "errors": [
            {
                "code": "BLOB_UNKNOWN",
                "message": "blob unknown to repository",
                "detail": {"digest": "x"},
            }
        ]
    }
    assert "detail" not in json.loads(errors.error_body(errors.BLOB_UNKNOWN))["errors"][0]


def test_classes_are_where_the_docstring_draws_them() -> None:
    assert errors.RegistryError.__bases__ == (ImagekitError,)
    assert errors.ServerStartError.__bases__ == (HostError,)
    assert errors.SettingsError.__bases__ == (UserError,)
    for name in ("RegistryError", "ServerStartError", "SettingsError"):
        assert name in str(errors.__doc__)
