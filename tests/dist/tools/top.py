# SPDX-License-Identifier: MIT
#
# top.py table|rates|errors|hostile|demo|process|screen: bufferpool-top as a user sees it. Exit status 77: something is
# not installed. Nothing sleeps and hopes: where the screen changes by itself, it is looked at until it has.
#
# Environment: SOURCE (the tree), DEMO (the demonstration)

import contextlib
import http.server
import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

SOURCE, DEMO = os.environ["SOURCE"], os.environ["DEMO"]
TOP = os.path.join(SOURCE, "tools", "bufferpool-top")
CANNED = os.path.join(SOURCE, "tests", "dist", "tools", "metrics.txt")
os.environ["LC_ALL"] = "C.UTF-8"
for proxy in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[proxy]

EXPECTED = """\
POOL         LIVE  BEYOND  CAP  WAIT  THREADS  DEPOT  BYTES  FREE  GETS/s  REFUSED/s  WAIT ms  HELD SO FAR
http          256      44  256     7        0      0     5G  1.5k       -          -        -  █
default         3       0    -     0        5     70  2.44M     0       -          -        -  █
a "b" \\ c?d     0       0    -     -        -      -      -     -       -          -        -
budget requests: 768k of 1M (75 %)
"""


def check(holds, *what):
    if not holds:
        print(*what, sep="\n")
        sys.exit(1)


def skip(why):
    print("SKIPPED:", why)
    sys.exit(77)


def top(*arguments, **more):
    return subprocess.run([sys.executable, TOP, *arguments], capture_output=True, encoding="utf-8", timeout=100,
                          stdin=subprocess.DEVNULL, check=False, **more)


def prints(expected, *arguments):
    done = top(*arguments)
    check(done.returncode == 0 and done.stdout == expected and done.stderr == "", arguments, done, expected)


def fails(status, pattern, *arguments, **more):
    done = top(*arguments, **more)
    check(done.returncode == status and done.stdout == "" and re.search(pattern, done.stderr), arguments, pattern, done)
    check(status != 1 or done.stderr.count("\n") == 1, done.stderr)


@contextlib.contextmanager
def server(answer):
    """answer(path) returns the status and the text. Yields host and port, and what stops it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = answer(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()

        def stop():
            served.shutdown()
            served.server_close()

        yield "127.0.0.1:%d" % served.server_port, stop
        stop()


@contextlib.contextmanager
def raw_server(answer):
    """answer(send) writes what it likes behind a request, head and all. Yields host and port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            with contextlib.suppress(OSError):  # the reader may have had enough
                answer(self.wfile.write)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield "127.0.0.1:%d" % served.server_address[1]
        served.shutdown()


@contextlib.contextmanager
def demo():
    """Yields the process and the beginning of its URL."""
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(root, "hello"), "w", encoding="utf-8") as file:
            file.write("hello\n")
        environment = dict(os.environ, BUFFERPOOL_DEBUG="holders")
        with subprocess.Popen([DEMO, "--serve", "0", "--root", root], env=environment, encoding="utf-8",
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            url = re.search(r"http://\S+", process.stdout.readline())[0]
            try:
                for _ in range(3):
                    urllib.request.urlopen(url + "hello").read()
                yield process, url
            finally:
                process.send_signal(signal.SIGINT)
                process.stdout.read()


def row_of(pool, text):
    rows = [line.split() for line in text.splitlines() if line.startswith(pool + " ")]
    check(len(rows) == 1, "no one row of " + pool, text)
    return rows[0]


# ---- the cases ----


def table():
    prints(EXPECTED, "--once", "file://" + CANNED)
    with open(CANNED, encoding="utf-8") as file:
        canned = file.read()
    with server(lambda path: (200, canned) if path == "/metrics" else (404, "")) as (address, _):
        prints(EXPECTED, "--once", "http://%s/metrics" % address)
        prints(EXPECTED, "--once", address)
        prints(EXPECTED, "--once", "http://%s/" % address)
    lines = EXPECTED.splitlines(keepends=True)
    backwards = lines[:1] + lines[3:0:-1] + lines[4:]
    prints("".join(backwards), "--once", "-r", "file://" + CANNED)
    prints("".join(lines[:1] + [lines[3], lines[2], lines[1]] + lines[4:]), "--once", "-s", "name", "file://" + CANNED)
    prints("".join(lines[:1] + [lines[2], lines[3], lines[1]] + lines[4:]), "--once", "-s", "idle", "file://" + CANNED)
    plain = top("--once", "file://" + CANNED, env=dict(os.environ, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"))
    check(plain.returncode == 0 and plain.stdout == EXPECTED.replace("█", "#"), plain)


def load():
    """bufferpool-top as a module."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("top", TOP)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("top", loader))
    loader.exec_module(module)
    return module


def rates():
    """With times of the test's own."""
    module = load()
    view = module.View()

    def reading(at, live, gets, refused=0, waits=0, seconds=0.0, cap=8):
        sample = module.read_metrics(
            'bufferpool_live_buffers{pool="p"} %d\nbufferpool_max_live_buffers{pool="p"} %d\n'
            'bufferpool_gets_total{pool="p",source="thread"} %d\nbufferpool_gets_total{pool="p",source="depot"} 5\n'
            'bufferpool_gets_total{pool="p",source="refused"} %d\nbufferpool_waits_total{pool="p"} %d\n'
            'bufferpool_wait_seconds_total{pool="p"} %s\n' % (live, cap, gets, refused, waits, seconds)
        )
        sample.time = at
        view.add(sample)
        return module.table(view, "live", False)[0][1].split(None, 9)[9]

    def shows(*what):
        row = reading(*what)
        return [cell for cell in re.split(r"  +", row)]

    check(shows(100.0, 8, 1000) == ["-", "-", "-", "█"], "first")
    check(shows(102.0, 4, 1010, 4, 2, 0.5) == ["5", "2", "250", "█▄"], "second")
    check(shows(104.0, 1, 3010, 4, 2, 0.5) == ["1000", "0", "-", "█▄▁"], "third")
    check(shows(106.0, 1, 5) == ["-", "-", "-", "█▄▁▁"], "a restart")
    check(shows(106.5, 0, 6) == ["2", "0", "-", "█▄▁▁"], "after it")
    for second in range(100):
        row = shows(200.0 + second, 16, 6)
    check(row[3] == "█" * 24, "the line of the past has an end", row)
    check(module.size(1023) == "1023" and module.size(1024) == "1k" and module.size(2.0**50) == "1024T", "sizes")


def errors():
    with server(lambda path: (200, "hello\n") if path == "/hello" else (404, "")) as (address, stop):
        fails(1, "bufferpool-top: http://%s/metrics: 404 " % address, "--once", address)
        fails(1, "/hello: there are no metrics of libbufferpool", "--once", address + "/hello")
        stop()
        fails(1, "/metrics: Connection refused", "--once", address)
    fails(1, "file:///nowhere: ", "--once", "file:///nowhere")
    fails(1, "port", "--once", "http://host:port")
    fails(1, "there is no terminal", "file://" + CANNED)
    fails(2, "usage: ", "-n", "0", "x")
    fails(2, "usage: ", "-s", "nothing", "x")
    fails(2, "usage: ")
    with subprocess.Popen(["true"]) as gone:
        pass
    fails(1, "there is no process %d" % gone.pid, "--once", str(gone.pid))
    fails(1, "gdb is not installed", "--once", str(os.getpid()), env=dict(os.environ, PATH="/nowhere"))
    if shutil.which("gdb") is None:
        skip("no gdb")
    other = subprocess.Popen(["sleep", "1000"])
    try:
        not_ours(str(other.pid))
    finally:
        other.kill()
        other.wait()


def hostile():
    """A server that means ill, or is broken."""
    escapes()
    figures()
    names()
    long_pages()
    many_pools()


ESCAPE = "\x1b]0;title\x07\x1b[2J\x9b1m"  # sets the title of a terminal, clears it, and writes in bold


def escapes():
    """Nothing that a server says reaches the terminal as a control character."""
    heads = ("HTTP/1.0 500 %s\r\n\r\n", "%s\r\n\r\n", "HTTP/1.0 302 %s\r\n\r\n")
    for head in heads:
        with raw_server(lambda send, head=head: send((head % ESCAPE).encode("latin-1"))) as address:
            done = top("--once", address)
        said = done.stdout + done.stderr
        check(done.returncode == 1 and said.endswith("\n") and said[:-1].isprintable(), head, done)
        check("title" in said, head, done)


def figures():
    """What is no figure is as if it were not there."""
    module = load()
    good = 'bufferpool_live_buffers{pool="p"} 3\n'
    bad = ("x", "nan", "inf", "-inf", "1e999", "-1", "1e300", "1_0", "9" * 400, "\N{ARABIC-INDIC DIGIT ONE}")
    for value in bad:
        view = module.View()
        for _ in range(2):
            text = "".join('%s{pool="p"} %s\n' % (metric, value) for metric, label in module.FIGURES if label is None)
            sample = module.read_metrics(good + text)
            sample.time = len(view.history)
            view.add(sample)
            lines, _ = module.table(view, "ms", False)
        check(re.fullmatch(r"p +3( +-){10} +█+", lines[1]), value, lines)
    budget = 'bufferpool_budget_used_bytes{budget="b"} 1\n'
    for other in ("bufferpool_budget_pools", "bufferpool_budget_waits"):
        sample = module.read_metrics(good + budget + '%s{budget="b"} 1\n' % other)
        check(sample.budgets == [], other, sample.budgets)
    view.add(module.read_metrics(good + budget + 'bufferpool_budget_bytes{budget="b"} 1e-300\n'))
    check(list(module.below(view)) == ["budget b: 1 of 0"], list(module.below(view)))
    sample = module.read_metrics(good + budget + "".join('%s{budget="b"} 4\n' % metric for metric in (
        "bufferpool_budget_bytes", "bufferpool_budget_waits")))
    check(sample.budgets == [("b", 1, 4)], sample.budgets)


def names():
    """Only a newline ends a line: a name may have all else that Python takes for the end of one."""
    module = load()
    for odd in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        sample = module.read_metrics('# HELP x\nbufferpool_live_buffers{pool="a%sb"} 3\n' % odd)
        check([(pool.name, pool.live) for pool in sample.pools] == [("a%sb" % odd, 3)], repr(odd), sample.pools)


def long_pages():
    """A page has an end, in bytes and in time."""
    module = load()
    module.MOST_BYTES, module.READ_SECONDS = 1 << 20, 0.5
    line = b'bufferpool_live_buffers{pool="p"} 3\n'

    def endless(send):
        send(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            send(line * 100)

    def slow(send):
        send(b"HTTP/1.0 200 OK\r\n\r\n" + line)
        while True:
            send(b"\n")
            time.sleep(0.01)

    def cut(send):
        send(b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n" + line)

    def cut_chunk(send):
        send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(line), line))

    wrong = ((endless, "more than 1 MiB"), (slow, "not come within 0.5 s"), (cut, "ends before its end"),
             (cut_chunk, "IncompleteRead"))
    for answer, what in wrong:
        with raw_server(answer) as address:
            try:
                module.Url(address).read()
                check(False, "%s is read" % answer.__name__)
            except module.Failure as failure:
                check(what in str(failure), answer.__name__, failure)


def many_pools():
    """As many as a process can have; names that change; names that fill the memory."""
    module = load()
    view = module.View()
    lines = 'bufferpool_live_buffers{pool="p%d"} 3\nbufferpool_gets_total{pool="p%d",source="fresh"} 7\n'
    for turn in range(2):
        sample = module.read_metrics("".join(lines % (i, i) for i in range(50000)))
        sample.time = turn
        view.add(sample)
    rows, _ = module.table(view, "gets", False)
    check(len(rows) == 50001 and rows[1].split()[9] == "0", rows[:3])
    view.add(module.read_metrics(lines % (7, 7)))
    check(list(view.history) == ["p7"] and len(view.history["p7"]) == 3, "what is gone is remembered")
    view.add(module.read_metrics(lines % (1, 1) + 'bufferpool_live_buffers{pool="%s"} 3\n' % ("n" * 1000)))
    rows, _ = module.table(view, "name", False)
    check(all(len(row) < 200 for row in rows) and rows[1].startswith("n" * 60), rows)
    try:
        module.read_metrics("".join(lines % (i, i) for i in range(65537)))
        check(False, "more pools than there can be")
    except module.Failure as failure:
        check("pools" in str(failure), failure)


def not_ours(pid):
    """A process without the library, and one that another user may not look into."""
    if "ptrace" not in top("--once", pid).stderr:  # where it may be attached to
        fails(1, "process %s: There is no libbufferpool in this program" % pid, "--once", pid)
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory() as folder:  # that the other user can read
        os.chmod(folder, 0o755)
        os.mkdir(os.path.join(folder, "gdb"))
        copy = shutil.copy(TOP, folder)
        shutil.copy(os.path.join(SOURCE, "tools", "gdb", "bufferpool-gdb.py"), os.path.join(folder, "gdb"))
        done = subprocess.run(["/usr/bin/python3", copy, "--once", pid], user=65534, extra_groups=[], cwd="/",
                              capture_output=True, encoding="utf-8", timeout=100, check=False)
    check(done.returncode == 1 and "gdb may not attach to process %s: be its user or root" % pid in done.stderr, done)


def watches_demo():
    with demo() as (_, url):
        done = top("--once", url)
        check(done.returncode == 0, done)
        name, live, beyond, cap, waiting = row_of("responses", done.stdout)[:5]
        check((name, live, beyond, cap, waiting) == ("responses", "1", "0", "256", "0"), done.stdout)
        row_of("default", done.stdout)
        holders = urllib.request.urlopen(url + "holders").read().decode()
        # by the name of the demonstration's own function, which only a program linked with -rdynamic shows
        check(re.search(r"responses: \w+\+0x", holders), holders)


def process():
    if shutil.which("gdb") is None:
        skip("no gdb")
    with demo() as (served, url):
        done = top("--once", str(served.pid))
        if "ptrace" in done.stderr or "no debugging information" in done.stderr:
            skip(done.stderr)
        check(done.returncode == 0, done)
        row = row_of("responses", done.stdout)
        check(row[1:5] == ["0", "0", "256", "0"] and int(row[5]) + int(row[6]) >= 1, done.stdout)
        check(row[7] == "-" and row[9:12] == ["-", "-", "-"], done.stdout)
        with open("/proc/%d/status" % served.pid, encoding="utf-8") as status:
            check("TracerPid:\t0\n" in status.read(), "gdb is still there")
        check(urllib.request.urlopen(url + "hello").read() == b"hello\n", "the server does not go on")


class Terminal:
    """bufferpool-top in tmux, which is asked what is on the screen."""

    def __init__(self, folder, *arguments, environment=""):
        self.tmux = ["tmux", "-u", "-f", "/dev/null", "-S", os.path.join(folder, "socket")]
        self.log = tempfile.mktemp(dir=folder)
        command = "trap : INT; %s '%s' '%s' %s 2>'%s.said'; echo status $? >'%s'"
        command %= (environment, sys.executable, TOP, " ".join(arguments), self.log, self.log)
        self.name = os.path.basename(self.log)
        self.ask("new-session", "-d", "-s", self.name, "-x", "130", "-y", "10", "sh", "-c", command)

    def ask(self, *what, check=True):
        return subprocess.run(self.tmux + list(what), check=check, capture_output=True, encoding="utf-8").stdout

    def there(self, what, *more):
        return self.ask(what, "-t", self.name, *more)

    def until(self, holds, what):
        """Looks until holds(the screen)."""
        end = time.monotonic() + 60
        while True:
            screen = self.there("capture-pane", "-p")
            if holds(screen):
                return screen
            check(time.monotonic() < end, "never seen: " + what, screen)

    def press(self, key):
        self.there("send-keys", key)

    def until_ended(self):
        end = time.monotonic() + 60
        while not os.path.exists(self.log) or os.path.getsize(self.log) == 0:
            check(time.monotonic() < end, "it does not end")
        with open(self.log, encoding="utf-8") as log, open(self.log + ".said", encoding="utf-8") as said:
            return log.read() + said.read()


def order_of(screen):
    return re.findall(r"^(p\d+) ", screen, re.M)


def screen():
    if shutil.which("tmux") is None:
        skip("no tmux")
    gets = 0
    lock = threading.Lock()

    def answer(_):
        nonlocal gets
        with lock:
            gets += 100
            return 200, "".join(
                'bufferpool_live_buffers{pool="p%d"} %d\nbufferpool_max_live_buffers{pool="p%d"} %d\n'
                'bufferpool_gets_total{pool="p%d",source="thread"} %d\n' % (i, 10 - i, i, 100 + i, i, gets * i)
                for i in range(10)
            )

    with tempfile.TemporaryDirectory() as folder, server(answer) as (address, stop):
        terminal = Terminal(folder, "-n", "0.2", address)
        try:
            # as many rows as there is room for; the screen may be seen while it is drawn, from above to below
            rows = ["p%d" % i for i in range(7)]
            first = terminal.until(lambda text: order_of(text) == rows and "q quit" in text, "the table")
            check("http://%s/metrics" % address in first and "LIVE" in first, first)
            p1 = re.compile(r"^p1 +9 +- +101( +-){5} +[1-9].*▁▁▁", re.M)
            terminal.until(p1.search, "rates, and the past")
            terminal.press("r")
            terminal.until(lambda text: order_of(text) == ["p9", "p8", "p7", "p6", "p5", "p4", "p3"], "reversed")
            terminal.press("Down")
            terminal.until(lambda text: order_of(text)[0] == "p8", "scrolled")
            terminal.press("Up")
            terminal.press("r")
            terminal.press("<")
            terminal.until(lambda text: "sorted by name" in text and order_of(text)[0] == "p0", "sorted by name")
            for _ in range(3):
                terminal.press(">")
            terminal.until(lambda text: "sorted by cap" in text and order_of(text)[0] == "p9", "sorted by cap")
            terminal.there("resize-window", "-x", "40", "-y", "6")
            terminal.until(lambda text: order_of(text) == ["p9", "p8", "p7"], "a smaller window")
            terminal.press("r")  # drawn once more, to the last cell
            terminal.until(lambda text: order_of(text) == ["p0", "p1", "p2"], "the same, reversed")
            terminal.press("r")
            terminal.there("resize-window", "-x", "3", "-y", "1")
            terminal.there("resize-window", "-x", "130", "-y", "20")
            terminal.until(lambda text: len(order_of(text)) == 10, "a larger window")
            other = Terminal(folder, address)
            other.until(lambda text: "p0" in text, "another table")
            other.press("C-c")
            check(other.until_ended() == "status 130\n", "it did not end by Ctrl-C")
            blind = Terminal(folder, address, environment="TERM=nonsense").until_ended()
            check(blind.startswith("status 1\nbufferpool-top: the terminal nonsense: "), blind)
            stop()
            # the last table stays
            terminal.until(lambda text: "Connection refused" in text and len(order_of(text)) == 10, "what is wrong")
            terminal.press("q")
            check(terminal.until_ended() == "status 0\n", "it did not end well")
        finally:
            terminal.ask("kill-server", check=False)


CASES = {"table": table, "rates": rates, "errors": errors, "hostile": hostile, "demo": watches_demo,
         "process": process, "screen": screen}
CASES[sys.argv[1]]()
