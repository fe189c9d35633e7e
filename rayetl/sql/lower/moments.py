"""Texts to dates and timestamps, a batch at a time, in every form that Spark's casts accept, and dates to
texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

import polars as pl

_ISO = "%Y-%m-%d"
_PLAIN_DATE = r"^\d{4}-\d{2}-\d{2}$"
_PLAIN_TIME = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:[0-5]\d$"
_DATE = r"^([+-]?\d{4,7})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T].*)?)?)?$"
_CLOCK = r"(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d*))?\s*([A-Za-z+-].*)?)?)?"
_TIMESTAMP = rf"^([+-]?\d{{4,6}})(?:-(\d{{1,2}})(?:-(\d{{1,2}})(?:[ T]{_CLOCK})?)?)?$"
_TIME_ALONE = r"^(?:T\d{1,2}(?::.*)?|\d{1,2}:\d.*)$"
_FAR = 262_000  # Polars' calendar ends soon after this year
_DAY = 86_400_000_000
_USUAL = date(1900, 1, 1), date(2099, 12, 31)

# The short names that Java's `ZoneId.SHORT_IDS` gives a meaning.
_SHORT = {
    "ACT": "Australia/Darwin", "AET": "Australia/Sydney", "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo", "AST": "America/Anchorage", "BET": "America/Sao_Paulo", "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare", "CNT": "America/St_Johns", "CST": "America/Chicago", "CTT": "Asia/Shanghai",
    "EAT": "Africa/Addis_Ababa", "ECT": "Europe/Paris", "EST": "-05:00", "HST": "-10:00",
    "IET": "America/Indiana/Indianapolis", "IST": "Asia/Kolkata", "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia", "MST": "-07:00", "NET": "Asia/Yerevan", "NST": "Pacific/Auckland",
    "PLT": "Asia/Karachi", "PNT": "America/Phoenix", "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles", "SST": "Pacific/Guadalcanal", "VST": "Asia/Ho_Chi_Minh",
}  # fmt: skip
_OFFSET = re.compile(r"([+-])(\d{1,2}|\d\d(?::?\d\d){1,2})")


def parse_dates(text: pl.Series) -> pl.Series:
    """`2020-01-05`, `2020-1-5`, `2020-1`, `2020`, and any of them in full followed by T or a blank."""
    plain = text.to_frame("t").select(
        pl.when(pl.col("t").str.contains(_PLAIN_DATE))
        .then(pl.col("t"))
        .str.to_date(_ISO, strict=False, cache=False)
    )["t"]
    missed = plain.is_null() & text.is_not_null()
    if not missed.any():
        return plain
    fields = text.filter(missed).str.extract_groups(_DATE).struct.unnest()
    days = _days(*(pl.col(name) for name in fields.columns))
    inside = days.is_between(-(2**31), 2**31 - 1)
    found = fields.select(pl.when(inside).then(days).cast(pl.Int32).cast(pl.Date).alias("v"))["v"]
    return plain.scatter(missed.arg_true(), found)


def format_dates(dates: pl.Series) -> pl.Series:
    """`2020-01-05`. Days of usual years are looked up: writing them takes ten times as long."""
    places = dates.to_physical() - (_USUAL[0] - date(1970, 1, 1)).days
    first, last = places.min(), places.max()
    if first is None or first < 0 or last >= len(_usual_texts()):  # type: ignore[operator]
        return dates.dt.strftime(_ISO)
    return _usual_texts().gather(places).alias(dates.name)


@cache
def _usual_texts() -> pl.Series:
    return pl.date_range(*_USUAL, eager=True).dt.strftime(_ISO)


def _days(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    """Days since 1970 of a date written in digits, month and day 1 when they are missing; NULL for a day
    that is none. Worked out in numbers, for years of any size."""
    y, m, d = (
        part.str.replace(r"^\+", "").cast(pl.Int64, strict=False)
        for part in (year, month.fill_null("1"), day.fill_null("1"))
    )
    leap = (y % 4 == 0) & ((y % 100 != 0) | (y % 400 == 0))
    length = pl.when(m == 2).then(28 + leap.cast(pl.Int64)).otherwise(31 - (m - 1) % 7 % 2)
    # Counted from the first of March, so that a leap day is the last of its year.
    from_march, shifted = (m + 9) % 12, y - (m <= 2).cast(pl.Int64)
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days = days + (from_march * 153 + 2) // 5 + d - 719_469
    return pl.when(m.is_between(1, 12) & d.is_between(1, length)).then(days)


def parse_fields(text: pl.Series, regex: str, names: Sequence[str]) -> pl.Series:
    """Date-times by the fields of a pattern (see `patterns.reading_fields`); what it has no field for is
    as in the first moment of 1970."""
    fields = text.str.extract_groups(regex).struct.unnest()
    columns = dict(zip(names, fields.columns, strict=True))

    def field(name: str, default: str = "0") -> pl.Expr:
        return pl.col(columns[name]) if name in columns else pl.lit(default)

    days = _days(field("year", "1970"), field("month", "1"), field("day", "1"))
    if "yearday" in columns:
        number = field("yearday").cast(pl.Int64)
        length = _days(field("year"), pl.lit("12"), pl.lit("31")) - days + 1
        days = pl.when(number.is_between(1, length)).then(days + number - 1)
    hour = field("hour").cast(pl.Int64)
    if "half" in columns:
        twelve = field("half").cast(pl.Int64)
        afternoon = field("noon").str.to_lowercase() == "pm"
        hour = pl.when(twelve.is_between(1, 12)).then(twelve % 12 + 12 * afternoon.cast(pl.Int64))
    local = _local(days, hour, field("minute"), field("second"), field("fraction"))
    whole = pl.all_horizontal(pl.col(name).is_not_null() for name in fields.columns)
    return fields.select(pl.when(whole).then(local).alias("v"))["v"]


def _local(days: pl.Expr, hour: pl.Expr, minute: pl.Expr, second: pl.Expr, fraction: pl.Expr) -> pl.Expr:
    minute, second = minute.cast(pl.Int64), second.cast(pl.Int64)
    micros = fraction.str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64)
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros
    real = hour.is_between(0, 23) & minute.is_between(0, 59) & second.is_between(0, 59)
    near = (days // 366).is_between(-_FAR, _FAR)
    return pl.when(real & near).then(days * _DAY + clock).cast(pl.Datetime("us"))


def parse_timestamps(text: pl.Series, zone: str | None, *, zoned: bool = True) -> pl.Series:
    """Spark's timestamp forms; a text without a zone is in `zone`. None gives zone-less results, to which
    the zone of a text is nothing, or with `zoned=False` a fault."""
    local = text.to_frame("t").select(
        pl.when(pl.col("t").str.contains(_PLAIN_TIME))
        .then(pl.col("t"))
        .str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us")
    )["t"]
    plain = with_zone(local, zone)
    missed = plain.is_null() & text.is_not_null()
    if not missed.any():
        return plain
    return plain.scatter(missed.arg_true(), _other_forms(text.filter(missed), zone, zoned))


def _other_forms(text: pl.Series, zone: str | None, zoned: bool) -> pl.Series:
    alone = text.str.contains(_TIME_ALONE)
    if alone.any():
        # A time of day is one of today; the day is put in when its zone is known.
        dated = "1970-01-01 " + text.str.strip_prefix("T")
        text = pl.select(pl.when(alone).then(dated).otherwise(text).alias("t"))["t"]
    fields = text.str.extract_groups(_TIMESTAMP).struct.unnest()
    names = fields.columns
    hour, minute, second, fraction = (pl.col(n).fill_null("0") for n in names[3:7])
    days = _days(*(pl.col(n) for n in names[:3]))
    local = fields.select(_local(days, hour.cast(pl.Int64), minute, second, fraction).alias("v"))["v"]
    zones = fields[names[7]]
    if not zoned:
        local = pl.select(pl.when(zones.is_null()).then(local).alias("v"))["v"]
    return _in_their_zones(local, zones, alone, zone)


def _in_their_zones(local: pl.Series, zones: pl.Series, alone: pl.Series, zone: str | None) -> pl.Series:
    """Each date-time in the zone of its own text, or in `zone`."""
    if zone is None:
        known = [name for name in zones.drop_nulls().unique() if zone_of(name.strip()) is not None]
        good = (zones.is_null() | zones.is_in(known)) & ~alone
        return pl.select(pl.when(good).then(local).alias("v"))["v"]
    found = pl.Series("v", [None], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(local))
    for name in zones.unique():
        here = zones.is_null() if name is None else (zones == name).fill_null(False)
        place = zone_of(name.strip()) if name is not None else zone
        if place is None:
            continue
        part = local.filter(here)
        if alone.filter(here).any():
            today = _today(place)
            part = pl.select(pl.when(alone.filter(here)).then(part + today).otherwise(part).alias("v"))["v"]
        found = found.scatter(here.arg_true(), with_zone(part, place))
    return found


def _today(place: str) -> timedelta:
    offset = fixed_offset(place)
    zone = ZoneInfo(place) if offset is None else timezone(timedelta(microseconds=offset))
    return timedelta(days=datetime.now(UTC).astimezone(zone).date().toordinal() - 719_163)


def with_zone(local: pl.Series, zone: str | None) -> pl.Series:
    """Date-times of the wall clock in a zone as instants; unchanged without a zone."""
    from rayetl.sql.lower.casts import to_instant

    if zone is None:
        return local
    offset = fixed_offset(zone)
    frame = local.to_frame("v")
    if offset is not None:
        moved = pl.col("v").dt.replace_time_zone("UTC") - pl.duration(microseconds=offset)
        return frame.select(moved)["v"]
    try:
        return frame.select(to_instant(pl.col("v"), zone))["v"]
    except pl.exceptions.PolarsError:
        return pl.Series("v", [None] * len(local), dtype=pl.Datetime("us", "UTC"))


@cache
def zone_of(name: str) -> str | None:
    """The zone that Java's ZoneId makes of a name, as an offset or an IANA name; None for no zone."""
    name = re.sub(r"([+-])(\d):", r"\g<1>0\2:", name)
    name = re.sub(r"([+-]\d\d):(\d)$", r"\1:0\2", name)
    name = _SHORT.get(name, name)
    bare = re.sub(r"^(?:UTC|GMT|UT)(?=$|[+-])", "", name)
    if bare in ("", "Z") and name != "":
        return "Z"
    if bare[:1] in ("+", "-"):
        return bare if _OFFSET.fullmatch(bare) and _is_offset(bare) else None
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
    return name


def _is_offset(text: str) -> bool:
    parts = re.findall(r"\d\d?", text)
    seconds = sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return all(int(part) < 60 for part in parts[1:]) and seconds <= 18 * 3600


def fixed_offset(zone: str) -> int | None:
    """Microseconds east of UTC for `Z`, `+02:00`, `GMT-3`; None for a named zone."""
    name = re.sub(r"^(?:UTC|GMT|UT)(?=$|[+-])", "", zone)
    if name in ("", "Z"):
        return 0
    if name[0] not in "+-":
        return None
    parts = re.findall(r"\d\d?", name)
    seconds = sum(int(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    return (-seconds if name[0] == "-" else seconds) * 1_000_000
