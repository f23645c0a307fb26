"""The floor: a bare WSGI application that decodes the customers and encodes an answer as long.

No framework, no check, no model, no database: nobody can answer the same JSON with less work.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

MAX_CUSTOMERS = 10_000
CODECS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    "msgspec": (msgspec.json.Decoder().decode, msgspec.json.Encoder().encode),
    "json": (json.loads, lambda data: json.dumps(data).encode()),
}
PREPARED = [
    {
        "customer_id": f"C-{number:06d}",
        "segment": number % 5,
        "segment_name": "High discount share, low average basket",
        "distance": 1 + number / 7_000,
    }
    for number in range(MAX_CUSTOMERS)
]

decode, encode = CODECS[os.environ.get("FLOOR_CODEC", "msgspec")]


def application(
    environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], Any]
) -> Iterable[bytes]:
    customers = decode(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    answer = encode(
        {
            "model_type": "kmeans",
            "version": 1,
            "n_stored": 0,
            "predictions": PREPARED[: len(customers)],
        }
    )
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
    start_response("200 OK", headers)
    return [answer]
