# SPDX-License-Identifier: MIT
#
# check.py - run by gdb after tools/gdb/bufferpool-gdb.py: what its commands say of scene.c is what that wrote down itself
#
# Environment: SCRIPT (tools/gdb/bufferpool-gdb.py), SCENE (the program), FIGURES (what it writes), CORE, MODE:
#   process  starts the program and makes the core; then damages the process in each way that the commands are to survive, and
#            at last gets all that its depot has, to compare the order
#   core     reads the core
#   torn     reads one that lacks most of the memory

import os
import re
import runpy

import gdb

left = [name for name in ("Library", "Pool", "found", "move_out") if name in globals()]
script = runpy.run_path(os.environ["SCRIPT"], run_name="bufferpool_gdb")
libraries, byte_order, MASK32 = script["libraries"], script["byte_order"], script["MASK32"]


EACH = ("pools", "depot", "caches", "holders", "buffer $sp")
HOLDERS = os.environ.get("BUFFERPOOL_DEBUG") == "holders"


class Failed(Exception):
    pass


def require(condition, what):
    if not condition:
        raise Failed(what)


def say_of(command):
    """What a command writes, or its error; never a traceback."""
    try:
        text = gdb.execute("bufferpool " + command, to_string=True)
    except gdb.error as error:
        text = "%s\n" % error
    for bad in ("Traceback", "Error occurred in Python", "Python Exception"):
        require(bad not in text, "bufferpool %s: %s" % (command, text))
    return text


def table(text):
    """The rows of a table as dicts."""
    lines = [re.split(" {2,}", line.strip()) for line in text.splitlines() if line.startswith("  ")]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def handles(text):
    return [int(each, 16) for each in re.findall(r"0x[0-9a-f]+", text)]


def figures():
    """What the scene wrote, by kind."""
    found = {}
    with open(os.environ["FIGURES"], encoding="utf-8") as lines:
        for line in lines:
            kind, *fields = line.rstrip("\n").split("\t")
            found.setdefault(kind, []).append(fields)
    return found


def is_recorded():
    """Whether the program was told to record callers, and the library can."""
    return HOLDERS and libraries()[0].pool.find("records") is not None


# ---- each command ----


def check_pools(told):
    rows = table(say_of("pools"))
    require(len(rows) == 266, "%d pools are listed" % len(rows))
    require([int(row["index"]) for row in rows] == list(range(266)), "not the indexes from 0 to 265")
    by_name = {row["name"]: row for row in rows}
    columns = ("live", "idle-threads", "idle-depot", "bypass", "cap", "pressure", "waiters", "retained", "mapped")
    for name, *expected in told["pool"]:
        expected = ["none" if c == "cap" and e == "0" else e for c, e in zip(columns, expected)]
        seen = [by_name[name][column] for column in columns]
        require(seen == expected, "pools: %s has %s, not %s" % (name, seen, expected))
        require(table(say_of("pools " + name))[0] == {k: v for k, v in by_name[name].items()}, "pools %s" % name)
        require(table(say_of("pools " + by_name[name]["index"]))[0]["name"] == name, "not found by index: %s" % name)


def check_caches(told):
    idle = {name: int(fields[1]) for name, *fields in told["pool"]}
    for name in idle:
        text = say_of("caches " + name)
        rows = table(text)
        require(sum(int(row["n"]) for row in rows) == idle[name], "caches %s: not %d in all\n%s" % (name, idle[name], text))
        require(rows[0]["owned"] == "shared", "caches %s: the first is not the shared one" % name)
        for _, tid, n, moved, gate in (each for each in told["thread"] if each[0] == name):
            seen = [row for row in rows if "(LWP %s)" % tid in row["thread"]]
            require(len(seen) == 1, "caches %s: no cache of LWP %s, or several\n%s" % (name, tid, text))
            gates = (gate, "open, slow") if HOLDERS else (gate,)
            require((seen[0]["n"], seen[0]["moved"]) == (n, moved), "caches %s: LWP %s\n%s" % (name, tid, text))
            require(seen[0]["gate"] in gates, "caches %s: LWP %s\n%s" % (name, tid, text))
    row = table(say_of("caches in turn"))[1]
    require((row["owned"], row["thread"]) == ("no", "-"), "the cache of a thread that has ended: %s" % row)


def check_depot(told):
    for name, *fields in told["pool"]:
        text = say_of("depot " + name)
        sizes = [int(n) for n in re.findall(r"magazine \d+: (\d+) buffers", text)]
        require("%s buffers in %d magazines" % (fields[2], len(sizes)) in text, "depot %s\n%s" % (name, text))
        buffers = handles(text)
        require(len(set(buffers)) == sum(sizes) == int(fields[2]), "depot %s: other buffers\n%s" % (name, text))
        if name == "in turn":
            require(len(sizes) >= 3, "only %d magazines" % len(sizes))
            require("depot, in magazine 2 " in say_of("buffer 0x%x" % buffers[sizes[0]]), "a buffer's magazine")


def check_holders(told):
    for name in (fields[0] for fields in told["pool"]):
        text = say_of("holders " + name)
        mine = [fields[1:] for fields in told.get("held", []) if fields[0] == name]
        expected = sorted((int(handle, 16), cap, length, state) for handle, cap, length, state in mine)
        seen = []
        for handle, cap, length, rest in re.findall(r"0x([0-9a-f]+)  cap (\d+)  len (\d+)(.*)", text):
            state = {"": "live", "grown": "live, grown"}[re.sub("for .*", "", rest).strip()]
            seen.append((int(handle, 16), cap, length, state))
        require(sorted(seen) == expected, "holders %s: %s\n%s" % (name, expected, text))
        require(": %d held" % len(expected) in text, "holders %s: the number\n%s" % (name, text))
        beyond = next(int(fields[4]) for fields in told["pool"] if fields[0] == name)
        require(not beyond or "%d more than the cap" % beyond in text, "holders %s: beyond the cap\n%s" % (name, text))
        if expected:
            who = r"got by (main|hold|take_one|make_\w+) at \S*scene\.c:\d+" if is_recorded() else "caller not recorded"
            require(re.search(who, text), "holders %s: who got them\n%s" % (name, text))


def check_buffers(told):
    for name, handle, _, _, state in told["held"]:
        text = say_of("buffer " + handle)
        require("the handle of a buffer, of pool \"%s\"" % name in text, text)
        require("state  %s\n" % state in text and "prefix intact" in text, text)
        data = int(re.search(r"data +0x([0-9a-f]+)", text).group(1), 16)
        for at, what in ((data, "the data of"), (data + 7, "byte 7 of"), (data - 16, "16 bytes in front")):
            require("is %s" % what in say_of("buffer 0x%x" % at), "an address at the data of %s" % handle)
        inside = say_of("buffer %s + 8" % handle)
        require("8 bytes behind the start of a handle" in inside, inside)
    for name, handle, data, place in told["idle"]:
        require("place  " + place in say_of("buffer " + handle), say_of("buffer " + handle))
        require("the data of the buffer %s" % handle in say_of("buffer " + data), "the data of %s" % handle)
    require("neither a buffer" in say_of("buffer $sp"), "an address on the stack")


def check_function(told):
    """$bufferpool finds the pool by name and by index, and refuses what is none."""
    for name in (fields[0] for fields in told["pool"]):
        row = table(say_of('pools "%s"' % name))[0]
        by_name = int(gdb.parse_and_eval('$bufferpool("%s")' % name))
        require(by_name == int(gdb.parse_and_eval("$bufferpool(%s)" % row["index"])), "$bufferpool of %s" % name)
        require(table(say_of("pools %d" % by_name))[0]["name"] == name, "$bufferpool of %s is another pool" % name)
    try:
        gdb.parse_and_eval('$bufferpool("nobody")')
    except gdb.error as error:
        require("no pool of the name" in str(error), "$bufferpool of an unknown name: %s" % error)
    else:
        raise Failed("$bufferpool finds a pool of an unknown name")


def check_errors():
    require("no pool of the name" in say_of("depot nobody"), "an unknown name")
    require("no pool of the name" in say_of("depot 266"), "an unknown index")
    require("which?" in say_of("buffer"), "no address")
    require("No symbol" in say_of("buffer no_such_symbol"), "no such symbol")


def check_all(told):
    check_pools(told)
    check_caches(told)
    check_depot(told)
    check_holders(told)
    check_buffers(told)
    check_function(told)
    check_errors()


# ---- a process ----


def check_order():
    """The depot lists buffers in the order in which they are handed out. Empties it."""
    listed = handles(say_of("depot in turn"))
    got = [int(gdb.parse_and_eval("(unsigned long) bufferpool_get(scene_in_turn)")) for _ in listed]
    require(listed == got, "handed out in another order: %s\nlisted: %s" % (got, listed))
    gdb.execute("call (void) bufferpool_put((bufferpool_buf_t *) %d)" % got[0], to_string=True)
    require(re.search("place  cache .*, number 1 of 1 .*thread 1 ", say_of("buffer %d" % got[0])), "not in the cache")


def check_recording():
    """It can be switched from here, and what was recorded before does not count."""

    def switch(on):
        said = gdb.execute("call (int) bufferpool_record_holders(%d)" % on, to_string=True)
        require(said.strip().endswith("= 0"), "bufferpool_record_holders(%d): %s" % (on, said))

    def recorded():
        return re.findall(r"0x([0-9a-f]+) .*  for [0-9.]+ s  thread [0-9]+", say_of("holders"))

    switch(0)
    require(not recorded(), "recorded while it is off: %s" % say_of("holders"))
    switch(1)
    require(not recorded(), "recorded from before: %s" % say_of("holders"))
    got = int(gdb.parse_and_eval("(unsigned long) bufferpool_get(scene_in_turn)"))
    require([int(each, 16) for each in recorded()] == [got], "0x%x is not recorded: %s" % (got, say_of("holders in turn")))


def number(value, size=8):
    return value.to_bytes(size, byte_order())


def check_damage():
    library = libraries()[0]
    pools = {pool.name: pool for pool in library.pools()}
    pool, capped, parked = pools["in turn"], pools["capped"], pools["parked"]
    layout = library.pool
    top = pool.desc(pool["depot.head"] & MASK32, "head")
    caches = [cache.address for cache in parked.caches()][1:]
    held = capped.desc(1, "test")
    registry = int(library.symbol("chunks", "registry_find").value().dereference().cast(library.pool.struct.pointer()))

    def field(view, path):
        return view.address + view.layout[path][0]

    def in_pool(whose, path):
        return whose.address + layout[path][0]

    def in_cache(address, path):
        return address + library.cache[path][0]

    this = "buffer 0x%x" % held.address
    waiter = capped["waiters.first"]
    word = library.word
    end = int(library.symbol("end", "registry_find").value().address)
    for what, address, smashed, command, expected in (
        ("itself below", field(top, "below"), number(top["index"], 4), "depot in turn", "once more"),
        ("nonsense below", field(top, "below"), number(0x7FFFFFFF, 4), "depot in turn", "leads to descriptor 2147483647, of "),
        ("an empty magazine", field(top, "count"), number(0, 4), "depot in turn", "which counts 0 buffers from there down"),
        ("a count", field(top, "count"), number(top["count"] + (1 << 7), 4), "depot in turn", "which counts [0-9]+ buffers from there"),
        ("a link to nothing", field(top, "link"), number(0, 4), "depot in turn", "leads to descriptor 0, of "),
        ("a link to itself", field(top, "link"), number(top["index"], 4), "depot in turn", "once more"),
        ("a word", field(top, "word"), b"A" * word, "depot in turn", "should be idle: the handle was overwritten"),
        ("a chunk", in_pool(pool, "heap.table.chunks"), number(0, word), "depot in turn", "whose chunk is not there"),
        ("a chunk elsewhere", in_pool(pool, "heap.table.chunks"), number(4096, word), "depot in turn", "no memory at"),
        ("a chunk of holders", in_pool(pool, "heap.table.chunks"), number(0, word), "holders in turn", "they are not there"),
        ("the used", in_pool(pool, "heap.table.used"), number(MASK32, 4), "holders 5", "more than there can be"),
        ("the list of caches", in_pool(parked, "caches"), number(4096, word), "caches parked", "no memory at 0x1000"),
        ("caches in a circle", in_cache(caches[-1], "next"), number(caches[0], word), "pools", "once more"),
        ("others' caches", in_pool(parked, "caches"), number(in_pool(parked, "shared"), word), "pools", "none of this pool's"),
        ("a level", in_cache(caches[0], "level"), number(999), "caches parked", "holds 999 buffers, of at most 32"),
        ("those who wait", waiter, number(waiter, word), "pools", "those who wait leads to .* once more"),
        ("those who wait nowhere", in_pool(capped, "waiters.first"), number(1, word), "pools", "who waits: no memory at 0x1"),
        ("a name", in_pool(capped, "name"), number(1, word), "pools", "index 1.: damaged: .* name: no memory at 0x1"),
        ("an index", in_pool(capped, "index"), number(77, word), "pools", "its index is 77"),
        ("a tag", in_pool(capped, "tag"), number(77, word), "pools", "its tag is 0x4d"),
        ("a pool", registry + word, number(8, word), "pools", "index 1.: damaged: the pool at 0x8: pool: no memory at 0x8"),
        ("the end", end, number((1 << 64) - 1), "pools", "many-260"),
        ("a held word", field(held, "word"), b"A" * word, "holders capped", "overwritten: its word is 0x4141414141414141"),
        ("a prefix", held["pub.data"] - 8, b"A" * word, this, "in front of data were overwritten"),
        ("data at the edge", field(held, "pub.data"), number(8, word), this, "prefix damaged: .* no memory"),
        ("data", field(held, "pub.data"), number(4096, word), this, "prefix damaged: .* no memory"),
    ):
        memory = gdb.selected_inferior()
        before = bytes(memory.read_memory(address, len(smashed)))
        memory.write_memory(address, smashed)
        text = say_of(command)
        for each in EACH:
            say_of(each)
        memory.write_memory(address, before)
        require(re.search(expected, text), "%s smashed: bufferpool %s said\n%s" % (what, command, text))
        if command == "pools":
            require("in turn" in text and "default" in text, "%s smashed: the others are not listed" % what)
    check_pools({"pool": [row for row in figures()["pool"] if row[0] == "parked"]}) # all is as it was


def run():
    gdb.execute("set pagination off")
    gdb.execute("set confirm off")
    gdb.execute("set disable-randomization off")
    gdb.execute("set startup-with-shell off")
    gdb.execute("file " + os.environ["SCENE"])
    require(not left, "the script leaves names behind: %s" % left)
    mode = os.environ["MODE"]
    if mode != "process":
        gdb.execute("core-file " + os.environ["CORE"] + (".torn" if mode == "torn" else ""))
        if mode == "torn":
            text = "".join(say_of(command) for command in EACH)
            # the dynamic linker's list is among what is not there
            require("no memory at" in text or "There is no libbufferpool" in text, "nothing is missing?\n" + text)
        else:
            check_all(figures())
        return
    require("neither a process nor a core" in say_of("pools"), "no clear error before the start")
    gdb.execute("tbreak bufferpool_stats") # where gdb has read of the library what this one source declares
    gdb.execute("break stopped")
    gdb.execute("run " + os.environ["FIGURES"])
    require(table(say_of("pools default"))[0]["live"] == "2", "in the library: " + say_of("pools default"))
    gdb.execute("continue")
    check_all(figures())
    selected = gdb.selected_thread().num
    require(selected == 1, "thread %d is selected afterwards" % selected)
    gdb.execute("generate-core-file " + os.environ["CORE"])
    # core(5): which kinds of memory are in it
    with open("/proc/%d/coredump_filter" % gdb.selected_inferior().pid, "w", encoding="ascii") as kinds:
        kinds.write("0x14") # what is mapped of files
    gdb.execute("generate-core-file %s.torn" % os.environ["CORE"])
    check_damage()
    check_order()
    check_recording()
    gdb.execute("kill")


try:
    run()
except Failed as failed:
    gdb.write("FAILED: %s\n" % failed)
    gdb.execute("quit 1")
gdb.write("as it was told\n")
