"""Whose rows a model's places are: its customers are found even after their attributes changed.

A *place* is a core sample of DBSCAN or a centre of k-means. An *owner* is a customer whose encoded
row it is, known by a digest that the caller made of the id with a key that is never here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Digests: TypeAlias = NDArray[np.uint64]
PlaceArray: TypeAlias = NDArray[np.int64]

ARRAYS = ("owner_digests", "owner_places")


@dataclass(frozen=True, slots=True, eq=False)
class Owners:
    """Pairs of an owner and a place, ordered by place, then digest, so that no other order shows.

    Attributes
    ----------
    digests : uint64 (k,)
    places : int64 (k,), from 0; one may have several owners or none

    Raises
    ------
    ValueError
        Wrong type, shape or dtype, or pairs that are not in order.
    """

    digests: Digests
    places: PlaceArray

    def __post_init__(self) -> None:
        for name, array, dtype in zip(
            ARRAYS, (self.digests, self.places), (np.uint64, np.int64), strict=True
        ):
            if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != dtype:
                raise ValueError(f"{name}: expected a {np.dtype(dtype)} array of one dimension")
        if len(self.digests) != len(self.places):
            raise ValueError("owner_digests and owner_places: expected as many of both")
        same = self.places[1:] == self.places[:-1]
        rises = (self.places[1:] > self.places[:-1]) | (self.digests[1:] > self.digests[:-1]) & same
        if not rises.all():
            raise ValueError("owner_places: expected rising pairs of place and digest")

    @classmethod
    def of(cls, digests: Digests, places: PlaceArray) -> Self:
        """From pairs in any order, repeated or not."""
        order = np.lexsort((digests, places))
        digests, places = digests[order], places[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (places[1:] != places[:-1]) | (digests[1:] != digests[:-1])
        return cls(digests[is_first], places[is_first])

    def check_places(self, n_places: int) -> None:
        """Raise ValueError for a place beyond the model's."""
        if len(self.places) and not 0 <= self.places[0] <= self.places[-1] < n_places:
            raise ValueError(f"owner_places: expected places below {n_places}")

    def places_of(self, digests: Digests) -> PlaceArray:
        """The places of some owners, rising."""
        return np.unique(self.places[np.isin(self.digests, digests)])

    def without(self, digests: Digests, places: NDArray[np.intp]) -> Self:
        """The pairs of neither these owners nor these places."""
        gone = np.isin(self.digests, digests) | np.isin(self.places, places)
        return type(self)(self.digests[~gone], self.places[~gone])

    def joined_by(self, digests: Digests, place: int) -> Self:
        """The same with more owners of a place."""
        places = np.full(len(digests), place, dtype=np.int64)
        return self.of(
            np.concatenate([self.digests, digests]), np.concatenate([self.places, places])
        )

    def renumbered(self, removed: NDArray[np.intp]) -> Self:
        """The same when places, rising and owned by nobody, are taken out of the model."""
        return type(self)(self.digests, self.places - np.searchsorted(removed, self.places))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(zip(ARRAYS, (self.digests, self.places), strict=True))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(*(arrays[name] for name in ARRAYS))
