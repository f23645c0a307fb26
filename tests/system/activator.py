"""One activator among several: `python -m tests.system.activator N SEED` prints what came of it."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter

import django


def main() -> None:
    django.setup()
    # The product's functions need the models, which need the line above.
    from django.conf import settings
    from django.utils import timezone

    from audit.trail import Actor
    from modelregistry.activation import ActivationConflict, ActivationRefused, pointer_of
    from modelregistry.models import ModelVersion
    from segments.assignment import activate

    n_wanted, seed = int(sys.argv[1]), int(sys.argv[2])
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
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
