"""A second factor at sign-in: six digits from an authenticator app (TOTP, RFC 6238).

Each step leaves its audit entry in its own transaction, without any secret. Who loses the phone
has recovery codes, each good for one sign-in.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import datetime

import django_otp
from django.contrib.auth.models import User
from django.db import transaction
from django_otp.plugins.otp_totp.models import TOTPDevice

from access.models import RecoveryCode
from audit import trail

BEGUN, ENABLED = "user.second_factor_begun", "user.second_factor_enabled"
DISABLED, REMOVED = "user.second_factor_disabled", "user.second_factor_removed"
RENEWED = "user.recovery_codes_renewed"
N_CODES = 10
CODE_BYTES = 10
"""80 random bits: no hash of one is worth guessing at."""
APP, RECOVERY = "app", "recovery code"


class AlreadyEnabled(Exception):
    """The person has a second factor; it must be turned off before another is set up."""


def device_of(user: User) -> TOTPDevice | None:
    """The confirmed second factor of a person; None without one."""
    return TOTPDevice.objects.filter(user=user, confirmed=True).first()


@transaction.atomic
def begin(user: User, *, by: trail.Actor) -> TOTPDevice:
    """A fresh secret, in place of any that was not confirmed. Raises AlreadyEnabled."""
    _lock(user)
    if device_of(user) is not None:
        raise AlreadyEnabled
    TOTPDevice.objects.filter(user=user).delete()
    device: TOTPDevice = TOTPDevice.objects.create(user=user, name=APP, confirmed=False)
    trail.record(BEGUN, by=by, target=("user", user.get_username()))
    return device


@transaction.atomic
def confirm(device: TOTPDevice, code: str, *, by: trail.Actor) -> list[str] | None:
    """Turn it on with a code of the app; the recovery codes, this once, or None for a wrong code.

    Raises AlreadyEnabled.
    """
    user = device.user
    _lock(user)
    if device_of(user) is not None:
        raise AlreadyEnabled
    verified = django_otp.verify_token(user, device.persistent_id, digits_of(code))
    if verified is None:
        return None
    verified.confirmed = True
    verified.save(update_fields=["confirmed"])
    trail.record(ENABLED, by=by, target=("user", user.get_username()))
    return _new_codes(user)


def verify(user: User, code: str) -> str:
    """What the code is: `APP`, `RECOVERY`, which is used up by it, or nothing when it is wrong."""
    device = device_of(user)
    if device is None:
        return ""
    if re.fullmatch(r"[0-9]{6}", digits_of(code)):
        return APP if django_otp.verify_token(user, device.persistent_id, digits_of(code)) else ""
    n_deleted, _ = RecoveryCode.objects.filter(user=user, digest=digest_of(code)).delete()
    return RECOVERY if n_deleted else ""


@transaction.atomic
def renew_codes(user: User, *, by: trail.Actor) -> list[str]:
    """Recovery codes in place of those before; shown this once."""
    _lock(user)
    trail.record(RENEWED, by=by, target=("user", user.get_username()))
    return _new_codes(user)


@transaction.atomic
def disable(user: User, *, by: trail.Actor, action: str = DISABLED) -> bool:
    """Take the second factor and its recovery codes away; False when there was none."""
    _lock(user)
    was_enabled = device_of(user) is not None
    TOTPDevice.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    if was_enabled:
        trail.record(action, by=by, target=("user", user.get_username()))
    return was_enabled


def n_codes_left(user: User) -> int:
    return RecoveryCode.objects.filter(user=user).count()


def enabled_at(device: TOTPDevice) -> datetime:
    moment: datetime = device.created_at
    return moment


def key_text(device: TOTPDevice) -> str:
    """The secret for who cannot scan it: base32 in groups of four."""
    text = base64.b32encode(device.bin_key).decode().rstrip("=")
    return " ".join(re.findall(".{1,4}", text))


def digits_of(code: str) -> str:
    return "".join(code.split())


def digest_of(code: str) -> str:
    """Of a recovery code, however it is spaced, hyphenated or capitalised."""
    plain = re.sub(r"[\s-]", "", code).upper()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def _new_codes(user: User) -> list[str]:
    codes = [_written(secrets.token_bytes(CODE_BYTES)) for _ in range(N_CODES)]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=digest_of(code)) for code in codes
    )
    return codes


def _written(secret: bytes) -> str:
    return "-".join(re.findall(".{4}", base64.b32encode(secret).decode().lower()))


def _lock(user: User) -> None:
    """One step at a time for each person."""
    User.objects.select_for_update().get(pk=user.pk)
