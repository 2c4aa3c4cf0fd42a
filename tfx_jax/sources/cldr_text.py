"""Dates, money, units, countries … as text in a locale, from Unicode CLDR through Babel.

An item is a tuple (group, value, …) without language; `Side` renders it in one locale.
"""

import collections
import copy
import datetime
import functools
import itertools
import re
from collections.abc import Sequence
from typing import Any, Literal

import babel
from babel import dates, lists, localedata, numbers, units

# (group, value, …)
Item = tuple
# The conjunction of a list: "standard" is "and".
Style = Literal["standard", "or"]

TERRITORIES = (
  "AE AF AL AR AT AU BD BE BG BO BR CA CH CL CN CO CU CZ DE DK DZ EC EE EG ES ET FI FR GB GE GH GR"
  " GT HR HU ID IE IL IN IQ IR IS IT JM JO JP KE KR LB LT LU LV MA MN MT MX MY NG NL NO NP NZ PA PE"
  " PH PK PL PT PY RO RS RU SE SN TH TN TR TZ UA US UY VN"
).split()
LANGUAGES = (
  "ar bg bn ca cs da de el en es et eu fa fi fr ga gu he hi hr hu hy id is it ja ka kk km ko lt lv"
  " mk mn ms mt ne nl pl pt ro ru sk sl sq sr sv sw ta te th tr uk ur uz vi zh"
).split()
VARIETIES = (
  "ar_EG ar_MA de_AT de_CH en_AU en_CA en_GB en_IE en_IN en_US es_AR es_ES es_MX fr_BE fr_CA fr_CH"
  " it_CH nl_BE pt_BR pt_PT sv_FI ta_IN"
).split()
CURRENCIES = (
  "USD EUR GBP JPY CHF CNY INR AUD CAD SEK NOK DKK PLN CZK HUF TRY BRL MXN KRW ZAR THB ILS EGP NZD"
).split()
UNITS = (
  "length-kilometer length-meter length-centimeter length-millimeter length-mile length-foot"
  " mass-kilogram mass-gram mass-pound mass-ounce volume-liter volume-milliliter area-hectare"
  " area-square-meter area-square-kilometer temperature-celsius energy-kilowatt-hour power-watt"
  " power-kilowatt digital-megabyte digital-gigabyte electric-volt electric-ampere frequency-hertz"
  " pressure-hectopascal"
).split()
RATED = ("length-kilometer", "mass-kilogram", "volume-liter", "energy-kilowatt-hour")
PER = ("duration-hour", "duration-day", "duration-week", "duration-month", "duration-year")
SECONDS = {  # the length of a unit in Babel's arithmetic, so that n units are rendered as n units
  "year": 31_536_000,
  "month": 2_592_000,
  "week": 604_800,
  "day": 86_400,
  "hour": 3_600,
  "minute": 60,
  "second": 1,
}
COUNTS = (*range(1, 13), 15, 20, 30, 45)
AMOUNTS = (1, 2, 3, 4, 5, 8, 10, 12, 15, 20, 25, 30, 50, 75, 100, 150, 200, 250, 500, 750)
PRICES = (*AMOUNTS[4:], 1_000, 1_500, 2_000, 2_500, 5_000, 7_500, 10_000, 50_000)
MILLIONS = (2, 3, 4, 5, 8, 10, 20, 25, 30, 50, 75, 100, 200, 500)

_INVISIBLE = re.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


class Locale(babel.Locale):
  """A locale that does not share its data with others.

  Locales of Babel share inherited data, and store in it what an alias means for the locale that
  used it first: after Japanese, a stand-alone month in German would be Japanese.
  """

  @property
  def _data(self) -> localedata.LocaleDataDict:
    return self._copied_data

  @functools.cached_property
  def _copied_data(self) -> localedata.LocaleDataDict:
    data: dict[Any, Any] = copy.deepcopy(localedata.load(str(self)))
    return localedata.LocaleDataDict(data)


class Side:
  """One side of the corpus: items and lists of items as text in a locale."""

  def __init__(self, locale: babel.Locale) -> None:
    self.locale = locale
    self.item = functools.cache(self._item)

  def _item(self, item: Item) -> str:
    """Returns the text of CLDR for an item, in one line; '' if there is none."""
    try:
      return _clean(_render(self.locale, item))
    except (LookupError, ValueError, babel.UnknownLocaleError):
      return ""

  def sentence(self, style: Style, items: Sequence[Item]) -> str:
    """Returns the items as a list in words; the style is 'standard' (and) or 'or'."""
    return _clean(lists.format_list([self.item(item) for item in items], style, self.locale))


def inventory(sides: Sequence[Side]) -> dict[str, list[Item]]:
  """Returns group -> items for which every side has a text that no other item has.

  Dates and spans of months are represented by one of each form and month. A group that has such
  texts for less than half of its items is empty.
  """
  items = [
    *(("style", style) for style in ("standard", "or")),
    *(("date", form, 2000, month, 1) for form in ("long", "full") for month in range(1, 13)),
    *(("months", 2000, first, last) for first, last in itertools.combinations(range(1, 13), 2)),
    *(("weekday", day) for day in range(7)),
    *(("month", month) for month in range(1, 13)),
    *(("time", hour, minute) for hour in range(24) for minute in range(0, 60, 5)),
    *(("duration", count, unit) for unit in SECONDS for count in COUNTS),
    *(("relative", sign * count, unit) for unit in SECONDS for count in COUNTS for sign in (-1, 1)),
    *(("currency", amount, code) for code in CURRENCIES for amount in PRICES),
    *(("unit", count, unit) for unit in UNITS for count in AMOUNTS),
    *(("rate", count, unit, per) for unit in RATED for per in PER for count in AMOUNTS),
    *(("percent", count) for count in range(5, 100, 5)),
    *(("compact", millions) for millions in MILLIONS),
    *(("territory", code) for code in TERRITORIES),
    *(("language", code) for code in LANGUAGES),
    *(("variety", code) for code in VARIETIES),
  ]
  counts = [collections.Counter(map(side.item, items)) for side in sides]
  groups = collections.defaultdict(list)
  for item in items:
    texts = [side.item(item) for side in sides]
    if all(text and count[text] == 1 for text, count in zip(texts, counts, strict=True)):
      groups[item[0]].append(item)
  for group, size in collections.Counter(group for group, *_ in items).items():
    if 2 * len(groups[group]) < size:
      groups[group] = []
  return groups


def _clean(text: str) -> str:
  """Returns the text with plain spaces in place of others, without invisible characters."""
  return " ".join(_INVISIBLE.sub("", text).split())


def _render(locale: babel.Locale, item: Item) -> str:
  match item:
    case "style", style:
      return lists.format_list(["1", "2", "3"], style, locale)
    case "weekday", day:
      return locale.days["stand-alone"]["wide"][day]
    case "month", month:
      return locale.months["stand-alone"]["wide"][month]
    case "time", hour, minute:
      return dates.format_time(datetime.time(hour, minute), "short", locale=locale)
    case "date", form, *day:
      return dates.format_date(datetime.date(*day), form, locale)
    case "moment", form, *day, hour, minute:
      pattern = str(dates.get_datetime_format("long", locale=locale)).replace("'", "")
      time = _render(locale, ("time", hour, minute))
      return pattern.format(time, _render(locale, ("date", form, *day)))
    case "months", year, first, last:
      start, end = (datetime.date(year, month, 1) for month in (first, last))
      return dates.format_interval(start, end, "yMMMM", locale=locale)
    case ("duration" | "relative") as group, count, unit:
      return dates.format_timedelta(
        count * SECONDS[unit], unit, 1e9, add_direction=group == "relative", locale=locale
      )
    case "currency", amount, code:
      text = numbers.format_currency(
        amount, code, locale=locale, currency_digits=False, format_type="name"
      )
      return "" if code in text else text
    case "unit", count, unit:
      lengths = (units.format_unit(count, unit, n, locale=locale) for n in ("long", "short"))
      return next((text for text in lengths if unit not in text), "")
    case "rate", count, unit, per:
      lengths = (
        units.format_compound_unit(count, unit, 1, per, n, locale=locale) for n in ("long", "short")
      )
      return next((text for text in lengths if text and unit not in text and per not in text), "")
    case "percent", count:
      return numbers.format_percent(count / 100, locale=locale)
    case "compact", millions:
      return numbers.format_compact_decimal(millions * 1_000_000, format_type="long", locale=locale)
    case "territory", code:
      return "" if locale.territories[code] == code else locale.territories[code]
    case "language", code:
      return "" if locale.languages[code] == code else locale.languages[code]
    case "variety", code:
      return babel.Locale.parse(code).get_display_name(locale) or ""
  raise AssertionError(item)
