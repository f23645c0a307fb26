"""Several activators: `python -m tests.system.activator N HOW_MANY` prints what came of each.

They are forks of one process, so that the modules are imported once and all begin at once.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter

import django


def main() -> None:
    django.setup()
    import segments.assignment  # noqa: F401  once for all forks

    n_wanted, n_activators = int(sys.argv[1]), int(sys.argv[2])
    pipes = [os.pipe() for _ in range(n_activators)]
    for seed, (_, end) in enumerate(pipes):
        if os.fork() == 0:
            with os.fdopen(end, "w") as told:
                json.dump(activated(n_wanted, seed), told)
            os._exit(0)
        os.close(end)
    outcomes = []
    for start, _ in pipes:
        with os.fdopen(start) as told:
            outcomes.append(json.load(told))
    json.dump(outcomes, sys.stdout)


def activated(n_wanted: int, seed: int) -> Counter[str]:
    """How the activations of one activator ended."""
    # The product's functions need the models, which need the setup.
    from django.conf import settings
    from django.utils import timezone

    from audit.trail import Actor
    from modelregistry.activation import ActivationConflict, ActivationRefused, pointer_of
    from modelregistry.models import ModelVersion
    from segments.assignment import activate

    chance = random.Random(seed)
    versions = list(ModelVersion.objects.filter(model_type="kmeans").order_by("number"))
    outcomes: Counter[str] = Counter()
    while outcomes.total() < n_wanted:
        before = pointer_of("kmeans")
        version = chance.choice([v for v in versions if v.pk != before.active_id])
        try:
            activate(
                version,
                reason=f"activator {seed}",
                by=Actor.system(f"activator {seed}"),
                at=timezone.now(),
                directory=settings.MODEL_DIR,
                force=True,
            )
            outcomes["won"] += 1
        except ActivationConflict:
            outcomes["lost"] += 1
        except ActivationRefused:
            # Only because another activator let the same version serve a moment before.
            assert pointer_of("kmeans").generation > before.generation
            outcomes["came second"] += 1
    return outcomes


if __name__ == "__main__":
    main()
