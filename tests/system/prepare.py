"""Fills an installation for the system tests: customers, versions and API keys.

Run as `python -m tests.system.prepare` in the environment of the installation; prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys

import django


def main() -> None:
    django.setup()
    # The builders need the models, which need the line above.
    from django.core.management import call_command

    from access.scopes import ALL_SCOPES
    from monitoring.models import MonitoringPolicy
    from tests.factories import make_active, make_customers, make_key, make_version

    parser = argparse.ArgumentParser()
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--n-clusters", type=int, nargs="+", required=True)
    parser.add_argument("--keys", type=int, required=True)
    options = parser.parse_args()
    call_command("migrate", verbosity=0, interactive=False)
    MonitoringPolicy.objects.create(is_paused=True)  # a check would take a processor for seconds
    records = make_customers(n_customers=options.customers)
    versions = [make_version(parameters={"n_clusters": n}) for n in options.n_clusters]
    make_active(version=versions[0])
    make_version(model_type="dbscan", active=True)
    keys = {}
    for _ in range(options.keys):
        key, secret = make_key(scopes=sorted(ALL_SCOPES))
        keys[key.prefix] = secret
    json.dump({"records": records, "keys": keys}, sys.stdout)


if __name__ == "__main__":
    main()
