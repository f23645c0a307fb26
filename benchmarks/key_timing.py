"""Whether the time of a refusal tells why a key was refused: it should not, within 5 %.

`python -m benchmarks.key_timing` asks `GET /models` in this process, with keys of each kind in
turn, in an order drawn anew each round; every request is whole, its entry in the trail included.
DATABASE_URL names an empty PostgreSQL database; without it a new SQLite file is used.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import django

from benchmarks.servers import own_environment

GOAL = 0.05
WARM_UP_ROUNDS = 50
SEED = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000, help="for each kind of key")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="key-timing-") as directory:
        database = os.environ.get("DATABASE_URL", "")
        os.environ.update(own_environment(Path(directory)))
        os.environ.update(DATABASE_URL=database, BAD_KEY_LIMIT="100000000/m")
        django.setup()
        times = measured(bad_keys(), n_rounds=options.calls)
    report(times)


def bad_keys() -> Mapping[str, str]:
    # Django's models can be imported only once it is set up.
    from django.core.management import call_command
    from django.utils import timezone

    from access.key_format import SECRET_LENGTH, key_id_of, key_text
    from access.keys import create_key, revoke
    from access.models import ApiKey
    from audit.trail import Actor

    call_command("migrate", verbosity=0)
    by = Actor.system("benchmark")
    scopes = ["models:read", "predict"]
    _, good = create_key(name="good", scopes=scopes, by=by)
    revoked, revoked_secret = create_key(name="revoked", scopes=scopes, by=by)
    revoke(revoked, by=by)
    expired, expired_secret = create_key(name="expired", scopes=scopes, by=by)
    yesterday = timezone.now() - timedelta(days=1)
    ApiKey.objects.filter(pk=expired.pk).update(expiry_date=yesterday)
    secret = "x" * SECRET_LENGTH
    return {
        "unknown": key_text("AbCdEf12", secret),
        "wrong secret": key_text(str(key_id_of(good)), secret),
        "revoked": revoked_secret,
        "expired": expired_secret,
        "bad checksum": good[:-1] + ("a" if good[-1] != "a" else "b"),
    }


def measured(keys: Mapping[str, str], *, n_rounds: int) -> Mapping[str, list[float]]:
    """Seconds of each request, by the kind of its key."""
    from django.test import Client

    client = Client(headers={"Host": "localhost"})
    times: dict[str, list[float]] = {kind: [] for kind in keys}
    order = random.Random(SEED)
    kinds = list(keys)
    for number in range(WARM_UP_ROUNDS + n_rounds):
        order.shuffle(kinds)
        for kind in kinds:
            started = time.perf_counter()
            answer = client.get("/models", headers={"X-API-Key": keys[kind]})
            seconds = time.perf_counter() - started
            assert answer.status_code == 401, answer.content
            if number >= WARM_UP_ROUNDS:
                times[kind].append(seconds)
    return times


def report(times: Mapping[str, list[float]]) -> None:
    medians = {kind: statistics.median(seconds) for kind, seconds in times.items()}
    usual = statistics.median(medians.values())
    print(f"{'key':<14} {'calls':>6} {'median ms':>10} {'of the usual':>13}")
    for kind, median in medians.items():
        print(f"{kind:<14} {len(times[kind]):>6} {median * 1000:>10.3f} {median / usual:>13.3f}")
    spread = max(medians.values()) / min(medians.values()) - 1
    print(f"slowest over fastest: +{spread:.1%} (goal: within {GOAL:.0%})")


if __name__ == "__main__":
    main()
