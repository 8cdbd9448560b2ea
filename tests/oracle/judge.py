"""Holds what `stockwire-agent decode scan` says of a corpus against two others who know nothing of us: biip, a Python
library that reads GS1 scans, and bwip-js, a barcode writer that checks what it prints.

    judge.py AGENT DICTIONARY NODE BWIP_JS

Each difference must fall under a line of DIFFERENCES, which says whose fault it is and why we stay as we are; and each
line must be needed, so that none outlives its reason.
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Callable

import biip
from biip import ParseConfig

import corpus as made

# What bwip-js says where identifiers are missing or do not belong together: with us a warning.
PAIRING = {"GS1missingAIs": "missing_pair", "GS1exclusiveAIs": "forbidden_pair"}


LINKS = ("link", "url")


@dataclass(frozen=True)
class Verdict:
    """What one of the three makes of a scan."""

    refused: bool
    elements: tuple = ()
    gtin: str | None = None
    # Our codes, or the other's own words; for people and for DIFFERENCES.
    says: tuple = ()


@dataclass(frozen=True)
class Difference:
    judge: str
    name: str
    reason: str
    holds: Callable


def ours_by(agent, scans, *options):
    done = subprocess.run(
        [agent, "decode", "scan", *options], input="".join(f"{scan}\n" for scan in scans).encode("latin-1"), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def ours(case, line):
    # An ordinary URL is fine with us, but it is no Digital Link, and the others are asked for nothing else.
    refused = "error" if case.group not in LINKS or line["kind"] == "error" else "url"
    return Verdict(
        refused=line["kind"] == refused,
        elements=tuple((element["ai"], element["value"]) for element in line["elements"]),
        gtin=line["gtin"],
        says=(line["kind"], *(finding["code"] for finding in line["findings"])),
    )


def biips(case):
    """biip keeps what it found wrong with a key beside the element; we take that for a refusal."""
    try:
        # It looks for links in GS1 symbols only, where the standard has none, or without an AIM identifier.
        result = biip.parse(case.data if case.group in LINKS else case.scan)
    except Exception as error:
        return Verdict(refused=True, says=(f"raised {type(error).__name__}",))
    found = result.gs1_message or result.gs1_digital_link_uri
    strings = found.element_strings if found else []
    errors = [error for string in strings for error in (string.gtin_error, string.sscc_error, string.gln_error) if error]
    gtin = result.gtin.as_gtin_14() if result.gtin else None
    refused = bool(errors) or not (found or gtin)
    errors += [error for error in (result.gs1_message_error, result.gs1_digital_link_uri_error) if error]
    elements = []
    for string in strings:
        # An element that is there twice alike is one.
        if (element := (string.ai.ai, string.value)) not in elements:
            elements.append(element)
    if refused:
        return Verdict(refused=True, says=tuple(errors))
    return Verdict(refused=False, elements=tuple(elements), gtin=gtin, says=tuple(errors))


def bwips(node, bwip_js, cases):
    """Only what can be handed to a writer: elements, or a link."""
    questions = [
        json.dumps({"link": case.data} if case.group == "link" else {"elements": case.elements}) for case in cases
    ]
    done = subprocess.run(
        [node, str(Path(__file__).with_name("bwip.js")), bwip_js], input="\n".join(questions).encode(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    words = done.stdout.decode().split()
    assert len(words) == len(cases), f"{len(words)} answers to {len(cases)} questions"
    return [Verdict(refused=word != "ok" and word not in PAIRING, says=(word,)) for word in words]


# The only keys whose check digit biip looks at.
BIIP_KEYS = ("00", "01", "02", "03", "410", "411", "412", "413", "414", "415", "416", "417")


def is_stricter(code):
    """Ours refuses with this code what the other takes."""
    return lambda case, ours, theirs: ours.refused and code in ours.says and not theirs.refused


DIFFERENCES = [
    Difference(
        "biip",
        "components",
        "it holds a value to a pattern only; that 999 is no country and 8/3 no position it does not look at",
        is_stricter("component"),
    ),
    Difference(
        "biip",
        "check digits",
        "it checks those of GTIN, SSCC and GLN only, not of GRAI, GSIN, GSRN, GMN, IBAN and others",
        lambda case, ours, biip: is_stricter("check_digit")(case, ours, biip)
        and any(ai not in BIIP_KEYS for ai, _ in biip.elements),
    ),
    Difference(
        "biip",
        "dates without a day",
        "it takes day 00 for the last of the month everywhere, the dictionary only where no time and no other day follows",
        lambda case, ours, biip: is_stricter("date")(case, ours, biip)
        and any(ai in ("7003", "7006", "7007", "7011", "4326", "8008") and value[4:6] == "00" for ai, value in biip.elements),
    ),
    Difference(
        "biip",
        "times of 99",
        "it takes 9999 for no time; the dictionary knows no such time",
        lambda case, ours, biip: is_stricter("date")(case, ours, biip)
        and any(ai in ("4324", "4325", "7003") and value.endswith("9999") for ai, value in biip.elements),
    ),
    Difference(
        "biip",
        "separators",
        "it skips any number of GS; GS1's reference refuses two in a row and one in front, as a value is missing there",
        lambda case, ours, biip: is_stricter("separator")(case, ours, biip)
        and (made.GS * 2 in case.data or case.data.startswith(made.GS)),
    ),
    Difference(
        "biip",
        "contradictions",
        "it takes one identifier twice with two values, or two weights with other decimals; which would be booked?",
        is_stricter("conflict"),
    ),
    Difference(
        "biip",
        "empty values",
        "its pattern of 7004 is satisfied by nothing at all",
        lambda case, ours, biip: is_stricter("length")(case, ours, biip) and ("7004", "") in biip.elements,
    ),
    Difference(
        "biip",
        "missing separators",
        "it cuts where its pattern is satisfied and reads on; we let a value that may vary end at GS only, as the "
        "standard has it, so that a lost GS is noticed wherever it can be",
        lambda case, ours, biip: is_stricter("length")(case, ours, biip)
        and case.group in ("broken label", "damaged", "rules"),
    ),
    Difference(
        "biip",
        "white space",
        "it strips white space around a scan; with us every byte is data",
        lambda case, ours, biip: ours.refused and case.scan != case.scan.strip(),
    ),
    Difference(
        "biip",
        "two dates",
        "it reads the second date of 7007 as a time and refuses most",
        lambda case, ours, biip: biip.refused and any("(7007) date/time" in word for word in biip.says),
    ),
    Difference(
        "biip",
        "DotCode",
        "it does not know the AIM identifier J",
        lambda case, ours, biip: case.aim == "]J1" and biip.says == ("raised ParseError",),
    ),
    Difference(
        "biip",
        "padding of base 64",
        "its pattern of 8030 lacks the equals sign",
        lambda case, ours, biip: case.group == "padding" and "=" in case.data and biip.refused,
    ),
    Difference(
        "biip",
        "bare digits",
        "without an AIM identifier it tries everything, and reads 96385074 as a GTIN and as AI 96; we take a GTIN by "
        "its length and check digit, with a warning, and nothing else",
        lambda case, ours, biip: case.group == "bare" and not ours.refused and not ours.elements,
    ),
    Difference(
        "biip",
        "interleaved 2 of 5",
        "it holds every such symbol for a GTIN; others use it too, so what is no GTIN of 14 digits is text with us",
        lambda case, ours, biip: case.aim == "]I1" and ours.says[0] == "plain" and (biip.refused or len(case.data) != 14),
    ),
    Difference(
        "biip",
        "lengths of retail symbols",
        "it takes 14 digits of ]E0 for a GTIN; no EAN-13 holds as many, so a digit was read or typed twice",
        lambda case, ours, biip: case.group == "retail" and ours.says == ("error", "symbology") and len(case.data) == 14,
    ),
    Difference(
        "biip",
        "nothing",
        "it takes a symbol without data for a label without elements",
        lambda case, ours, biip: case.data == "" and ours.refused,
    ),
    Difference(
        "biip",
        "UPC-E",
        "it takes eight digits of ]E0 for an EAN-8; those have ]E4, so it is a UPC-E that the scanner did not expand",
        lambda case, ours, biip: case.group == "upc-e",
    ),
    Difference(
        "bwip",
        "contradictions",
        "it calls two measures with other decimals a bad pairing; for us that is a warning, but two weights are none",
        lambda case, ours, bwip: "conflict" in ours.says and bwip.says[0] in PAIRING,
    ),
    Difference(
        "bwip",
        "withdrawn currencies",
        "it still has the kuna, the old leone, the convertible peso and the old dollar of Zimbabwe",
        lambda case, ours, bwip: is_stricter("component")(case, ours, bwip)
        and case.elements[0][0] == "3912" and case.elements[0][1][:3] in ("191", "694", "931", "932"),
    ),
    Difference(
        "bwip",
        "new codes",
        "its lists lack the gold of Zimbabwe and its unit of account, and two package types of 2025",
        lambda case, ours, bwip: case.elements[0] in (("3912", "924125"), ("3912", "926125"), ("7041", "AT"), ("7041", "APE")),
    ),
    Difference(
        "bwip",
        "a single zero",
        "it takes 0 for a number without leading zeros, GS1's reference does not",
        lambda case, ours, bwip: is_stricter("component")(case, ours, bwip) and case.elements == (("8011", "0"),),
    ),
    Difference(
        "bwip",
        "padding of base 64",
        "it wants a multiple of three characters; RFC 4648 says four, so we take either",
        lambda case, ours, bwip: case.group == "padding" and len(case.elements[0][1]) == 4 and bwip.refused,
    ),
]


def alike_biip(case, ours, biip):
    if ours.refused or biip.refused:
        return ours.refused == biip.refused
    return ours.elements == biip.elements and ours.gtin == biip.gtin


def alike_bwip(case, ours, bwip):
    pairing = {code for code in ours.says if code in PAIRING.values()}
    if ours.refused or bwip.refused:
        return ours.refused == bwip.refused
    # It names the first fault only.
    word = PAIRING.get(bwip.says[0])
    return word in pairing if word else not pairing


def variable_measures(agent):
    """Numbers of variable measure, by each country's rules. Gives how many were compared and what differs."""
    numbers, unlike = made.variable_measures(), []
    for country in "dk ee fi de gb lv lt no se".split():
        config = ParseConfig(rcn_region=country)
        lines = ours_by(agent, [f"]E0{number}" for number in numbers], "--variable-measure", country)
        for number, line in zip(numbers, lines):
            rcn = biip.parse(number, config=config).gtin
            theirs = None
            for measure in ("weight", "price", "count") if rcn else ():
                if (value := getattr(rcn, measure, None)) is not None:
                    item = "0" + rcn.without_variable_measure().as_gtin_13()
                    theirs = (measure, Decimal(value), item)
            variable = line.get("variable")
            mine = (variable["measure"], Decimal(variable["value"]), line["gtin"]) if variable else None
            # A measure whose check digit is wrong: biip refuses the number, we warn and read nothing from it.
            refused = rcn is None and any(finding["code"] == "variable_measure" for finding in line["findings"])
            if mine != theirs or (rcn is None) != refused:
                unlike.append(f"variable measure of {country}: {number}: ours {mine}, biip {theirs}")
    return 9 * len(numbers), unlike


def main(agent, dictionary, node, bwip_js):
    cases = made.corpus(dictionary)
    lines = ours_by(agent, [case.scan for case in cases])
    assert len(lines) == len(cases), f"{len(lines)} lines for {len(cases)} scans"
    verdicts = [ours(case, line) for case, line in zip(cases, lines)]
    written = [at for at, case in enumerate(cases) if case.elements is not None]
    judged = [("biip", at, biips(case), alike_biip) for at, case in enumerate(cases)]
    answers = bwips(node, bwip_js, [cases[at] for at in written])
    judged += [("bwip", at, answer, alike_bwip) for at, answer in zip(written, answers)]

    explained, unexplained = Counter(), []
    for judge, at, theirs, alike in judged:
        case, mine = cases[at], verdicts[at]
        if alike(case, mine, theirs):
            continue
        line = next((d for d in DIFFERENCES if d.judge == judge and d.holds(case, mine, theirs)), None)
        if line:
            explained[judge, line.name] += 1
        else:
            unexplained.append(f"{judge}: {case.group}: {case.scan!r}: ours {mine}, theirs {theirs}")
    count, unlike = variable_measures(agent)
    unexplained += unlike

    for difference in DIFFERENCES:
        times = explained[difference.judge, difference.name]
        print(f"{times:>6}  {difference.judge}: {difference.name}: {difference.reason}")
        if not times:
            unexplained.append(f"{difference.judge}: {difference.name}: explains nothing any more")
    for line in unexplained[:40]:
        print(line)
    total = len(judged) + count
    print(f"{total} judgements, {sum(explained.values())} explained, {len(unexplained)} unexplained")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
