"""Files that people upload: onto the disk, and never more than a stated size of one request."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler

MAX_UPLOAD_BYTES = 50 * 1024 * 1024


class BoundedUploadHandler(TemporaryFileUploadHandler):
    """Reads past the file of a request that is too long, without storing it.

    Forms are parsed before anybody is recognised, so the bound holds for strangers too; the view
    then finds no file.
    """

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        self.is_too_long = content_length > MAX_UPLOAD_BYTES

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        if self.is_too_long:
            raise StopUpload(connection_reset=False)
        super().new_file(*args, **kwargs)
