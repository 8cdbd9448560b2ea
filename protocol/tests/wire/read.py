#!/usr/bin/env python3
"""Reads Stockwire messages with nothing but cbor2 and the published CDDL, to show that others can.

    read.py CDDL FOLDER     checks every FOLDER/*.cbor against the contract and against FOLDER/*.json

Needs the packages cbor2 and pycddl.
"""
import json
import pathlib
import sys

import cbor2
from pycddl import Schema

UOM = ["H87", "KGM", "GRM", "LBR", "LTR", "MTR"]
STEP = ["receiving", "storing", "stocking", "picking", "packing", "unpacking", "staging_outbound", "loading",
        "shipping", "void_shipping", "cycle_counting", "stock_taking", "inspecting", "destroying"]
PLACE = {-1: "<supplier>", -2: "<customer>", -3: "<loss>", -4: "<transit>"}
DETAIL = ["clock", "gtin", "lot", "serial", "expires_on", "license_plate", "weighing", "disposition", "reference",
          "operator", "correlation", "corrects", "exceptions", "reason", "stability_source", "unit_source"]
TEXT_DETAILS = {2, 3, 8, 9, 10, 13}
EXCEPTION = ["expired", "recalled", "over_received", "wrong_location", "weight_out_of_tolerance", "empty_bin",
             "not_on_task", "weight_confirmed"]
SOURCE = {14: ["reported", "inferred", "confirmed"], 15: ["reported", "configured"]}
ACT = ["packed", "unpacked", "closed", "loaded", "unloaded", "shipped", "short", "relabelled"]
TASK = ["pick", "receive", "announced", "count", "replenish"]
KINDS = ["batch", "row", "ack", "state", "command", "reply", "catalogue", "changes", "tasks"]
REFUSAL = ["gap", "version", "malformed", "conflict", "unknown"]


def details(wire, texts):
    out = {}
    for key, value in wire.items():
        if key in TEXT_DETAILS:
            value = texts[value]
        elif key in SOURCE:
            value = SOURCE[key][value]
        elif key == 12:
            value = [EXCEPTION[one] for one in value]
        elif key == 11:
            agent, epoch, sequence, reason = value
            value = [texts[agent], epoch.hex(), sequence, ["did_not_occur", "incorrect_data"][reason]]
        out[DETAIL[key]] = value
    return out


def event(wire, texts, before):
    kind, dt, extra, *rest = wire
    out = {"unix_ms": before + dt, "details": details(extra, texts)}
    if kind == 0:
        step, item, steps, uom, source, target, station = rest
        place = lambda n: PLACE[n] if n < 0 else texts[n]
        out |= {"kind": "movement", "step": STEP[step], "item": texts[item], "steps": steps, "uom": UOM[uom],
                "from": place(source), "to": place(target), "station": texts[station]}
    elif kind == 1:
        item, steps, uom, location, station = rest
        out |= {"kind": "count", "item": texts[item], "steps": steps, "uom": UOM[uom],
                "location": texts[location], "station": texts[station]}
    elif kind == 2:
        out |= {"kind": "lost", "count": rest[0]}
    elif kind == 3:
        act, station, about = rest
        goods = about.get(1)
        out |= {"kind": "handling", "act": ACT[act], "station": texts[station],
                "location": texts[about[0]] if 0 in about else None,
                "goods": goods and [texts[goods[0]], goods[1], UOM[goods[2]]], "plate": about.get(2)}
    else:
        step, item, steps, uom, source, target, station, scanned = rest
        place = lambda n: PLACE[n] if n < 0 else texts[n]
        out |= {"kind": "unresolved", "step": None if step is None else STEP[step], "item": texts[item],
                "steps": steps, "uom": UOM[uom], "from": None if source is None else place(source),
                "to": place(target), "station": texts[station],
                "scanned": [name for bit, name in enumerate(["item", "from", "to"]) if scanned >> bit & 1]}
    return out


def events(wires, texts, t0):
    out = []
    for wire in wires:
        out.append(event(wire, texts, out[-1]["unix_ms"] if out else t0))
    return out


def message(name, wire):
    """The meaning of one message; its kind is the file name up to the first '-'."""
    kind = name.split("-")[0]
    if kind == "batch":
        _, agent, epoch, first, t0, texts, wires = wire
        return {"agent": agent, "epoch": epoch.hex(), "first": first, "events": events(wires, texts, t0)}
    if kind == "row":
        _, t0, texts, one = wire
        return event(one, texts, t0)
    if kind == "ack":
        _, epoch, watermark, digest, refusal = wire
        return {"epoch": epoch.hex(), "watermark": watermark, "digest": f"{digest:016x}",
                "refusal": None if refusal is None else REFUSAL[refusal]}
    if kind == "state":
        _, agent, state, online = wire
        out = {"agent": agent, "state": ["online", "stopped", "lost"][state]}
        if online:
            out |= dict(zip(["epoch", "head", "watermark", "boot", "uptime_ms", "unix_ms", "clock_synced",
                             "software"], [online[0].hex(), *online[1:]]))
        return out
    if kind == "command":
        _, number, command, resend = wire
        return {"id": number, "command": ["ping", "resend"][command]} | (
            {"epoch": resend[0].hex(), "after": resend[1]} if resend else {})
    if kind == "reply":
        return {"id": wire[1], "refused": wire[2]}
    if kind in ("catalogue", "changes"):
        _, revision, part, parts, site, items, locations, *since = wire
        out = {"revision": revision, "part": part, "parts": parts, "site": site, "locations": locations,
               "items": [dict(zip(["id", "name", "uom", "gtins", "codes", "rules"], [i[0], i[1], UOM[i[2]], *i[3:]]))
                         for i in items]}
        return out | ({"since": since[0]} if since else {})
    if kind == "tasks":
        _, revision, part, parts, site, tasks, known = wire
        as_of, bins, since = (known.get(key) for key in range(3))
        return {"revision": revision, "part": part, "parts": parts, "site": site,
                "as_of": as_of and [as_of[0].hex(), as_of[1]],
                "tasks": [dict(zip(["kind", "id", "order", "location", "lines"], [TASK[t[0]], *t[1:]])) for t in tasks],
                "bins": bins, "since": since and [since[0], [[TASK[k], i] for k, i in since[1]]]}
    raise SystemExit(f"{name}: no message kind {kind}")


def main():
    cddl, where = sys.argv[1:3]
    rules = pathlib.Path(cddl).read_text(encoding="utf-8")
    contract = {kind: Schema(f"root = {kind}\n{rules}") for kind in KINDS}
    files = sorted(pathlib.Path(where).glob("*.cbor"))
    failed = [] if files else ["no golden files found"]
    for file in files:
        data = file.read_bytes()
        try:
            contract[file.stem.split("-")[0]].validate_cbor(data)
            got = message(file.stem, cbor2.loads(data))
            expected = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
            if got != expected:
                failed.append(f"{file.name}: got {json.dumps(got)}, expected {json.dumps(expected)}")
        except Exception as fault:  # every file is tried, all faults are told
            failed.append(f"{file.name}: {fault}")
    # The contract must also refuse: an epoch too short, an event kind and a message that do not exist.
    for kind, wrong in ("ack", [1, b"short", 0, 0, None]), ("row", [1, 0, [], [9, 0, {}, 1]]), ("reply", [2, 1, None]):
        try:
            contract[kind].validate_cbor(cbor2.dumps(wrong))
            failed.append(f"the contract accepts {wrong!r} as {kind}")
        except Exception:
            pass
    print(f"{len(files)} golden files, {len(failed)} failed")
    for line in failed:
        print("  " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
