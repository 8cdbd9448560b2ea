"""Scans to be judged: made from the GS1 Barcode Syntax Dictionary and a seed, so that every run judges the same ones.

Each case is what a scanner sends: an AIM identifier and data. Beside it stand the elements it was made of, for judges
who are handed elements and not scans; they are None where the data are damaged as a whole.
"""

import random
import re
import string
from dataclasses import dataclass

GS = "\x1d"
SET_82 = string.ascii_letters + string.digits + "!\"%&'()*+,-./:;<=>?_"
SET_39 = string.ascii_uppercase + string.digits + "#-/"
SET_64 = string.ascii_letters + string.digits + "-_"
CHARACTERS = {"N": string.digits, "X": SET_82, "Y": SET_39, "Z": SET_64}
# The closed list of what needs no GS, by the first two digits.
PREDEFINED = "00 01 02 03 04 11 12 13 14 15 16 17 18 19 20 31 32 33 34 35 36 41".split()


@dataclass(frozen=True)
class Case:
    group: str
    aim: str
    data: str
    elements: tuple | None = None

    @property
    def scan(self):
        return self.aim + self.data


@dataclass(frozen=True)
class Part:
    set: str
    min: int
    max: int
    optional: bool
    linters: tuple


@dataclass(frozen=True)
class Row:
    identifiers: tuple
    parts: tuple
    key: str | None
    in_query: bool


def rows(dictionary):
    """The entries of the dictionary."""
    found = []
    for line in open(dictionary, encoding="utf-8"):
        if line.startswith("#") or not line.strip():
            continue
        facts = line.split(" # ")[0].split()
        first, _, last = facts[0].partition("-")
        width = len(first)
        identifiers = [f"{ai:0{width}}" for ai in range(int(first), int(last or first) + 1)]
        parts = []
        for fact in facts[1:]:
            spec = re.fullmatch(r"(\[?)([NXYZ])(\.\.)?(\d+)\]?((?:,\w+)*)", fact)
            if spec:
                optional, kind, dots, length, linters = spec.groups()
                low = 1 if dots else int(length)
                parts.append(Part(kind, low, int(length), bool(optional), tuple(linters.split(",")[1:])))
        key = [fact.partition("=")[2] for fact in facts if fact == "dlpkey" or fact.startswith("dlpkey=")]
        in_query = any(re.fullmatch(r"\*?\?", fact) for fact in facts)
        found.append(Row(tuple(identifiers), tuple(parts), key[0] if key else None, in_query))
    return found


def check_digit(payload):
    weights = sum(int(digit) * (3 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(payload)))
    return str(-weights % 10)


def check_pair(payload):
    alphabet = "!\"%&'()*+,-./0123456789:;<=>?" + string.ascii_uppercase + "_" + string.ascii_lowercase
    primes = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83]
    total = sum(alphabet.index(c) * prime for c, prime in zip(reversed(payload), primes)) % 1021
    return "".join("23456789ABCDEFGHJKLMNPQRSTUVWXYZ"[place] for place in (total >> 5, total & 31))


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, characters, low, high):
        return "".join(self.random.choice(characters) for _ in range(self.random.randint(low, high)))

    def digits(self, count):
        return self.text(string.digits, count, count)

    def date(self):
        r = self.random
        return f"{r.randint(0, 99):02}{r.randint(1, 12):02}{r.randint(1, 28):02}"

    def part(self, part):
        """A value that its linters accept."""
        r, low, high = self.random, part.min, part.max
        first = part.linters[0] if part.linters else None
        if first == "csum":
            # A first digit of zero for the asset numbers stands in a part of its own.
            payload = self.digits(high - 1)
            return payload + check_digit(payload)
        if first == "csumalpha":
            payload = self.digits(5) + "a" + self.text(SET_82, 0, high - 8)
            return payload + check_pair(payload)
        if first in ("gcppos1", "gcppos2"):
            return self.digits(5) + self.text(CHARACTERS[part.set], 0, high - 5)
        made = {
            "yymmd0": lambda: self.date()[:4] + "00" if r.random() < 0.2 else self.date(),
            "yymmdd": self.date,
            "yyyymmdd": lambda: r.choice(["19", "20"]) + self.date(),
            "hh": lambda: f"{r.randint(0, 23):02}",
            "mi": lambda: f"{r.randint(0, 59):02}",
            "ss": lambda: f"{r.randint(0, 59):02}",
            "hhmi": lambda: f"{r.randint(0, 23):02}{r.randint(0, 59):02}",
            "iso3166": lambda: r.choice(["004", "276", "578", "840", "894"]),
            "iso3166999": lambda: r.choice(["276", "999"]),
            "iso3166alpha2": lambda: r.choice(["DE", "NO", "ZW"]),
            "iso4217": lambda: r.choice(["978", "840", "578"]),
            "iso5218": lambda: r.choice("0129"),
            "zero": lambda: "0" * high,
            "nonzero": lambda: "7" + self.digits(high - 1),
            "nozeroprefix": lambda: "7" + self.text(string.digits, 0, high - 1),
            "hyphen": lambda: "-" * high,
            "yesno": lambda: r.choice("01"),
            "winding": lambda: r.choice("019"),
            "latitude": lambda: f"{r.randint(0, 1800000000):010}",
            "longitude": lambda: f"{r.randint(0, 3600000000):010}",
            "pcenc": lambda: self.text(string.ascii_letters, 1, 9) + r.choice(["", "%C3%A4", "%20"]),
            "pieceoftotal": lambda: r.choice(["0102", "0202", "1199"]),
            "posinseqslash": lambda: r.choice(["1/3", "3/3", "2/9"]),
            "importeridx": lambda: r.choice(SET_64),
            "mediatype": lambda: r.choice(["01", "10", "80", "99"]),
            "packagetype": lambda: r.choice(["AA", "PAE", "200", "9"]),
            "iban": self.iban,
            "couponcode": self.coupon,
            "couponposoffer": lambda: f"{r.choice('01')}0{self.digits(12)}0{self.digits(6)}",
        }.get(first)
        if made:
            return made()
        assert first is None, first
        return self.text(CHARACTERS[part.set], low, high)

    def iban(self):
        country = self.random.choice(["GB", "NO", "DE", "MT", "SE", "VG"])
        account = self.text(string.ascii_uppercase + string.digits, 11, 30)
        number = int("".join(str(int(c, 36)) for c in account + country + "00"))
        return f"{country}{98 - number % 97:02}{account}"

    def coupon(self):
        """AI 8110 with some of its optional fields."""
        r = self.random

        def counted(low, high, more=0):
            length = r.randint(low, high)
            return f"{length}{self.digits(length + more)}"

        def purchase():
            return counted(1, 5) + r.choice("012349") + self.digits(3)

        def prefix():
            return r.choice(["9", counted(0, 6, 6)])

        fields = [
            lambda: "1" + r.choice("0123") + purchase() + prefix(),
            lambda: "2" + purchase() + prefix(),
            lambda: "3" + "26" + self.date()[2:],
            lambda: "4" + "25" + self.date()[2:],
            lambda: "5" + counted(0, 9, 6),
            lambda: "6" + counted(1, 7, 6),
            lambda: "9" + r.choice("01256") + r.choice("012") + self.digits(1) + r.choice("01"),
        ]
        whole = counted(0, 6, 6) + self.digits(6) + counted(1, 5) + purchase()
        for field in fields:
            longer = whole + field()
            if r.random() < 0.4 and len(longer) <= 70:
                whole = longer
        return whole

    def value(self, row):
        optional = sum(part.optional for part in row.parts)
        kept = len(row.parts) - self.random.randint(0, optional)
        return "".join(self.part(part) for part in row.parts[:kept])

    def damaged(self, value):
        """Nearly right; sometimes still right."""
        r = self.random
        at = r.randrange(len(value))
        digit = value[:at] + r.choice(string.digits) + value[at + 1 :]
        other = value[:at] + r.choice("#$@ ~A_-/+%=") + value[at + 1 :]
        return r.choice([digit, digit, other, value[:-1], value + r.choice("0A"), value[: at + 1] + value[at:]])


def label(elements, gs_everywhere=False):
    """As a scanner sends it."""
    data = ""
    for at, (ai, value) in enumerate(elements):
        is_last = at + 1 == len(elements)
        data += ai + value
        if gs_everywhere or (not is_last and ai[:2] not in PREDEFINED):
            data += GS
    return data


def encoded(value):
    return "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in value)


def link(key, qualifiers, attributes):
    path = "".join(f"/{ai}/{encoded(value)}" for ai, value in [key, *qualifiers])
    query = "&".join(f"{ai}={encoded(value)}" for ai, value in attributes)
    return f"https://id.example{path}" + (f"?{query}" if query else "")


def corpus(dictionary, seed=20261123):
    maker = Maker(seed)
    r = maker.random
    entries = rows(dictionary)
    by_ai = {ai: row for row in entries for ai in row.identifiers}
    cases = []

    def add(group, aim, data, elements=None):
        cases.append(Case(group, aim, data, elements))

    def gs1(group, elements, gs_everywhere=False):
        add(group, "]C1", label(elements, gs_everywhere), tuple(elements))

    # Each identifier, alone: right values, damaged ones.
    for ai, row in by_ai.items():
        for _ in range(2):
            gs1("element", [(ai, maker.value(row))])
        for _ in range(3):
            damaged = maker.damaged(maker.value(row))
            gs1("damaged", [(ai, damaged)])

    # Labels of several elements, with GS as it must stand, everywhere, doubled and missing.
    all_ais = list(by_ai)
    for _ in range(800):
        ais = r.sample(all_ais, r.randint(2, 6))
        elements = [(ai, maker.value(by_ai[ai])) for ai in ais]
        gs1("label", elements)
        gs1("label", elements, gs_everywhere=True)
        whole = label(elements)
        at = r.randrange(len(whole))
        broken = r.choice(
            [whole.replace(GS, GS + GS), whole.replace(GS, ""), whole[:at] + GS + whole[at:], whole[:at], GS + whole]
        )
        add("broken label", r.choice(["]C1", "]d2", "]Q3", "]e0", "]J1"]), broken)
    common = ["00", "01", "02", "10", "11", "13", "15", "17", "21", "30", "37", "3103", "3302", "400", "414", "254"]
    for _ in range(600):
        elements = [(ai, maker.value(by_ai[ai])) for ai in r.sample(common, r.randint(1, 5))]
        gs1("warehouse label", elements)
    # One identifier twice, alike or not.
    for _ in range(60):
        ai = r.choice(common)
        one, two = maker.value(by_ai[ai]), maker.value(by_ai[ai])
        gs1("twice", [(ai, one), (ai, r.choice([one, two]))])
    # Dates by the calendar.
    for month in range(0, 14):
        for day in (0, 1, 28, 29, 30, 31, 32):
            for year in (0, 24, 26, 75, 76, 77, 99):
                gs1("date", [(r.choice(["11", "12", "13", "15", "16", "17"]), f"{year:02}{month:02}{day:02}")])
                gs1("date", [("7006", f"{year:02}{month:02}{day:02}")])
    for hour in ("00", "23", "24", "99"):
        for minute in ("00", "59", "60", "99"):
            for ai in ("4324", "7003", "8008"):
                gs1("time", [(ai, "260731" + hour + minute)])

    # Every code of the lists.
    for number in range(1000):
        gs1("list", [("422", f"{number:03}")])
        gs1("list", [("3912", f"{number:03}125")])
    for first in string.ascii_uppercase:
        for second in string.ascii_uppercase:
            gs1("list", [("4307", first + second)])
    for number in range(100):
        gs1("list", [("7241", f"{number:02}")])
    package = string.ascii_uppercase + string.digits
    for first in package:
        gs1("list", [("7041", first)])
        for second in package:
            gs1("list", [("7041", first + second)])
            gs1("list", [("7041", first + second + r.choice("123E"))])
    for value in ("APE BGE BME BRI CBL CCE DPE FOB FPE LAB MPE OPE PAE PLP POP PPE PUE RB1 RB2 RB3 RCB SEC STL TEV THE TRE "
                  "TTE TWE UUE WRP X11 X12 X15 X16 X17 X18 X19 X20 200 201 202 203 204 205 206 210 211 212").split():
        gs1("list", [("7041", value)])

    # Where the rules are long: right values, and values with up to three faults.
    for ai in "8110 8112 8007 8013 8014 8006 8026 7258 4309 7040 8001 8008 8043 423 7030 4300 8011 253 255 8003".split():
        for _ in range(60):
            value = maker.value(by_ai[ai])
            gs1("rules", [(ai, value)])
            for _ in range(r.randint(1, 3)):
                value = maker.damaged(value)
                if not value:
                    break
                gs1("rules", [(ai, value)])

    # Padding of base 64: by RFC 4648, as GS1's reference has it, and by nobody.
    for value in ("AB==", "ABC=", "AB=", "A==", "A===", "=ABC", "ABCD", "A"):
        gs1("padding", [("8030", value)])

    # Retail symbols.
    for aim, length in (("]E0", 13), ("]E4", 8), ("]I1", 14), ("]E0", 12)):
        for _ in range(80):
            payload = maker.digits(length - 1)
            right = payload + check_digit(payload)
            add("retail", aim, right)
            add("retail", aim, maker.damaged(right))
    for _ in range(200):
        payload = r.choice("01") + maker.digits(6)
        add("upc-e", "]E0", payload + r.choice(string.digits))
    # Digits that nobody vouches for.
    for length in (8, 12, 13, 14):
        for _ in range(60):
            payload = maker.digits(length - 1)
            add("bare", "", payload + r.choice([check_digit(payload), r.choice(string.digits)]))
    for _ in range(60):
        payload = maker.digits(17)
        add("bare", "", payload + check_digit(payload))
        add("bare", "", label([("01", maker.value(by_ai["01"])), ("10", maker.value(by_ai["10"]))]))

    # Digital Links.
    keys = [row for row in entries if row.key is not None]
    attributes = [row for row in entries if row.in_query]
    for _ in range(600):
        row = r.choice(keys)
        key = (row.identifiers[0], maker.value(row))
        sequence = [ai for ai in r.choice(row.key.split("|")).split(",") if ai]
        chosen = [ai for ai in sequence if r.random() < 0.5]
        if r.random() < 0.15:
            r.shuffle(chosen)
        qualifiers = [(ai, maker.value(by_ai[ai])) for ai in chosen]
        query = []
        for other in r.sample(attributes, r.randint(0, 2)):
            ai = r.choice(other.identifiers)
            if ai not in (key[0], *chosen):
                query.append((ai, maker.value(other)))
        if r.random() < 0.2:
            key = (key[0], maker.damaged(key[1]))
        add("link", "]Q1", link(key, qualifiers, query), (key, *qualifiers, *query))
    for url in (
        "https://example.com/",
        "https://example.com/shop?id=12",
        "https://example.com/2024/01/15/news",
        "https://example.com/01/short",
        "http://example.com/a/b/c#d",
    ):
        add("url", "]Q1", url)
    return cases


def variable_measures(seed=20261124):
    """EAN-13 from 20 to 29, and some beside them."""
    maker = Maker(seed)
    numbers = []
    for prefix in range(19, 31):
        for _ in range(12):
            payload = f"{prefix}{maker.digits(10)}"
            numbers.append(payload + check_digit(payload))
    # Where measures have check digits of their own, one in ten numbers has the right one: so all ten.
    for prefix in ("20", "22", "23", "25", "26", "28", "29"):
        for _ in range(3):
            item, measure = maker.digits(4), maker.digits(5)
            for digit in string.digits:
                payload = f"{prefix}{item}{digit}{measure}"
                numbers.append(payload + check_digit(payload))
            item, measure = maker.digits(5), maker.digits(4)
            for digit in string.digits:
                payload = f"{prefix}{item}{digit}{measure}"
                numbers.append(payload + check_digit(payload))
    return numbers
