# SPDX-License-Identifier: MIT
#
# bufferpool-gdb.py - gdb commands that list pools, depots, thread caches and who holds what, in a process or a core
#
# Loaded with `source`, or by gdb itself with the shared library: `help bufferpool`. Nothing in the program is called and
# nothing written, so a core will do, and what was smashed is reported and not followed: each list is walked no further than
# it can be right. Layouts come from the debugging information (of the library, whatever the program has); what that does not
# say stands below, with the header that does. A program may have several copies of the library: each is shown.
#
# A process that was stopped in the middle of calls shows what those had done so far: see stats.c.

import gdb

# gdb runs all scripts in one namespace. What this one found there it puts back, and lives in one of its own: see the end.
if __name__ == "__main__":
    found = dict(globals())

# desc.h: word = tag << STATE_BITS | state; the tag has the pool index above the TLS index
STATES = {
    0: "free",
    1: "idle",
    2: "live",
    3: "handed out twice",
    5: "idle, grown",
    6: "live, grown",
    7: "handed out twice, grown",
}
FREE, IDLE, IDLE_GROWN = 0, 1, 5
HELD = (2, 3, 6, 7)
POOL_INDEX_MASK = 0xFFFF
FIRST_CHUNK = 64
# depot.c: head = tag << 32 | index; counts = wanted << 63 | pressure << 62 | pooled << 32 | tickets
MASK32 = 0xFFFFFFFF
POOLED_MASK = (1 << 30) - 1
# of a magazine's head: count = buffers from here down << 7 | grown << 6 | n - 1
COUNT_N = 63
COUNT_BITS = 7
# cache.h: level = gets << 17 | side << 16 | n
LEVEL_N = 0xFFFF
LEVEL_SIDE = 1 << 16
# modes.h: modes = number of the recording << 12 | modes; those that record
MODES_BITS = 12
MODES_WATCH = 0x9F
# record_turn in types.h
RECORD_GOT = 2
# pressure_state in pool.h
PRESSURE = ("off", "entering", "on")

NAME_SHOWN = 64
TAGGED = (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_ENUM)
NO_CAP = "none"
NOT_RECORDED = "caller not recorded (BUFFERPOOL_DEBUG=holders, bufferpool_record_holders)"


class Damaged(Exception):
    """What is in the program's memory cannot be right."""


# ---- memory and layouts ----


def read(address, size, what):
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except (gdb.error, OverflowError, ValueError):
        raise Damaged("%s: no memory at 0x%x" % (what, address)) from None


def byte_order():
    return "big" if "big endian" in gdb.execute("show endian", to_string=True) else "little"


def find_field(struct, name):
    """Offset and type, also of what is in a union without a name; or None."""
    for field in struct.fields():
        if field.name == name:
            return field.bitpos // 8, field.type
        if not field.name:
            inner = find_field(field.type.strip_typedefs(), name)
            if inner is not None:
                return field.bitpos // 8 + inner[0], inner[1]
    return None


class Layout:
    """A struct: where its fields are, by name as C has it, "heap.table.used"."""

    def __init__(self, struct):
        self.struct = struct.strip_typedefs()
        self.size = self.struct.sizeof
        self.known = {}

    def find(self, path):
        """Offset and type, or None."""
        if path not in self.known:
            offset, struct = 0, self.struct
            for name in path.split("."):
                found = None if struct is None else find_field(struct.strip_typedefs(), name)
                struct = None if found is None else found[1]
                offset += 0 if found is None else found[0]
            self.known[path] = None if struct is None else (offset, struct)
        return self.known[path]

    def __getitem__(self, path):
        found = self.find(path)
        if found is None:
            raise gdb.GdbError("This is the script of another version of libbufferpool: no %s in %s" % (path, self.struct))
        return found

    def pointee(self, path):
        kind = self[path][1].strip_typedefs()
        if kind.code == gdb.TYPE_CODE_ARRAY:
            kind = kind.target().strip_typedefs()
        return Layout(kind.target())


class View:
    """A struct in the program, read whole; its fields are numbers, or lists of numbers."""

    def __init__(self, layout, address, order, what, data=None):
        self.layout, self.address, self.order = layout, address, order
        self.data = data if data is not None else read(address, layout.size, what)

    def __getitem__(self, path):
        offset, kind = self.layout[path]
        kind = kind.strip_typedefs()
        if kind.code != gdb.TYPE_CODE_ARRAY:
            return int.from_bytes(self.data[offset : offset + kind.sizeof], self.order)
        return numbers(self.data[offset : offset + kind.sizeof], kind.target().sizeof, self.order)


def numbers(data, size, order):
    return [int.from_bytes(data[i : i + size], order) for i in range(0, len(data), size)]


def text_at(address):
    """A string, in one line and not too long."""
    if address == 0:
        raise Damaged("no name")
    try:
        text = read(address, NAME_SHOWN, "name")
    except Damaged:  # the memory may end behind it
        text = b""
        while len(text) < NAME_SHOWN and not text.endswith(b"\0"):
            text += read(address + len(text), 1, "name")
    text = text.split(b"\0")[0]
    text = text.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else "?" for c in text)


# ---- what the library consists of ----


class Library:
    """One copy of it: a shared library, or what a program or a plug-in has linked in."""

    def __init__(self, objfile):
        self.objfile = objfile
        self.label = None  # where there are several
        self.order = byte_order()
        self.pool = Layout(self.symbol("pool_default", "registry_find").type)
        self.cache = self.pool.pointee("caches")
        self.desc = self.pool.pointee("heap.table.chunks")
        self.word = gdb.lookup_type("void").pointer().sizeof
        self.state_bits, self.tls_index_bits = (8, 8) if self.word == 8 else (3, 5)
        self.waiter = None

        self.counters = {e.name: e.enumval for e in self.symbol("counter", "cache_refill", tag=True).type.fields()}

    def function(self, name):
        symbol = self.objfile.lookup_global_symbol(name)
        if symbol is None:
            raise self.missing(name)
        return symbol

    def missing(self, name):
        return gdb.GdbError("%s: no debugging information on %s, as after -flto" % (self.objfile.filename, name))

    def symbol(self, name, beside, tag=False):
        """A variable, or the tag of a struct or an enum, in the source that has the function `beside`: others have declarations of it, and
        static ones of the same name may be anywhere."""
        symtab = self.function(beside).symtab
        for block in (symtab.static_block(), symtab.global_block()):
            for symbol in block:
                if symbol.name == name and (symbol.type.code in TAGGED if tag else symbol.is_variable):
                    return symbol
        raise self.missing(name)

    def view(self, layout, address, what):
        return View(layout, address, self.order, what)

    def pools_by_index(self):
        """(index, address) of each pool; registry.c."""
        chunks = self.symbol("chunks", "registry_find").value()
        size = chunks.type.range()[1] + 1
        in_chunk = (POOL_INDEX_MASK + 1) // size
        end = min(int(self.symbol("end", "registry_find").value()), POOL_INDEX_MASK)
        table = numbers(read(int(chunks.address), size * self.word, "registry"), self.word, self.order)
        for first in range(0, end, in_chunk):
            chunk = table[first // in_chunk]
            if chunk == 0:
                continue
            data = read(chunk, in_chunk * self.word, "registry, pools from %d" % first)
            for i, address in enumerate(numbers(data, self.word, self.order)):
                if address != 0 and first + i < end:
                    yield first + i, address

    def pools(self):
        return [Pool(self, index, address) for index, address in self.pools_by_index()]

    def owners(self):
        """Which thread's tables have a cache, by the cache's address: what gdb can tell."""
        owners = {}
        symbol = self.symbol("tls_self", "tls_cache_own")
        layout = Layout(symbol.type.strip_typedefs().target())
        for thread in each_thread():
            try:
                address = int(symbol.value())
                table = self.view(layout, address, "thread's table")
                entries = table["table"]
                if table["more"] != 0 and 0 < table["more_size"] <= POOL_INDEX_MASK + 1:
                    data = read(table["more"], table["more_size"] * self.word, "thread's table")
                    entries = entries + numbers(data, self.word, self.order)
            except (gdb.error, Damaged):
                continue
            for entry in entries:
                owners[entry] = thread
            owners.pop(address + layout["none"][0], None)
        return owners


def each_thread():
    """A name for each thread, while it is selected."""
    selected = gdb.selected_thread()
    try:
        frame = gdb.selected_frame()
    except gdb.error:
        frame = None
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.num):
            thread.switch()
            pid, lwp, tid = thread.ptid
            yield "%d (LWP %d)" % (thread.num, lwp or tid or pid)
    finally:
        if selected is not None:
            selected.switch()
        if frame is not None:
            frame.select()


class Pool:
    """One pool. What cannot be read makes it damaged: then only `index`, `address` and `damage` are there."""

    def __init__(self, library, index, address):
        self.library, self.index, self.address = library, index, address
        self.name, self.damage = "?", None
        self.modes = None  # read when a record is looked at
        try:
            self.view = library.view(library.pool, address, "pool")
            if self.view["index"] != index:
                raise Damaged("its index is %d" % self.view["index"])
            self.tag = self.view["tag"]
            if self.tag >> library.tls_index_bits & POOL_INDEX_MASK != index:
                raise Damaged("its tag is 0x%x" % self.tag)
            self.chunks = self.view["heap.table.chunks"]
            self.used = self.view["heap.table.used"]
            if self.used > FIRST_CHUNK * ((1 << len(self.chunks)) - 1):
                raise Damaged("%d descriptors are more than there can be" % self.used)
            self.name = text_at(self.view["name"])
        except Damaged as damage:
            self.damage = str(damage)

    def __getitem__(self, path):
        return self.view[path]

    def title(self):
        return 'pool "%s" (index %d)%s' % (self.name, self.index, " of " + self.library.label if self.library.label else "")

    def pooled(self):
        """The buffers that exist."""
        return self["depot.counts"] >> 32 & POOLED_MASK

    def stacks(self):
        """(index of the top magazine, what leads to it) of the depot's own stack and of each shard; shards.c."""
        yield self["depot.head"] & MASK32, "the depot's head"
        address = self["depot.shards"]
        if address == 0:
            return
        offset, kind = self.library.pool.pointee("depot.shards")["shard"]
        shard = Layout(kind.strip_typedefs().target())
        for k in range(kind.sizeof // shard.size):
            view = self.library.view(shard, address + offset + k * shard.size, "shard %d" % k)
            yield view["head"] & MASK32, "the head of shard %d" % k

    def in_depot(self):
        """As the top magazines count them."""
        return sum(self.desc(index, whence)["count"] >> COUNT_BITS for index, whence in self.stacks() if index != 0)

    # -- descriptors --

    def chunk(self, number):
        """Address, first index and size; desc.h."""
        return self.chunks[number], 1 + FIRST_CHUNK * ((1 << number) - 1), FIRST_CHUNK << number

    def desc(self, index, whence):
        if not 1 <= index <= self.used:
            raise Damaged("%s leads to descriptor %d, of %d" % (whence, index, self.used))
        base, first, _ = self.chunk(((index - 1) // FIRST_CHUNK + 1).bit_length() - 1)
        if base == 0:
            raise Damaged("%s leads to descriptor %d, whose chunk is not there" % (whence, index))
        layout = self.library.desc
        return self.library.view(layout, base + (index - first) * layout.size, "descriptor %d" % index)

    def covers(self, address):
        """The index of the descriptor that the address lies in, and how far; or None."""
        size = self.library.desc.size
        for number in range(len(self.chunks)):
            base, first, n = self.chunk(number)
            if base != 0 and base <= address < base + n * size:
                index = first + (address - base) // size
                return (index, (address - base) % size) if index <= self.used else None
        return None

    def descriptors(self):
        """(index, view) of each that was ever handed out."""
        layout = self.library.desc
        for number in range(len(self.chunks)):
            base, first, n = self.chunk(number)
            n = min(n, self.used + 1 - first)
            if n <= 0:
                return
            what = "descriptors from %d" % first
            if base == 0:
                raise Damaged("%s: they are not there" % what)
            data = read(base, n * layout.size, what)
            for i in range(n):
                address, at = base + i * layout.size, i * layout.size
                yield first + i, View(layout, address, self.library.order, what, data[at : at + layout.size])

    def state(self, desc):
        """By its word; None: that is not one of this pool's."""
        word = desc["word"]
        if word >> self.library.state_bits != self.tag:
            return None
        state = word & ((1 << self.library.state_bits) - 1)
        return state if state in STATES else None

    def state_name(self, desc):
        state = self.state(desc)
        if state is not None:
            return STATES[state]
        return "never used" if desc["word"] == 0 else "the handle was overwritten: its word is 0x%x" % desc["word"]

    # -- the depot --

    def magazines(self):
        """The views of each one's buffers, those that are handed out first at the front; from the top. depot.c."""
        seen = set()
        for index, whence in self.stacks():
            yield from self.stack(index, whence, seen)

    def stack(self, index, whence, seen):
        expected = None
        while index != 0:
            head = self.desc(index, whence)
            n, idle = (head["count"] & COUNT_N) + 1, head["count"] >> COUNT_BITS
            if index not in seen and (idle < n or (expected is not None and idle != expected)):
                raise Damaged("%s leads to descriptor %d, which counts %d buffers from there down" % (whence, index, idle))
            expected = idle - n
            buffers = []
            for number, whose in self.members(index, n):
                if number in seen:
                    raise Damaged("%s leads to descriptor %d once more" % (whose or whence, number))
                seen.add(number)
                buffers.append(self.desc(number, whose))
            yield buffers
            index, whence = head["below"], "what lies below descriptor %d" % index
        if expected:
            raise Damaged("the depot's last magazine counts %d buffers beneath it" % expected)

    def members(self, head, n):
        """(index, what leads to it): node i of the tree names 4i - 1 to 4i + 2, node 0 only 1 and 2."""
        indexes = [head]
        yield head, None
        for i in range(n):
            node = self.desc(indexes[i], "a magazine")
            whose = "the magazine's descriptor %d" % indexes[i]
            named = node["link"] + ([node["below"], node["count"]] if i > 0 else [])
            for number in named[: n - len(indexes)]:
                indexes.append(number)
                yield number, whose

    # -- thread caches --

    def caches(self):
        """In the order of the list, the shared one first."""
        yield Cache(self, self.address + self.library.pool["shared"][0], shared=True)
        seen = set()
        address = self["caches"]
        while address != 0:
            if address in seen:
                raise Damaged("the list of caches leads to 0x%x once more" % address)
            seen.add(address)
            cache = Cache(self, address)
            yield cache
            address = cache.view["next"]

    def totals(self):
        """live, idle in threads, held beyond the cap; as bufferpool_stats has them."""
        outside = idle = 0
        for cache in self.caches():
            outside, idle = outside + cache.moved, idle + cache.n
        held = (outside - idle - self["quarantine.n"]) & MASK32
        held = min(held, self.pooled()) if held < 1 << 31 else 0
        live = min(held, self["max_live"] or held)
        return live, idle, held - live

    def memory(self):
        """Free memory that is retained, mapped address space; as bufferpool_stats has them."""
        names = ("dirty_bytes", "retained.bytes", "mapped_bytes", "large_bytes")
        dirty, retained, spans, large = (self["heap.slabs." + name] for name in names)
        return dirty + retained, spans + large

    # -- put buffers that are held back; quarantine.h --

    def held_back(self):
        """Addresses of the handles, the oldest first."""
        size, n = self["quarantine.size"], self["quarantine.n"]
        if n > size or self["quarantine.oldest"] >= max(size, 1):
            raise Damaged("the quarantine has %d of %d, the oldest at %d" % (n, size, self["quarantine.oldest"]))
        if n == 0:
            return []
        word = self.library.word
        ring = numbers(read(self["quarantine.ring"], size * word, "quarantine"), word, self.library.order)
        return [ring[(self["quarantine.oldest"] + i) % size] for i in range(n)]

    # -- those who wait; wait.c --

    def waiters(self):
        library = self.library
        if library.waiter is None:
            library.waiter = Layout(library.symbol("waiter", "wait_serve_all", tag=True).type)
        seen = set()
        address = self["waiters.first"]
        while address != 0:
            if address in seen:
                raise Damaged("the queue of those who wait leads to 0x%x once more" % address)
            seen.add(address)
            address = library.view(library.waiter, address, "who waits")["next"]
        return len(seen)

    # -- who got and put what; records.h --

    def record_chunks(self):
        """The chunks and the layout of a record; None: this library has none."""
        found = self.library.pool.find("records")
        if found is None:
            return None
        kind = found[1].strip_typedefs()
        if kind.code == gdb.TYPE_CODE_PTR:
            layout = Layout(kind.target())
            if self["records"] == 0:
                return None
            view = self.library.view(layout, self["records"], "records")
        else:
            layout = Layout(kind)
            view = View(layout, 0, self.library.order, "records", self.view.data[found[0] : found[0] + layout.size])
        return view["chunks"], layout.pointee("chunks")

    def record(self, index):
        """Of a descriptor, or None."""
        records = self.record_chunks()
        if records is None:
            return None
        chunks, layout = records
        number = ((index - 1) // FIRST_CHUNK + 1).bit_length() - 1
        if number >= len(chunks) or chunks[number] == 0:
            return None
        address = chunks[number] + (index - self.chunk(number)[1]) * layout.size
        record = self.library.view(layout, address, "record %d" % index)
        return record if self.is_current(layout, record) else None

    def is_current(self, layout, record):
        """Whether the record is of the recording that is under way; modes.h."""
        if layout.find("recording") is None:
            return True
        if self.modes is None:
            self.modes = int(self.library.symbol("modes", "modes_init").value())
        return self.modes & MODES_WATCH != 0 and record["recording"] == self.modes >> MODES_BITS & MASK32

    def newest(self):
        """The latest time on record."""
        records = self.record_chunks()
        latest = 0
        if records is None:
            return latest
        chunks, layout = records
        for number, base in enumerate(chunks):
            n = min(FIRST_CHUNK << number, self.used - FIRST_CHUNK * ((1 << number) - 1))
            if base == 0 or n <= 0:
                continue
            data = read(base, n * layout.size, "records")
            for i in range(n):
                at = i * layout.size
                record = View(layout, base + at, self.library.order, "records", data[at : at + layout.size])
                latest = max(latest, record["got_ns"], record["put_ns"])
        return latest


class Cache:
    """A thread's cache, or the pool's shared one. cache.h."""

    def __init__(self, pool, address, shared=False):
        library = pool.library
        self.pool, self.address, self.shared = pool, address, shared
        self.view = library.view(library.cache, address, "cache")
        if self.view["pool"] != (0 if shared else pool.address):
            raise Damaged("the list of caches leads to 0x%x, which is none of this pool's" % address)
        level = self.view["level"]
        side = 1 if level & LEVEL_SIDE else 0
        self.n = level & LEVEL_N
        if self.n > (0 if shared else pool["cache_entries"]):
            raise Damaged("the cache at 0x%x holds %d buffers, of at most %d" % (address, self.n, pool["cache_entries"]))
        bases = library.cache["base"]
        base = Layout(bases[1].strip_typedefs().target())
        at = bases[0] + side * base.size
        base = View(base, address + at, library.order, "cache", self.view.data[at : at + base.size])
        self.moved = (base["moved"] + self.view["moved_past"]) & MASK32

    def gate(self):
        library = self.pool.library
        gate = self.view["gate"]
        if self.shared:
            return "-"
        # cache.h: the pool index is one that no pool has, and the highest bit says which of the two it is
        if gate >> library.state_bits + library.tls_index_bits & POOL_INDEX_MASK != POOL_INDEX_MASK:
            return "open"
        return "closed" if gate >> 8 * library.word - 1 else "open, slow"

    def buffers(self):
        """The addresses of the handles, the coldest first."""
        library = self.pool.library
        address = self.address + library.cache["bottom"][0] + library.word
        return numbers(read(address, self.n * library.word, "entries of a cache"), library.word, library.order) if self.n else []


# ---- finding the library ----


def libraries():
    if not gdb.selected_inferior().threads():
        raise gdb.GdbError("There is neither a process nor a core file.")
    found = {}
    for objfile in gdb.objfiles():
        if objfile.owner is not None:  # debugging information of another
            continue
        symbol = objfile.lookup_global_symbol("bufferpool_create")
        if symbol is not None:
            found.setdefault(int(symbol.value().address), objfile)
    if found:
        copies = [Library(objfile) for objfile in found.values()]
        for library in copies if len(copies) > 1 else ():
            library.label = library.objfile.filename.rsplit("/", 1)[-1]
        return copies
    try:
        found = gdb.execute("info symbol bufferpool_get", to_string=True)
    except gdb.error:
        found = ""
    if not found or "in section .plt" in found:  # the program would call it, but it is not loaded
        raise gdb.GdbError("There is no libbufferpool in this program, or it is stripped of all symbols.")
    raise gdb.GdbError(
        "libbufferpool has no debugging information here: install the package libbufferpool0-dbgsym, "
        "or build the library with CMAKE_BUILD_TYPE=RelWithDebInfo."
    )


def pools_of(argument):
    """All pools, or the one of that name, index or address."""
    pools = [pool for library in libraries() for pool in library.pools()]
    argument = argument.strip()
    if not argument:
        return pools
    named = argument[1:-1] if len(argument) > 1 and argument[0] == argument[-1] == '"' else argument
    chosen = [pool for pool in pools if pool.name == named]
    if not chosen:
        try:
            number = int(gdb.parse_and_eval(argument))
        except (gdb.error, OverflowError):
            raise gdb.GdbError("There is no pool of the name, index or address %s." % argument) from None
        chosen = [pool for pool in pools if number in (pool.index, pool.address)]
    if not chosen:
        raise gdb.GdbError("There is no pool of the name, index or address %s." % argument)
    return chosen


# ---- printing ----


def say(text=""):
    gdb.write(text + "\n")


def print_table(rows):
    """The first row has the headings. Numbers are to the right, text to the left."""
    right = [all(isinstance(cell, int) or cell == NO_CAP for cell in column[1:]) for column in zip(*rows)]
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right))
        say("  " + "  ".join(cells).rstrip())


def caller(address):
    """The function and the line that a call returns to."""
    if address == 0:
        return NOT_RECORDED
    pc = address - 1  # the call, which may be the last of its line or function
    name = None
    try:
        block = gdb.block_for_pc(pc)
    except RuntimeError:  # no code is there
        block = None
    while block is not None and name is None:
        name = block.function and block.function.print_name
        block = block.superblock
    line = gdb.find_pc_line(pc)
    if name is None:
        symbol = gdb.execute("info symbol 0x%x" % pc, to_string=True)
        name = symbol.split(" in section ")[0] if " in section " in symbol else "0x%x" % address
    return "%s at %s:%d" % (name, line.symtab.filename, line.line) if line.symtab is not None else name


def newest():
    """The latest time on record in any pool: the now of a core, which has no clock."""
    latest = 0
    for pool in pools_of(""):
        try:
            latest = max(latest, pool.newest() if pool.damage is None else 0)
        except Damaged:
            pass
    return latest


def seconds(ns):
    return "%.3f s" % (ns / 1e9)


class Command(gdb.Command):
    """What the commands share."""

    def __init__(self):
        super().__init__("bufferpool " + type(self).__name__.lower(), gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        try:
            self.run(argument)
        except Damaged as damage:
            raise gdb.GdbError("damaged: %s" % damage) from None
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from None

    def run(self, argument):
        """For each pool; what is wrong with one leaves the others alone."""
        self.begin()
        for pool in pools_of(argument):
            try:
                if pool.damage is not None:
                    raise Damaged("the pool at 0x%x: %s" % (pool.address, pool.damage))
                self.show(pool)
            except Damaged as damage:
                say("%s: damaged: %s" % (pool.title(), damage))

    def begin(self):
        pass


class Pools(Command):
    """List the pools: bufferpool pools [POOL]

    As bufferpool_stats has them: live is the buffers that callers hold, idle those in thread caches and in the depot (with
    what is held back there), bypass how many more callers hold than the cap. Of the memory for blocks, retained is what is
    free and kept, mapped the address space, both in bytes. POOL is a name, an index or an address."""

    def run(self, argument):
        headings = ("index", "name", "live", "idle-threads", "idle-depot", "bypass", "cap", "pressure", "waiters")
        headings += ("retained", "mapped")
        rows, damages = [headings], []
        for pool in pools_of(argument):
            try:
                if pool.damage is not None:
                    raise Damaged("the pool at 0x%x: %s" % (pool.address, pool.damage))
                live, idle, bypass = pool.totals()
                state = pool["pressure.state"]
                pressure = PRESSURE[state] if state < len(PRESSURE) else "?"
                cap = pool["max_live"] or NO_CAP
                in_depot = pool.in_depot() + pool["quarantine.n"]
                row = (pool.index, pool.name, live, idle, in_depot, bypass, cap, pressure, pool.waiters())
                row += pool.memory()
                if pool.library.label:
                    row, rows[0] = row + (pool.library.label,), headings + ("library",)
                rows.append(row)
            except Damaged as damage:
                damages.append("%s: damaged: %s" % (pool.title(), damage))
        if len(rows) > 1:
            print_table(rows)
        for damage in damages:
            say(damage)


class Depot(Command):
    """List the magazines in the depot: bufferpool depot [POOL]

    From the top, each with its buffers, in the order in which they would be handed out; then those of the shards. POOL is
    a name, an index or an address."""

    def show(self, pool):
        magazines = buffers = 0
        lines = []
        damage = None
        try:
            for magazine in pool.magazines():
                magazines += 1
                buffers += len(magazine)
                caps = sum(desc["pub.cap"] for desc in magazine)
                lines.append("  magazine %d: %d buffers, %d bytes" % (magazines, len(magazine), caps))
                cells = ["0x%x" % desc.address for desc in magazine]
                lines += ["    " + " ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]
                for desc in magazine:
                    if pool.state(desc) not in (IDLE, IDLE_GROWN):
                        lines.append("    damaged: 0x%x should be idle: %s" % (desc.address, pool.state_name(desc)))
        except Damaged as found:
            damage = found
        say("%s: %d buffers in %d magazines" % (pool.title(), buffers, magazines))
        if lines:
            say("\n".join(lines))
        if damage is not None:
            raise damage
        counted = pool.in_depot()
        if counted != buffers:
            say("  %d buffers by the count of the top magazine" % counted)


class Caches(Command):
    """List the thread caches: bufferpool caches [POOL]

    The buffers in each (n), what came to its thread less what left it (moved), how many it may hold (limit), and the thread
    that has it, as far as gdb can tell. "shared" is for threads without a cache. POOL is a name, an index or an address."""

    def begin(self):
        self.owners = {}

    def show(self, pool):
        if pool.library not in self.owners:
            self.owners[pool.library] = pool.library.owners()
        owners = self.owners[pool.library]
        rows = [("cache", "owned", "gate", "n", "moved", "limit", "thread")]
        damage = None
        try:
            for cache in pool.caches():
                moved = cache.moved - (1 << 32) if cache.moved >> 31 else cache.moved
                owned = "shared" if cache.shared else "yes" if cache.view["owned"] else "no"
                thread = owners.get(cache.address, "?" if owned == "yes" else "-")
                rows.append(("0x%x" % cache.address, owned, cache.gate(), cache.n, moved, cache.view["limit"], thread))
        except Damaged as found:
            damage = found
        say("%s: %d thread caches" % (pool.title(), max(len(rows) - 2, 0)))
        print_table(rows)
        if damage is not None:
            raise damage


class Holders(Command):
    """List the buffers that are held: bufferpool holders [POOL]

    Grouped by the caller that got them, the oldest first; ages are up to the last get or put on record. Callers are on record
    if the program runs with BUFFERPOOL_DEBUG=holders, or since bufferpool_record_holders(1). POOL is a name, an index or an address."""

    def begin(self):
        self.latest = newest()

    def show(self, pool):
        groups, damages = {}, []
        for index, desc in pool.descriptors():
            state = pool.state(desc)
            if state is None and desc["word"] != 0:
                damages.append("  damaged: 0x%x: %s" % (desc.address, pool.state_name(desc)))
            if state not in HELD:
                continue
            text = "    0x%x  cap %d  len %d" % (desc.address, desc["pub.cap"], desc["pub.len"])
            if state != 2:
                text += "  " + STATES[state].replace("live, ", "")
            record = None
            try:
                record = pool.record(index)
            except Damaged as damage:
                damages.append("  damaged: %s" % damage)
            if record is not None and record.layout.find("turn") is not None and record["turn"] != RECORD_GOT:
                record = None
            got_by, age = (record["got_by"], max(self.latest - record["got_ns"], 0)) if record is not None else (0, 0)
            if got_by != 0:
                text += "  for %s  thread %d" % (seconds(age), record["got_tid"])
            groups.setdefault(caller(got_by), []).append((-age if got_by != 0 else 0, index, text))
        n = sum(map(len, groups.values()))
        beyond = n - pool["max_live"] if pool["max_live"] else 0
        say("%s: %d held%s" % (pool.title(), n, ", %d more than the cap" % beyond if beyond > 0 else ""))
        for name, held in sorted(groups.items(), key=lambda group: min(group[1])):
            say("  %d: %s" % (len(held), name if name == NOT_RECORDED else "got by " + name))
            say("\n".join(text for _, _, text in sorted(held)))
        for text in damages:
            say(text)


class Buffer(Command):
    """Say what an address is: bufferpool buffer ADDRESS

    ADDRESS is an expression: a handle, its data pointer, or an address in the bytes of a buffer. Says whose the buffer is, its
    state, who got and put it, and where it idles."""

    def run(self, argument):
        if not argument.strip():
            raise gdb.GdbError("bufferpool buffer ADDRESS: which?")
        value = gdb.parse_and_eval(argument)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT and value.address is not None:
            value = value.address
        address = int(value) & ((1 << 64) - 1)
        pools = [pool for pool in pools_of("") if pool.damage is None]
        for find in (self.find_handle, self.find_block):
            for pool in pools:
                try:
                    found = find(pool, address)
                except Damaged as damage:
                    say("%s: damaged: %s" % (pool.title(), damage))
                    continue
                if found is not None:
                    self.show_buffer(pool, *found)
                    return
        say("0x%x is neither a buffer of libbufferpool nor in the bytes of one" % address)

    @staticmethod
    def find_handle(pool, address):
        covered = pool.covers(address)
        if covered is None:
            return None
        index, offset = covered
        what = "the handle of a buffer"
        if offset != 0:
            what = "%d bytes behind the start of a handle, 0x%x" % (offset, address - offset)
        return index, pool.desc(index, "the table"), "0x%x is %s" % (address, what)

    @staticmethod
    def find_block(pool, address):
        pad = pool["heap.alignment"]
        for index, desc in pool.descriptors():
            data, cap = desc["pub.data"], desc["pub.cap"]
            if data == 0 or not data - pad <= address < data + cap:
                continue
            if address == data:
                what = "the data of the buffer 0x%x" % desc.address
            elif address > data:
                what = "byte %d of the buffer 0x%x" % (address - data, desc.address)
            else:
                what = "%d bytes in front of the data of the buffer 0x%x" % (data - address, desc.address)
            return index, desc, "0x%x is %s" % (address, what)
        return None

    def show_buffer(self, pool, index, desc, what):
        say("%s, of %s" % (what, pool.title()))
        data = desc["pub.data"]
        say("  state  %s" % pool.state_name(desc))
        say("  data   0x%x  cap %d  len %d" % (data, desc["pub.cap"], desc["pub.len"]))
        if data != 0:
            say("  prefix %s" % self.prefix(pool, desc))
        record = None
        try:
            record = pool.record(index)
        except Damaged as damage:
            say("  damaged: %s" % damage)
        for verb in ("got", "put"):
            by = record[verb + "_by"] if record is not None else 0
            if by == 0:
                say("  %s    by: %s" % (verb, NOT_RECORDED))
                continue
            ago = seconds(max(newest() - record[verb + "_ns"], 0))
            say("  %s    by %s, %s ago, thread %d" % (verb, caller(by), ago, record[verb + "_tid"]))
        if pool.state(desc) in (FREE, IDLE, IDLE_GROWN):
            say("  place  %s" % self.place(pool, desc))

    @staticmethod
    def prefix(pool, desc):
        """block.c: the two words in front of data."""
        word, data = pool.library.word, desc["pub.data"]
        try:
            owner, check = numbers(read(data - 2 * word, 2 * word, "prefix"), word, pool.library.order)
        except Damaged as damage:
            return "damaged: %s" % damage
        mask = (1 << 8 * word) - 1
        if (owner, check) == (desc.address, (~owner ^ data << 7 ^ 0x5BD1E995) & mask):
            return "intact"
        return "damaged: the bytes in front of data were overwritten"

    @staticmethod
    def place(pool, desc):
        """Where a buffer is that nobody holds."""
        if pool.state(desc) == FREE:
            return "free"
        try:
            for cache in pool.caches():
                buffers = cache.buffers()
                if desc.address in buffers:
                    thread = pool.library.owners().get(cache.address, "?")
                    return "cache 0x%x, number %d of %d from the coldest; thread %s" % (
                        cache.address, buffers.index(desc.address) + 1, len(buffers), thread)
            held_back = pool.held_back()
            if desc.address in held_back:
                return "quarantine, number %d of %d from the oldest" % (held_back.index(desc.address) + 1, len(held_back))
            for number, magazine in enumerate(pool.magazines(), 1):
                if desc.address in [each.address for each in magazine]:
                    return "depot, in magazine %d from the top" % number
        except Damaged as damage:
            return "not found: damaged: %s" % damage
        return "on its way: a call is moving it, or it is given to one who waits"


class Address(gdb.Function):
    """$bufferpool(POOL): the address of a pool, for a call such as call (long) bufferpool_trim($bufferpool("requests"))

    POOL is a name in quotation marks, an index or an address. The function calls nothing in the program."""

    def __init__(self):
        super().__init__("bufferpool")

    def invoke(self, pool):
        text = pool.type.strip_typedefs().code in (gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_PTR)
        chosen = pools_of(pool.string() if text else str(int(pool)))
        if len(chosen) > 1:
            raise gdb.GdbError("Several copies of libbufferpool have such a pool: use its address.")
        return gdb.Value(chosen[0].address).cast(gdb.lookup_type("void").pointer())


class Bufferpool(gdb.Command):
    """What libbufferpool has in this process or core: pools, idle buffers, and who holds them."""

    def __init__(self):
        super().__init__("bufferpool", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE, True)


def move_out(there, before):
    import runpy

    path = there["__file__"]
    there.clear()
    there.update(before)
    runpy.run_path(path, run_name="bufferpool_gdb")


if __name__ == "__main__" and "__file__" in globals():
    move_out(globals(), found)
else:
    for command in (Bufferpool, Pools, Depot, Caches, Holders, Buffer, Address):
        command()
