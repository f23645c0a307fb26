"""How a key is written: found by scanners, and a typo is not taken for a key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from access.key_format import DIGITS, SECRET_LENGTH, SECRET_TEXT, checksum, key_id_of, key_text
from access.models import ApiKey

KEY = key_text("AbCdEf12", "x" * SECRET_LENGTH)


def test_the_checksum_is_crc32_in_base_62() -> None:
    # 0xCBF43926 is the check value of CRC-32, of "123456789".
    value = 0
    for character in checksum("123456789"):
        value = value * 62 + DIGITS.index(character)

    assert value == 0xCBF43926
    assert checksum("") == "000000"


def test_a_key_made_by_the_generator_is_well_formed_and_unlike_the_next() -> None:
    key, prefix, hashed = ApiKey.objects.key_generator.generate()
    other, *_ = ApiKey.objects.key_generator.generate()

    assert key_id_of(key) == prefix
    assert key != other
    assert hashed.startswith("sha512$$")
    assert len(key) == 62


def test_the_published_pattern_finds_every_key() -> None:
    readme = (Path(settings.BASE_DIR) / "README.md").read_text()
    (published,) = re.findall(r"`(seg_[^`]*\{49\})`", readme)

    key, *_ = ApiKey.objects.key_generator.generate()

    assert re.findall(published, f'KEY = "{key}"') == [key]


@given(place=st.integers(0, len(KEY) - 1), character=st.sampled_from(DIGITS + "_-. \n\u00fc"))
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    typo = KEY[:place] + character + KEY[place + 1 :]

    assert (key_id_of(typo) is None) == (typo != KEY)


@given(place=st.integers(13, len(KEY) - 2))
def test_two_swapped_characters_are_noticed(place: int) -> None:
    key = key_text("AbCdEf12", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG")
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]

    assert (key_id_of(swapped) is None) == (swapped != key)


@pytest.mark.parametrize(
    "text", ["", "seg_", KEY[:-1], KEY + "x", KEY + "\n", f" {KEY}", KEY.upper(), "x" * 10_000]
)
def test_what_is_no_key_has_no_id(text: str) -> None:
    assert key_id_of(text) is None


def test_a_key_of_the_earlier_form_has_its_id() -> None:
    assert key_id_of("AbCdEf12." + "x" * 32) == "AbCdEf12"


@pytest.mark.parametrize(
    "secret", [KEY, KEY[:30], "AbCdEf12." + "x" * 32, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"]
)
@pytest.mark.parametrize("around", ["{}", "'{}'", "key={}&", "/customers/{}", "a_{},"])
def test_a_secret_is_seen_in_a_text(secret: str, around: str) -> None:
    assert secret not in SECRET_TEXT.sub("", around.format(secret))
