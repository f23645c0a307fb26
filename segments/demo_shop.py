"""The customers of a made-up shop: what the product shows and tests itself with before real data.

Five groups of customers hide in the table (`GROUPS`: share and habits of each); nobody is real.

Each habit varies from customer to customer by a log-normal factor (counts, days and money) or on
the logit scale (shares), so groups overlap at the edges as those of a shop do, and spend and days
are as skewed as money and waiting times are. Region belongs to no group, channel and newsletter
lean with it. Ages are missing where customers did not tell, `loyalty_card_number` is an id in
disguise, and every day counts back from one fixed day, so that the same seed gives the same bytes.
"""

import csv
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.records import Scalar

AS_OF = date(2025, 6, 30)
"""The day on which the shop is looked at."""

AGE_MISSING_SHARE = 0.06
REGION_MISSING_SHARE = 0.02

SPREAD = 0.33
"""Standard deviation of the log factor between customers of one group: about +-33 %."""

SHARE_SPREAD = 0.42
"""Standard deviation of a share between customers of one group, on the logit scale."""

AGE_SPREAD = 7.0
"""Standard deviation of age between customers of one group, in years."""

CHANNELS = ("web", "app", "store")
REGIONS = ("North", "South", "East", "West")
REGION_SHARES = (0.62, 0.18, 0.12, 0.08)

FIRST_CARD_NUMBER = 40_000_000
CARD_NUMBERS_PER_CUSTOMER = 20
"""Cards are drawn without repeats from so many numbers a customer: distinct, in no order."""


@dataclass(frozen=True, slots=True)
class Group:
    """A latent group: its share of customers and the median habits of its members."""

    name: str
    share: float
    age: float
    tenure_days: float
    recency_days: float
    orders: float
    basket: float
    returns_share: float
    discount_share: float
    newsletter_share: float
    channel_shares: tuple[float, float, float]


GROUPS = (
    Group(
        name="loyal high spenders",
        share=0.20,
        age=52,
        tenure_days=1500,
        recency_days=9,
        orders=42,
        basket=110,
        returns_share=0.04,
        discount_share=0.08,
        newsletter_share=0.95,
        channel_shares=(0.06, 0.04, 0.90),
    ),
    Group(
        name="bargain hunters",
        share=0.24,
        age=38,
        tenure_days=900,
        recency_days=30,
        orders=18,
        basket=26,
        returns_share=0.10,
        discount_share=0.68,
        newsletter_share=0.95,
        channel_shares=(0.05, 0.92, 0.03),
    ),
    Group(
        name="newcomers",
        share=0.20,
        age=27,
        tenure_days=60,
        recency_days=16,
        orders=2,
        basket=42,
        returns_share=0.08,
        discount_share=0.30,
        newsletter_share=0.08,
        channel_shares=(0.06, 0.92, 0.02),
    ),
    Group(
        name="lapsing",
        share=0.20,
        age=44,
        tenure_days=1300,
        recency_days=320,
        orders=9,
        basket=48,
        returns_share=0.09,
        discount_share=0.22,
        newsletter_share=0.06,
        channel_shares=(0.92, 0.03, 0.05),
    ),
    Group(
        name="occasional big baskets",
        share=0.16,
        age=47,
        tenure_days=1000,
        recency_days=95,
        orders=4,
        basket=210,
        returns_share=0.32,
        discount_share=0.06,
        newsletter_share=0.06,
        channel_shares=(0.92, 0.03, 0.05),
    ),
)


def demo_customers(n_customers: int, random_state: int) -> list[dict[str, Scalar]]:
    """Return made-up customers as records; the same arguments give the same records."""
    columns = _columns(n_customers, random_state)
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def write_demo_customers(
    path: str | Path, *, n_customers: int = 2_000, random_state: int = 2025
) -> None:
    """Write made-up customers as CSV: the whole file appears at once, or none of it."""
    columns = _columns(n_customers, random_state)
    cells = {name: _as_cells(values) for name, values in columns.items()}
    target = Path(path)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="", dir=target.parent, delete=False
    ) as file:
        try:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(cells)
            writer.writerows(zip(*cells.values(), strict=True))
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _as_cells(values: Sequence[Scalar]) -> Sequence[object]:
    words = {True: "true", False: "false"}
    return [words[value] if isinstance(value, bool) else value for value in values]


def _columns(n_customers: int, random_state: int) -> dict[str, list[Scalar]]:
    if n_customers < 1:
        raise ValueError(f"n_customers must be 1 or more, not {n_customers}")
    rng = np.random.default_rng(random_state)
    group = rng.choice(len(GROUPS), size=n_customers, p=[g.share for g in GROUPS])
    recency = np.ceil(_varied(rng, _of(group, "recency_days")))
    tenure = np.ceil(_varied(rng, _of(group, "tenure_days"))) + recency
    orders = np.maximum(1, np.rint(_varied(rng, _of(group, "orders"))))
    basket = np.round(_varied(rng, _of(group, "basket")), 2)
    digits = max(6, len(str(n_customers)))
    return {
        "customer_id": [f"C-{number:0{digits}d}" for number in range(1, n_customers + 1)],
        "loyalty_card_number": _card_numbers(rng, n_customers),
        "signed_up_on": [(AS_OF - timedelta(days=int(d))).isoformat() for d in tenure],
        "age": _with_gaps(rng, _ages(rng, group), AGE_MISSING_SHARE),
        "recency_days": recency.astype(int).tolist(),
        "orders": orders.astype(int).tolist(),
        "total_spend": np.round(orders * basket, 2).tolist(),
        "average_basket": basket.tolist(),
        "returns_share": _shares(rng, _of(group, "returns_share")),
        "discount_share": _shares(rng, _of(group, "discount_share")),
        "newsletter": (rng.random(n_customers) < _of(group, "newsletter_share")).tolist(),
        "channel": _channels(rng, group),
        "region": _with_gaps(rng, _regions(rng, n_customers), REGION_MISSING_SHARE),
    }


def _of(group: NDArray[np.int64], habit: str) -> NDArray[np.float64]:
    """Return the group's median habit for each customer."""
    return np.array([getattr(g, habit) for g in GROUPS], dtype=np.float64)[group]


def _varied(rng: np.random.Generator, median: NDArray[np.float64]) -> NDArray[np.float64]:
    return median * rng.lognormal(0.0, SPREAD, size=len(median))


def _shares(rng: np.random.Generator, median: NDArray[np.float64]) -> list[Scalar]:
    logit = np.log(median / (1 - median)) + rng.normal(0.0, SHARE_SPREAD, size=len(median))
    shares: list[Scalar] = np.round(1 / (1 + np.exp(-logit)), 3).tolist()
    return shares


def _ages(rng: np.random.Generator, group: NDArray[np.int64]) -> list[Scalar]:
    drawn = _of(group, "age") + rng.normal(0.0, AGE_SPREAD, size=len(group))
    ages: list[Scalar] = np.clip(np.rint(drawn), 18, 95).astype(int).tolist()
    return ages


def _card_numbers(rng: np.random.Generator, n_customers: int) -> list[Scalar]:
    drawn = rng.choice(CARD_NUMBERS_PER_CUSTOMER * n_customers, size=n_customers, replace=False)
    numbers: list[Scalar] = (FIRST_CARD_NUMBER + drawn).tolist()
    return numbers


def _channels(rng: np.random.Generator, group: NDArray[np.int64]) -> list[Scalar]:
    bounds = np.cumsum([g.channel_shares for g in GROUPS], axis=1)[group]
    place = (rng.random((len(group), 1)) > bounds[:, :-1]).sum(axis=1)
    return [CHANNELS[index] for index in place]


def _regions(rng: np.random.Generator, n_customers: int) -> list[Scalar]:
    return [REGIONS[i] for i in rng.choice(len(REGIONS), size=n_customers, p=REGION_SHARES)]


def _with_gaps(
    rng: np.random.Generator, values: Sequence[Scalar], missing_share: float
) -> list[Scalar]:
    gaps = (rng.random(len(values)) < missing_share).tolist()
    return [None if gap else value for gap, value in zip(gaps, values, strict=True)]
