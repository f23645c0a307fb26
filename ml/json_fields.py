"""Reading fields of decoded JSON that nobody vouches for; errors name the entry."""

from __future__ import annotations

from collections.abc import Mapping


def mapping(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object")
    return value


def sequence(fields: Mapping[str, object], key: str, where: str) -> list[object]:
    value = fields.get(key)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}.{key} must be a list")
    return list(value)


def integer(fields: Mapping[str, object], key: str, where: str) -> int:
    value = fields.get(key)
    if type(value) is not int:  # bool is a subclass, and true is no count
        raise ValueError(f"{where}.{key} must be an integer")
    return value


def integers(fields: Mapping[str, object], key: str, where: str) -> tuple[int, ...]:
    return tuple(integer({key: value}, key, where) for value in sequence(fields, key, where))


def number(fields: Mapping[str, object], key: str, where: str) -> float:
    value = fields.get(key)
    if type(value) is not float and type(value) is not int:
        raise ValueError(f"{where}.{key} must be a number")
    return float(value)


def numbers(fields: Mapping[str, object], key: str, where: str) -> tuple[float, ...]:
    return tuple(number({key: value}, key, where) for value in sequence(fields, key, where))


def text(fields: Mapping[str, object], key: str, where: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}.{key} must be text")
    return value


def texts(fields: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    return tuple(text({key: value}, key, where) for value in sequence(fields, key, where))


def flag(fields: Mapping[str, object], key: str, where: str) -> bool:
    value = fields.get(key)
    if not isinstance(value, bool):
        raise ValueError(f"{where}.{key} must be true or false")
    return value
