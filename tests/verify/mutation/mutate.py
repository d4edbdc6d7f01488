#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutate.py - makes one mistake at a time in src/ and tells whether the unit tests notice

With --method tokens each mutant differs from the source in one token (operator, constant, memory order), one negated
condition or one call left out, and is built by itself. With --method statements a mutant differs in a statement: the
statement is left out or swapped with the next, a loop runs once, an increment is done twice, an `else` is left out
(statements.py). All of these are in one build, and the environment says which of them a process has. A mutant is

    stillborn    it does not compile
    unbuilt      it is in code that this machine's build does not have
    same         its object code is that of the original: on this machine no test can tell it
    caught       a test failed, crashed or did not end
    survived     all passed. judged.tsv has the survivors that were looked at, with the reason. Those that are
                 equivalent, or right but slower, do not count; those that other tests notice do.

Only ThreadSanitizer surely sees a lock that is left out, and only valgrind a leak. Here both may survive.

The results are in the folder too: after an interruption, or with a larger --count, --go-on repeats none of them.

Exits with 1 if fewer than --floor per cent of the mutants that compile and are not equivalent were caught.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import shlex
import subprocess
import sys
import tempfile
import threading
import time

import statements

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, '..', '..', '..'))

# ---- mutants ----

TOKEN = re.compile(r'''
    (?P<comment>/\*.*?\*/|//[^\n]*)
  | (?P<line>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
  | (?P<number>\b(?:0[xX][0-9a-fA-F]+|[0-9]+)[uUlL]*\b)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<operator>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])
''', re.X | re.S | re.M)

REPLACED = {'<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==', '&&': '||', '||': '&&', '+': '-', '-': '+',
            '*': '/', '/': '*', '%': '/', '<<': '>>', '>>': '<<', '&': '|', '|': '&', '+=': '-=', '-=': '+=', '++': '--',
            '--': '++', '|=': '&=', '&=': '|='}
AMBIGUOUS = {'+', '-', '*', '&'}  # with nothing to their left they are unary
ORDER = re.compile(r'(\w+)_(acquire|release|seq_cst)$')
TYPES = {'struct', 'const', 'char', 'void', 'int', 'unsigned', 'bool', 'enum', 'long', 'short'}


class Mutant:
    """One replacement in one file. Its key names it by the text of its line, so that the key lasts when lines move: file,
    line, mutation, which of several in the line, and in which of several equal lines."""

    def __init__(self, path, text, start, end, new, kind):
        self.path, self.start, self.end, self.new, self.kind = path, start, end, new, kind
        self.old = text[start:end]
        self.number = text.count('\n', 0, start) + 1
        first = text.rfind('\n', 0, start) + 1
        last = text.find('\n', start)
        line = text[first:last]
        self.key = (path, line.strip(), f'{kind} {" ".join(self.old.split())} -> {" ".join(new.split())}',
                    str(text[first:start].count(self.old) + 1))

    def __str__(self):
        return f'{self.path}:{self.number}: {self.key[2]}'


def tokens_of(text):
    return [(m.lastgroup, m.group(), m.start(), m.end()) for m in TOKEN.finditer(text)
            if m.lastgroup not in ('comment', 'line')]


def closing(tokens, i):
    """The index of the parenthesis that closes the one at i."""
    depth = 0
    for k in range(i, len(tokens)):
        depth += {'(': 1, ')': -1}.get(tokens[k][1], 0)
        if depth == 0:
            return k
    return None


def in_functions(tokens):
    """The indexes of the tokens in bodies of functions: in braces that follow a parenthesis, or are in such braces."""
    stack, inside = [], []
    skip_until = -1
    for i, (kind, token, _, _) in enumerate(tokens):
        if token == '{':
            stack.append(bool(stack and stack[-1]) or (i > 0 and tokens[i - 1][1] == ')' and not stack))
        elif token == '}' and stack:
            stack.pop()
        elif token in ('_Static_assert', '__attribute__') and i + 1 < len(tokens):
            skip_until = closing(tokens, i + 1) or i
        if stack and stack[-1] and i > skip_until:
            inside.append(i)
    return inside


def mutants_of(path, text, operations):
    tokens = tokens_of(text)
    found = []

    def add(start, end, new, kind):
        found.append(Mutant(path, text, start, end, new, kind))

    for i in in_functions(tokens):
        kind, token, start, end = tokens[i]
        before = tokens[i - 1]
        if kind == 'operator' and token in REPLACED:
            operand = before[0] in ('word', 'number') and before[1] not in ('return', 'case') or before[1] in (')', ']')
            if token in AMBIGUOUS and not operand:
                continue
            if token == '*' and (before[1] in TYPES or before[1].endswith('_t') or tokens[i - 2][1] in TYPES):
                continue  # a declaration
            add(start, end, REPLACED[token], 'operator')
        elif token == '!':
            add(start, end, '', 'operator')
        elif kind == 'number':
            add(start, end, '1' if token == '0' else f'({token} + 1)', 'constant')
        elif kind == 'word' and token in ('if', 'while') and tokens[i + 1][1] == '(':
            last = closing(tokens, i + 1)
            if last is not None:
                inner = text[tokens[i + 1][3]:tokens[last][2]]
                add(tokens[i + 1][3], tokens[last][2], f'!({inner})', 'condition')
        elif kind == 'word' and ORDER.match(token):
            name = ORDER.match(token).group(1)
            if name == 'memory_order':
                add(start, end, 'memory_order_relaxed', 'order')
            elif f'{name}_relaxed' in operations:
                add(start, end, f'{name}_relaxed', 'order')
        if kind == 'word' and tokens[i + 1][1] == '(' and before[1] in ('{', '}', ';', 'else') and \
                token not in ('if', 'while', 'for', 'switch', 'return', 'sizeof', 'do'):
            last = closing(tokens, i + 1)
            if last is not None and tokens[last + 1][1] == ';':
                add(start, tokens[last + 1][3], ';', 'call')
    return found


def sources():
    """The path and the text of each file in src/."""
    src = os.path.join(ROOT, 'src')
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(src) for name in names]
    for path in sorted(paths, key=lambda p: os.path.relpath(p, src)):
        if path.endswith(('.c', '.h')):
            with open(path, encoding='utf-8') as file:
                yield os.path.relpath(path, ROOT), file.read()


def trees_of_statements():
    return [statements.Source(path, text, tokens_of(text)) for path, text in sources()]


def token_mutants():
    found = []
    with open(os.path.join(ROOT, 'src', 'atomic.h'), encoding='utf-8') as file:
        operations = set(re.findall(r'\b(\w+_relaxed)\b', file.read()))
    for path, text in sources():
        found += mutants_of(path, text, operations)
    met = {}
    for mutant in found:  # the same line may come more than once in a file
        met[mutant.key] = met.get(mutant.key, 0) + 1
        if met[mutant.key] > 1:
            mutant.key = (*mutant.key[:3], f'{mutant.key[3]} of line {met[mutant.key]}')
    return found


# ---- building and running ----


class Workshop:
    """A copy of the tree with a build of its own. prepare() may change the copy before it is built."""

    def __init__(self, folder):
        self.tree = os.path.join(folder, 'tree')
        self.build = os.path.join(folder, 'build')
        self.copy()
        subprocess.run(['cmake', '-S', self.tree, '-B', self.build, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=None',
                        '-DCMAKE_EXPORT_COMPILE_COMMANDS=ON', '-DCMAKE_C_FLAGS=-O2 -g0',
                        '-DBUFFERPOOL_BUILD_EXAMPLES=OFF', '-DBUFFERPOOL_INSTALL=OFF', '-DBUFFERPOOL_VALGRIND='],
                       check=True, stdout=subprocess.DEVNULL)
        self.prepare()
        if not self.make('all'):
            sys.exit('the tests do not build')
        self.objects = self.fingerprint()

    def copy(self):
        shutil.rmtree(self.tree, ignore_errors=True)
        os.makedirs(self.tree)
        for path in ('CMakeLists.txt', 'CMakePresets.json', 'bufferpool.pc.in', 'include', 'src', 'cmake', 'tests',
                     'bench'):
            source, target = os.path.join(ROOT, path), os.path.join(self.tree, path)
            if os.path.isdir(source):  # with the times of the files, so that only what is new is built again
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)

    def prepare(self):
        pass

    def make(self, *targets):
        return subprocess.run(['ninja', '-C', self.build, *targets], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0

    def fingerprint(self):
        digest = hashlib.sha256()
        for folder, _, names in sorted(os.walk(os.path.join(self.build, 'CMakeFiles'))):
            for name in sorted(names):
                if name.endswith('.o'):
                    with open(os.path.join(folder, name), 'rb') as file:
                        digest.update(file.read())
        return digest.digest()

    def run(self, test, limit, mutant=0, **variables):
        """Whether the test passes within so many seconds."""
        folder = tempfile.mkdtemp(prefix='mutation-')
        env = dict(os.environ, BUFFERPOOL_TEST_SCALE='small', MUTANT=str(mutant), TMPDIR=folder, **variables)
        with subprocess.Popen([os.path.join(self.build, 'tests', test)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env, start_new_session=True,
                              cwd=folder) as process:
            try:
                return process.wait(timeout=limit) == 0
            except subprocess.TimeoutExpired:
                pass
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                shutil.rmtree(folder, ignore_errors=True)
        # perhaps the machine is too busy: then the test does not end without the mutant either
        return mutant != 0 and not self.run(test, limit) and self.run(test, limit, mutant)

    def tests(self):
        """The unit tests' programs, the quickest first, each with a time that it never needs."""
        listed = subprocess.run(['ctest', '--test-dir', self.build, '--show-only=json-v1'], check=True,
                                stdout=subprocess.PIPE).stdout
        seconds = self.known_seconds()
        programs = []
        for test in json.loads(listed)['tests']:
            command = test.get('command', [''])
            program = os.path.relpath(command[0], os.path.join(os.path.abspath(self.build), 'tests'))
            if len(command) != 1 or not re.fullmatch(r'\w+/test_\w+', program) or program in EXCLUDED or \
                    program in programs:
                continue
            programs.append(program)
            if program in seconds:
                continue
            start = time.monotonic()
            if not self.run(program, 300):
                sys.exit(f'{program} fails without any mistake')
            seconds[program] = time.monotonic() - start
        return [(program, 10 + 10 * seconds[program]) for program in sorted(programs, key=seconds.get)]

    def known_seconds(self):
        """How long the programs take of which that is known already."""
        return {}


# These look at resident memory over long runs. The other tests look at it too, in a hundredth of the time.
EXCLUDED = {'contract/test_resident'}


class Order:
    """Which test comes first: those that caught most in the same file so far, then those with the module's name, then
    the quick ones. Those of several seconds come last."""
    SLOW = 30  # of the limit

    def __init__(self, tests, quick):
        if quick:
            tests = [test for test in tests if test[1] <= self.SLOW]
        self.tests, self.caught, self.lock = tests, {}, threading.Lock()

    def of(self, path):
        with self.lock:
            return sorted(self.tests, key=lambda t: (t[1] > self.SLOW, -self.caught.get((path, t[0]), 0),
                                                     not self.named(path, t[0])))

    @staticmethod
    def named(path, test):
        folder, module = re.fullmatch(r'src/(?:(\w+)/)?(\w+)\.[ch]', path).groups()
        return module in test or folder is not None and test.startswith(folder + '/')

    def note(self, path, test):
        with self.lock:
            self.caught[path, test] = self.caught.get((path, test), 0) + 1


class StatementShop(Workshop):
    """A copy with all mutants in it."""

    def __init__(self, folder, trees, mutants, go_on):
        self.trees, self.go_on = trees, go_on
        self.known, self.reached = {}, {}
        self.stillborn, self.unbuilt, self.plain, self.before = set(), set(), {}, {}
        for i, mutant in enumerate(mutants):
            mutant.id = i + 1
        self.mutants = set(mutants)
        super().__init__(folder)

    def copy(self):
        """Remembers the sources of the run before, which need not be compiled again if they are the same."""
        for path in ['mutant.h'] + [tree.path for tree in self.trees]:
            full = os.path.join(self.tree, path)
            if os.path.exists(full):
                with open(full, encoding='utf-8') as file:
                    self.before[path] = file.read(), os.stat(full)
        super().copy()

    def write_text(self, path, text):
        full = os.path.join(self.tree, path)
        with open(full, 'w', encoding='utf-8') as file:
            file.write(text)
        old, stat = self.before.get(path, ('', None))
        if text == old:
            os.utime(full, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def write(self, tree, mutants):
        self.write_text(tree.path, f'#include "{os.path.abspath(self.tree)}/mutant.h"\n{tree.schema(mutants)}')

    def prepare(self):
        self.write_text('mutant.h', statements.HEADER)
        for tree in self.trees:
            self.write(tree, self.mutants)
        if not self.make('bufferpool_static'):
            self.weed()
        there = set()
        for path in self.commands():
            text = self.compile(path, '-E', '-o', '-').stdout.decode()
            there |= {int(n) for n in re.findall(r'mutant_is\(([0-9]+)\)', text)}
        self.unbuilt = {m for m in self.mutants if m.id not in there} - self.stillborn

    def weed(self):
        """Finds the mutants that do not compile, and takes them out."""
        for tree in self.trees:
            mine = [m for m in tree.mutants if m in self.mutants]
            # a header is compiled with a source that has it
            path = tree.path if tree.path.endswith('.c') else 'src/pool.c'
            if mine and not self.compiles(path):
                for mutant in mine:
                    self.write(tree, {mutant})
                    if not self.compiles(path):
                        self.stillborn.add(mutant)
                self.write(tree, self.mutants - self.stillborn)

    def commands(self):
        """How each source of the archive is compiled, by its path."""
        with open(os.path.join(self.build, 'compile_commands.json'), encoding='utf-8') as file:
            return {os.path.relpath(c['file'], os.path.abspath(self.tree)): c for c in json.load(file)
                    if 'bufferpool_static.dir' in c['command']}

    def compile(self, path, *more):
        entry = self.commands()[path]
        command = shlex.split(entry['command'])
        for i in [i for i, word in enumerate(command) if word in ('-o', '-c')][::-1]:
            del command[i:i + (2 if command[i] == '-o' else 1)]
        return subprocess.run([*command, *more], cwd=entry['directory'], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False)

    def compiles(self, path):
        return self.compile(path, '-fsyntax-only').returncode == 0

    def object_code(self, path, n):
        with tempfile.NamedTemporaryFile(suffix='.o') as file:
            self.compile(path, f'-DMUTANT_CHOSEN={n}', '-c', '-o', file.name)
            return file.read()

    def is_same(self, mutant):
        """Whether the object code of the mutant alone is that of the original."""
        for path in [mutant.path] if mutant.path.endswith('.c') else self.commands():
            if path not in self.plain:
                self.plain[path] = self.object_code(path, 0)
            if self.object_code(path, mutant.id) != self.plain[path]:
                return False
        return True

    def tests(self):
        """Notes which tests run which mutants too. With --go-on that is not asked of a program twice."""
        path = os.path.join(os.path.dirname(self.tree), 'tests.json')
        same = f'{self.objects.hex()} {[mutant.key for mutant in sorted(self.mutants, key=lambda m: m.id)]}'
        if self.go_on and os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                known = json.load(file)
            if known['of'] == same:
                self.known = {test: figures for test, figures in known['tests'].items()
                              if figures[2] == self.digest_of(test)}
        tests = super().tests()
        for test, limit in tests:
            if test in self.known:
                self.reached[test] = set(self.known[test][1])
            else:
                self.reached[test] = self.reached_by(test, limit)
        with open(path, 'w', encoding='utf-8') as file:
            json.dump({'of': same, 'tests': {test: [(limit - 10) / 10, sorted(self.reached[test]),
                                                    self.digest_of(test)] for test, limit in tests}}, file)
        return tests

    def digest_of(self, test):
        path = os.path.join(self.build, 'tests', test)
        if not os.path.exists(path):
            return ''
        with open(path, 'rb') as file:
            return hashlib.sha256(file.read()).hexdigest()

    def known_seconds(self):
        return {test: figures[0] for test, figures in self.known.items()}

    def reached_by(self, test, limit):
        """The ids of the mutants whose code the test runs; all if it does not run while that is noted."""
        with tempfile.TemporaryDirectory(prefix='mutation-') as notes:
            passes = self.run(test, limit, MUTANT_NOTES=notes)
            noted = {int(name) for name in os.listdir(notes)}
        return noted if passes and noted else {mutant.id for mutant in self.mutants}

    def judge(self, mutant, order):
        if mutant in self.stillborn:
            return 'stillborn', ''
        if mutant in self.unbuilt:
            return 'unbuilt', ''
        if self.is_same(mutant):
            return 'same', ''
        for test, limit in order.of(mutant.path):
            # twice: once may have been the busy machine
            if mutant.id in self.reached[test] and not self.run(test, limit, mutant.id) and \
                    not self.run(test, limit, mutant.id):
                order.note(mutant.path, test)
                return 'caught', test
        return 'survived', ''


def judge(shop, mutant, order):
    path = os.path.join(shop.tree, mutant.path)
    with open(path, encoding='utf-8') as file:
        text = file.read()
    try:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text[:mutant.start] + mutant.new + text[mutant.end:])
        if not shop.make('bufferpool_shared', 'bufferpool_static'):
            return 'stillborn', ''
        if shop.fingerprint() == shop.objects:
            return 'same', ''
        for test, limit in order.of(mutant.path):
            if not shop.make(f'tests/{test}'):
                return 'stillborn', ''
            if not shop.run(test, limit):
                order.note(mutant.path, test)
                return 'caught', test
        return 'survived', ''
    finally:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)


def judgements():
    found = {}
    with open(os.path.join(HERE, 'judged.tsv'), encoding='utf-8') as file:
        for line in file:
            if line.strip() and not line.startswith('#'):
                *key, verdict, reason = line.rstrip('\n').split('\t')
                found[tuple(key)] = (verdict, reason)
    return found


def check_judgements(mutants):
    """Whether each line of judged.tsv names a mutant that can still be made."""
    keys = {mutant.key for mutant in mutants}
    gone = [key for key in judgements() if key not in keys]
    for key in gone:
        print('no such mutant any more: ' + '\t'.join(key))
    print(f'{len(judgements()) - len(gone)} judgements of {len(mutants)} mutants')
    return not gone


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--count', type=int, default=0, help='so many, drawn at random; 0: all')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--files', default='', help='only of files whose path matches this expression')
    parser.add_argument('--keys', help='only those that this file lists, as survivors are printed')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--floor', type=float, default=90)
    parser.add_argument('--folder', default='mutation', help='where to build')
    parser.add_argument('--list', action='store_true', help='print the mutants and make none')
    parser.add_argument('--judged', action='store_true', help='check that judged.tsv names mutants that there are')
    parser.add_argument('--method', choices=('tokens', 'statements'), default='tokens', help='what is broken')
    parser.add_argument('--go-on', action='store_true', help='do not repeat what the folder has results of, nor what '
                        'is judged, unless as missed')
    parser.add_argument('--quick', action='store_true', help='without the tests of several seconds; --go-on runs those '
                        'of the survivors')
    args = parser.parse_args()

    trees = trees_of_statements()
    of_statements = [mutant for tree in trees for mutant in tree.mutants]
    if args.judged:
        return 0 if check_judgements(token_mutants() + of_statements) else 1
    mutants = of_statements if args.method == 'statements' else token_mutants()
    mutants, total = drawn(mutants, args)
    if args.list:
        for mutant in sorted(mutants, key=lambda m: (m.path, m.start)):
            print(mutant)
        return 0

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a mutant may take all memory: then it is what the system ends
        with open('/proc/self/oom_score_adj', 'w', encoding='ascii') as file:
            file.write('1000')
    if args.method == 'statements':
        shops = [StatementShop(os.path.join(args.folder, 'statements'), trees, mutants, args.go_on)] * args.jobs
    else:
        shops = [Workshop(os.path.join(args.folder, str(i))) for i in range(args.jobs)]
    order = Order(shops[0].tests(), args.quick)
    print(f'{len(mutants)} of {total} mutants, seed {args.seed}; {len(order.tests)} tests', flush=True)
    results = run_all(mutants, shops, order, args)
    return 0 if report(mutants, results) >= args.floor else 1


def drawn(mutants, args):
    """Those that are to be made, by lot, and of how many."""
    mutants = [m for m in mutants if re.search(args.files, m.path)]
    if args.keys:
        with open(args.keys, encoding='utf-8') as file:
            keys = {line.strip() for line in file}
        mutants = [m for m in mutants if '\t'.join(m.key) in keys]
    total = len(mutants)
    # the same mutants as before in lines that did not change
    mutants.sort(key=lambda m: hashlib.sha256(f'{args.seed} {m.key}'.encode()).digest())
    return mutants[:args.count or total], total


def run_all(mutants, shops, order, args):
    """The verdict on each mutant. The file results.tsv in the folder has them too."""
    free = list(shops)
    path = os.path.join(args.folder, f'results-{args.method}.tsv')
    before = {}
    if args.go_on and os.path.exists(path):
        with open(path, encoding='utf-8') as file:
            for line in file:
                *key, verdict, _ = line.rstrip('\n').split('\t')
                before[tuple(key)] = verdict
        for key, (verdict, _) in judgements().items():
            if verdict in ('equivalent', 'slower', 'elsewhere'):
                before.setdefault(key, 'survived')
    results = {m: before[m.key] for m in mutants if m.key in before}

    with open(path, 'a' if args.go_on else 'w', encoding='utf-8') as file:
        def work(mutant):
            shop = free.pop()
            try:
                verdict, test = shop.judge(mutant, order) if args.method == 'statements' else judge(shop, mutant, order)
            finally:
                free.append(shop)
            results[mutant] = verdict
            if verdict != 'survived' or not args.quick:
                print('\t'.join((*mutant.key, verdict, test)), file=file, flush=True)
            print(f'{len(results):5} {verdict:9} {mutant}' + (f'  by {test}' if test else ''), flush=True)

        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(work, [m for m in mutants if m not in results]))
    return results


def report(mutants, results):
    """Prints the survivors, and returns how many per cent of the mutants that count were caught."""
    known = judgements()
    count = collections.Counter(results.values())
    equivalent = elsewhere = 0
    survivors = sorted((m for m in mutants if results[m] == 'survived'), key=lambda m: (m.path, m.start))
    if survivors:
        print('\nSurvivors')
    for mutant in survivors:
        verdict, reason = known.get(mutant.key, ('?', 'not looked at yet'))
        equivalent += verdict in ('equivalent', 'slower')
        elsewhere += verdict == 'elsewhere'
        print(f'{mutant}\n    {verdict}: {reason}\n    ' + '\t'.join(mutant.key))
    counted = count['caught'] + count['survived'] - equivalent
    share = 100 * (count['caught'] + elsewhere) / counted if counted else 100.0
    print(f"\n{count['stillborn']} did not compile, {count['unbuilt']} are not in this build, {count['same']} gave the "
          f"same object code, {equivalent} are equivalent or only slower; of the other {counted}, {count['caught']} were "
          f"caught, and {elsewhere} by other tests: {share:.1f} %")
    return share


if __name__ == '__main__':
    sys.exit(main())
