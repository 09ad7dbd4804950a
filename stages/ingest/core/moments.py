"""Moments as seconds since 1970, and the last one that a source can know of."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from stages.common.errors import UserError


def seconds(value: Any, name: str) -> float:
    """Seconds of a number or a date (UTC where no zone is said). Raises ValueError."""
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
        try:
            moment = datetime.fromisoformat(str(value).strip() if value is not None else "")
        except ValueError:
            raise ValueError(f"{name} is {value!r}, neither a number nor a date") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def limit(until: str | float | None) -> float:
    """The reader's `until` in seconds; none: no moment is too late. Raises UserError for what is no moment."""
    try:
        return math.inf if until is None else seconds(until, "until")
    except ValueError as error:
        raise UserError(str(error), where="reader.until", do="write seconds, or a date such as 2024-12-31") from None


def future(last: float, until: float) -> str | None:
    """Why an item whose last event is at `last` cannot be, if it cannot."""
    return f"an event in the future: {last:.0f} s is {last - until:.0f} s after `until`" if last > until else None
