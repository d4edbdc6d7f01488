#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scaling.py: the tables of docs/scaling.md, from the .tsv files in this folder

    scaling.py counts PROGRAM     counts and simulates anew: writes counts.tsv, simulated.tsv, and the page
    scaling.py measure PROGRAM    measures anew: writes measured.tsv, and the page
    scaling.py page               writes the page
    scaling.py check              fails if the page has other tables than these files give
    scaling.py check-counts PROGRAM
                                  fails if the program counts something else than counts.tsv has, or simulates
                                  something else than simulated.tsv has for few threads

A table stands on the page between two lines, <!-- scaling: NAME --> and <!-- scaling: end -->. Nothing in between is
written by hand.
"""
import difflib
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "..", "..", "docs", "scaling.md")
PROCESSORS = (64, 256)
TRANSFERS_NS = (50, 100, 200)
USUAL_NS = 100
MANY, MOST, FEW = 64, 256, 2
MORE_BY = 0.02  # so much may a count differ with another compiler

COLUMNS = ("lines", "fetched", "claimed", "stored", "ahead", "changes", "stores", "locks", "locked", "system calls",
           "serial")
SITUATIONS = {
    "pairs": "get and put",
    "hold-64": "64 gets, then 64 puts",
    "hold-64-roomy": "64 gets and puts, caches for 64 buffers",
    "hold-1024": "1,024 gets, then 1,024 puts",
    "handoff": "get here, put there",
    "handoff-roomy": "get here, put there, caches for 64 buffers",
    "exchange": "one exchange with the depot",
    "at-cap": "at the cap: any is replaced",
    "pressure": "under pressure: any is replaced",
    "refused": "at the cap: `try_get` is refused",
    "timed": "at the cap: `get_timed` waits",
    "async": "at the cap: `get_async` waits",
    "eight-beyond": "8 beyond the cap: any is replaced",
    "twice": "twice the cap: any is replaced",
    "burst-beyond": "burst beyond the cap: made and freed",
    "burst-make": "burst within the cap: made",
    "meet-cap": "a get that meets the cap",
    "trim": "`bufferpool_trim`",
    "stats": "`bufferpool_stats`",
    "live": "`bufferpool_live`",
}
WALKS = ("meet-cap", "trim", "stats", "live")
ANSWERED = ("pairs", "at-cap", "twice", "refused", "hold-64-roomy", "handoff-roomy", "handoff", "hold-64", "hold-1024",
            "pressure", "eight-beyond")
MODELLED = tuple(s for s in SITUATIONS if s not in WALKS and s != "exchange")
SIMULATED = {"hold-64": (16, 32), "handoff": (2, 8, 16, 32), "pressure": (2, 8, 16, 32)}
FEW_SIMULATED = 8  # so many threads take a moment
SIMULATED_BY = 0.1
PEERED = ("pairs", "hold-64", "hold-1024", "handoff")


def read_table(name):
    """The rows of a file as dictionaries; the first line that is no comment has the names of the columns."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    return lines[0], lines[1:]


def read_counts(text):
    """{(situation, threads): {column: number}}, from the output of scaling-counts."""
    lines = [line.split("\t") for line in text.splitlines()]
    return {(line[0], int(line[1])): dict(zip(lines[0][2:], line[2:])) for line in lines[1:]}


def load_counts():
    with open(os.path.join(HERE, "counts.tsv"), encoding="utf-8") as file:
        return read_counts(file.read())


def load_measured():
    """{(situation, threads): (ns, ns of a transfer)}"""
    return {(what, int(n)): (float(ns), float(transfer)) for what, n, ns, transfer in read_table("measured.tsv")[1]}


def load_simulated():
    """{(situation, threads): (ns of an operation without its transfers, millions of operations a second)}"""
    return {(what, int(n)): (float(local), float(speed)) for what, n, local, speed in read_table("simulated.tsv")[1]}


def number(row, column):
    return float(row[column])


def all_transfers(row):
    return sum(number(row, c) for c in ("fetched", "claimed", "stored", "ahead"))


# ---- the model ----

def throughput(processors, local_ns, transfers, serial, ns):
    """Operations in a nanosecond, and whether the busiest place is the limit."""
    busy = local_ns + transfers * ns
    by_processors = processors / busy if busy > 0 else float("inf")
    by_place = 1 / (serial * ns) if serial > 0 else float("inf")
    return min(by_processors, by_place), by_place < by_processors


def scales_to(local_ns, transfers, serial, ns):
    """The processors from which on the busiest place is the limit."""
    return (local_ns + transfers * ns) / (serial * ns) if serial > 0 else float("inf")


def arguments(counts, measured, name):
    row = counts[name, MANY]
    return measured.get((name.replace("-roomy", ""), 1), (0.0,))[0], all_transfers(row), number(row, "serial")


# ---- other pools ----

class Peer:
    def __init__(self, fields):
        self.name, self.local = fields[0], float(fields[1])
        self.cache = float("inf") if fields[2] == "-" else int(fields[2])
        self.least, self.most = int(fields[3]), int(fields[4])
        self.costs = [float(f) for f in fields[5:13]]
        self.handoff = None if fields[13] == "-" else (float(fields[13]), float(fields[14]))

    def hold(self, n, rounds=16):
        """Exchanges for each pair while a thread gets n objects and puts them: a list of (kind, objects)."""
        idle, row, kind_before, noted = 0, 0, None, []
        for turn in range(rounds):
            for kind in ["refill"] * n + ["flush"] * n:
                if (kind == "refill" and idle > 0) or (kind == "flush" and idle < self.cache):
                    idle += -1 if kind == "refill" else 1
                    continue
                if turn == 0 and self.cache == float("inf"):
                    continue  # made by the caller
                row = row + 1 if kind == kind_before else 0
                kind_before = kind
                objects = min(self.least << min(row, 10), self.most)
                idle += objects - 1 if kind == "refill" else 1 - objects
                if turn >= rounds // 2:
                    noted.append((kind, objects))
        return noted, n * (rounds - rounds // 2)

    def exchanges(self, situation):
        if situation == "pairs":
            return [], 1
        if situation == "handoff":
            return [("refill", self.most), ("flush", self.most)], self.most
        return self.hold(int(situation.partition("-")[2]))

    def counts(self, situation, processors):
        """Transfers for each pair, and those at the busiest place."""
        if situation == "handoff" and self.handoff is not None:
            return self.handoff[0], self.handoff[1] / (processors / 2)
        noted, pairs = self.exchanges(situation)
        both = []
        for shift in (0, 4):
            refill, refill_each, flush, flush_each = self.costs[shift:shift + 4]
            total = sum(refill + refill_each * n if kind == "refill" else flush + flush_each * n for kind, n in noted)
            both.append(total / pairs)
        return tuple(both)


# ---- tables ----

def short(value):
    if value == float("inf"):
        return "all"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def plain(value):
    """A count: few digits, 0 for nothing."""
    value = float(value)
    return "0" if value == 0 else f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def table(head, rows):
    """A table of the page: the first column is words, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def answer_table(counts, measured):
    rows = []
    for name in ANSWERED:
        local, transfers, serial = arguments(counts, measured, name)
        speeds = [throughput(p, local, transfers, serial, USUAL_NS)[0] for p in PROCESSORS]
        rows.append([SITUATIONS[name], plain(transfers), plain(serial),
                     short(scales_to(local, transfers, serial, USUAL_NS))] + [short(s * 1000) for s in speeds])
    return table(["", "transfers", "of one line", "scales to"] + [f"{p} processors" for p in PROCESSORS], rows)


def counts_table(counts, _):
    head = ["", "threads"] + [c for c in COLUMNS]
    rows = []
    for (name, threads), row in counts.items():
        rows.append([SITUATIONS[name], str(threads)] + [plain(row[c]) for c in COLUMNS])
    return table(head, rows)


def model_table(counts, measured):
    head = [""] + [f"{p}, {ns} ns" for p in PROCESSORS for ns in TRANSFERS_NS]
    rows = []
    for name in MODELLED:
        row = [SITUATIONS[name]]
        for p in PROCESSORS:
            for ns in TRANSFERS_NS:
                speed, limited = throughput(p, *arguments(counts, measured, name), ns)
                row.append(short(speed * 1000) + (" *" if limited else ""))
        rows.append(row)
    return table(head, rows)


def walks_table(counts, _):
    head = ["", "threads", "transfers", "locks", "system calls"] + [f"us, {ns} ns" for ns in TRANSFERS_NS]
    rows = []
    for name in WALKS:
        for threads in (MANY, MOST):
            row = counts[name, threads]
            transfers = all_transfers(row)
            rows.append([SITUATIONS[name], str(threads), plain(transfers), plain(row["locks"]),
                         plain(row["system calls"])] + [short(transfers * ns / 1000) for ns in TRANSFERS_NS])
    return table(head, rows)


def compare(counts, name):
    """A row for each pool: its name, its arguments of the model, and its speeds."""
    (_, own_local), *others = read_table("peers.tsv")[1]
    pools = [("libbufferpool", lambda _: arguments(counts, {(name, 1): (float(own_local),)}, name))]
    pools += [(peer.name, lambda p, q=peer: (q.local,) + q.counts(name, p)) for peer in map(Peer, others)]
    return [(who, of(MANY), [throughput(p, *of(p), USUAL_NS)[0] for p in PROCESSORS]) for who, of in pools]


def peers_table(counts, _):
    head = ["", "", "transfers", "of one line", "scales to"] + [f"{p} processors" for p in PROCESSORS]
    rows = []
    for name in PEERED:
        pools = compare(counts, name)
        for i, (who, (local, transfers, serial), speeds) in enumerate(pools):
            best = [max(pool[2][k] for pool in pools) for k in range(len(speeds))]
            words = [short(s * 1000) for s in speeds]
            rows.append([SITUATIONS[name] if i == 0 else "", who, plain(transfers), plain(serial),
                         short(scales_to(local, transfers, serial, USUAL_NS))] +
                        [f"**{word}**" if s == most else word for word, s, most in zip(words, speeds, best)])
    lines = table(head, rows)
    lines[1] = "|---|---|---:|---:|---:|---:|---:|"
    return lines


def simulated_table(counts, _):
    rows = []
    for (name, threads), (local, speed) in load_simulated().items():
        row = counts[name, FEW if threads <= FEW_SIMULATED else MANY]
        said = throughput(threads, local, all_transfers(row), number(row, "serial"), USUAL_NS)[0] * 1000
        rows.append([SITUATIONS[name], str(threads), short(said), short(speed)])
    return table(["", "threads", "by the formula", "simulated"], rows)


def ahead_list(counts, _):
    lines = []
    for name in PEERED:
        own, *others = compare(counts, name)
        ahead = [who for who, _, speeds in others if speeds[0] > own[2][0]]
        lines.append(f"- {SITUATIONS[name]}: {'; '.join(ahead) or 'none'}")
    return lines


def check_table(counts, measured):
    rows = []
    for (name, threads), (taken, ns) in measured.items():
        if threads != FEW:
            continue
        row, local = counts[name, FEW], measured[name, 1][0]
        waits = number(row, "fetched") + number(row, "claimed")
        serial = number(row, "serial")
        speeds = [throughput(FEW, local, x, serial, ns)[0] for x in (waits, all_transfers(row))]
        said = [FEW / s for s in speeds]
        error = 0 if said[0] <= taken <= said[1] else (said[0] if taken < said[0] else said[1]) / taken - 1
        rows.append([SITUATIONS[name], f"{local:.1f}", plain(all_transfers(row)), f"{ns:.1f}", f"{said[0]:.1f}",
                     f"{said[1]:.1f}", f"{taken:.1f}", "within" if abs(error) < 0.005 else f"{error * 100:+.0f} %"])
    return table(["", "one thread", "transfers", "a transfer", "at least", "at most", "measured", "error"], rows)


def machine_text(_, __):
    with open(os.path.join(HERE, "measured.tsv"), encoding="utf-8") as file:
        about = [line[2:].strip() for line in file if line.startswith("# ")]
    return [f"Measured on {', '.join(about)}."]


TABLES = {"answer": answer_table, "counts": counts_table, "model": model_table, "walks": walks_table,
          "peers": peers_table, "ahead": ahead_list, "simulated": simulated_table, "check": check_table,
          "machine": machine_text}


def page_with_tables(text):
    counts, measured = load_counts(), load_measured()
    for name, make in TABLES.items():
        mark = f"<!-- scaling: {name} -->"
        if text.count(mark) != 1:
            sys.exit(f"scaling.py: no place, or several, for '{name}' in docs/scaling.md")
        new = mark + "\n\n" + "\n".join(make(counts, measured)) + "\n\n<!-- scaling: end -->"
        text = re.sub(re.escape(mark) + r".*?<!-- scaling: end -->", lambda _, n=new: n, text, flags=re.S)
    return text


# ---- commands ----

def read_page():
    with open(PAGE, encoding="utf-8") as file:
        return file.read()


def write_page():
    text = page_with_tables(read_page())
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(text)


def check_page():
    old = read_page()
    new = page_with_tables(old)
    if new != old:
        lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "docs/scaling.md", "made")
        sys.stderr.writelines(lines)
        sys.exit("scaling.py: the page is stale; made anew by: cmake --build build/bench --target scaling")


def run(program, *arguments_of_it):
    return subprocess.run([program, *arguments_of_it], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def differs(old, new):
    return abs(new - old) > 0.005 + MORE_BY * abs(old)


def simulate(program, name, threads, local):
    return run(program, name, str(threads), str(USUAL_NS), str(local)).split("\t")[2].strip()


def simulate_all(program):
    measured = load_measured()
    lines = ["what\tthreads\tlocal ns\tmillions a second\n"]
    for name, all_threads in SIMULATED.items():
        for threads in all_threads:
            local = round(measured[name, 1][0])
            lines.append(f"{name}\t{threads}\t{local}\t{simulate(program, name, threads, local)}\n")
    return "".join(lines)


def check_simulated(program):
    wrong = []
    for (name, threads), (local, speed) in load_simulated().items():
        if threads <= FEW_SIMULATED:
            new = float(simulate(program, name, threads, local))
            if abs(new - speed) > SIMULATED_BY * speed:
                wrong.append(f"{name} with {threads} threads: {speed} million a second, now {new}")
    return wrong


def check_counts(program):
    """Plain stores and accesses under a lock depend on the compiler, so they are left out."""
    old, new = load_counts(), read_counts(run(program))
    wrong = [f"{name} with {threads} threads: no such row" for name, threads in old.keys() ^ new.keys()]
    for key in [key for key in old if key in new]:
        for column in COLUMNS:
            a, b = number(old[key], column), number(new[key], column)
            if column not in ("stores", "locked") and differs(a, b):
                wrong.append(f"{key[0]} with {key[1]} threads: {column} was {a}, is {b}")
    wrong += check_simulated(program)
    if wrong:
        sys.exit("\n".join(wrong) + "\nscaling.py: the files in bench/scaling have other counts; if these are meant: "
                                    "cmake --build build/bench --target scaling")


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return f"{len(names)} processors, {names[0]}" if names else "an unknown processor"


def save(name, text):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write(text)


def main(arguments_of_it):
    command, program = (arguments_of_it + [None, None])[:2]
    if command == "counts" and program:
        save("counts.tsv", run(program))
        save("simulated.tsv", simulate_all(program))
        write_page()
    elif command == "measure" and program:
        save("measured.tsv", f"# {processor()}\n# Linux {os.uname().release.partition('-')[0]}\n" + run(program, "101"))
        write_page()
    elif command == "page":
        write_page()
    elif command == "check":
        check_page()
    elif command == "check-counts" and program:
        check_counts(program)
    else:
        sys.exit(__doc__)


main(sys.argv[1:])
