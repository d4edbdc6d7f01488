#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""mutate.py - makes one mistake at a time in src/ and tells whether the unit tests notice

Each mutant differs from the source in one token (operator, constant, memory order), one negated condition or one call left
out. It is

    stillborn    it does not compile
    same         its object code is that of the original: on this machine no test can tell it
    caught       a test failed, crashed or did not end
    survived     all passed. judged.tsv has the survivors that were looked at, with the reason. Those that are equivalent,
                 or right but slower, do not count.

Only ThreadSanitizer surely sees a lock that is left out, and only valgrind a leak. Here both may survive.

Exits with 1 if fewer than --floor per cent of the mutants that compile and are not equivalent were caught.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

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


def all_mutants():
    found = []
    src = os.path.join(ROOT, 'src')
    with open(os.path.join(src, 'atomic.h'), encoding='utf-8') as file:
        operations = set(re.findall(r'\b(\w+_relaxed)\b', file.read()))
    for name in sorted(os.path.relpath(os.path.join(folder, name), src) for folder, _, names in os.walk(src) for name in names):
        if name.endswith(('.c', '.h')):
            with open(os.path.join(src, name), encoding='utf-8') as file:
                found += mutants_of(f'src/{name}', file.read(), operations)
    met = {}
    for mutant in found:  # the same line may come more than once in a file
        met[mutant.key] = met.get(mutant.key, 0) + 1
        if met[mutant.key] > 1:
            mutant.key = (*mutant.key[:3], f'{mutant.key[3]} of line {met[mutant.key]}')
    return found


# ---- building and running ----


class Workshop:
    """A copy of the tree with a build of its own."""

    def __init__(self, folder):
        self.tree = os.path.join(folder, 'tree')
        self.build = os.path.join(folder, 'build')
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(self.tree)
        for name in ('CMakeLists.txt', 'CMakePresets.json', 'bufferpool.pc.in', 'include', 'src', 'cmake', 'tests'):
            source = os.path.join(ROOT, name)
            (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(self.tree, name))
        subprocess.run(['cmake', '-S', self.tree, '-B', self.build, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=None',
                        '-DCMAKE_C_FLAGS=-O2 -g0', '-DBUFFERPOOL_BUILD_EXAMPLES=OFF', '-DBUFFERPOOL_INSTALL=OFF',
                        '-DBUFFERPOOL_VALGRIND='], check=True, stdout=subprocess.DEVNULL)
        if not self.make('all'):
            sys.exit('the tests do not build')
        self.objects = self.fingerprint()

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

    def run(self, test, limit):
        """Whether the test passes within so many seconds."""
        env = dict(os.environ, BUFFERPOOL_TEST_SCALE='small')
        with subprocess.Popen([os.path.join(self.build, 'tests', test)], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env, start_new_session=True,
                              cwd=self.build) as process:
            try:
                return process.wait(timeout=limit) == 0
            except subprocess.TimeoutExpired:
                return False
            finally:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def tests(self):
        """The unit tests' programs, the quickest first, each with a time that it never needs."""
        listed = subprocess.run(['ctest', '--test-dir', self.build, '--show-only=json-v1'], check=True,
                                stdout=subprocess.PIPE).stdout
        programs = []
        for test in json.loads(listed)['tests']:
            command = test.get('command', [''])
            program = os.path.relpath(command[0], os.path.join(os.path.abspath(self.build), 'tests'))
            if len(command) != 1 or not re.fullmatch(r'\w+/test_\w+', program) or program in EXCLUDED:
                continue
            start = time.monotonic()
            if not self.run(program, 300):
                sys.exit(f'{program} fails without any mistake')
            programs.append((time.monotonic() - start, program))
        return [(program, 10 + 10 * seconds) for seconds, program in sorted(programs)]


# These look at resident memory over long runs. The other tests look at it too, in a hundredth of the time.
EXCLUDED = {'contract/test_resident'}


class Order:
    """Which test comes first: those that caught most of late in the same file."""

    def __init__(self, tests):
        self.tests, self.caught, self.lock = tests, {}, threading.Lock()

    def of(self, path):
        with self.lock:
            return sorted(self.tests, key=lambda t: -self.caught.get((path, t[0]), 0))

    def note(self, path, test):
        with self.lock:
            self.caught[path, test] = self.caught.get((path, test), 0) + 1


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
    args = parser.parse_args()

    if args.judged:
        return 0 if check_judgements(all_mutants()) else 1
    mutants = [m for m in all_mutants() if re.search(args.files, m.path)]
    total = len(mutants)
    if args.keys:
        with open(args.keys, encoding='utf-8') as file:
            keys = {line.strip() for line in file}
        mutants = [m for m in mutants if '\t'.join(m.key) in keys]
        total = len(mutants)
    # by lot, but the same mutants as before in lines that did not change
    mutants.sort(key=lambda m: hashlib.sha256(f'{args.seed} {m.key}'.encode()).digest())
    if args.count:
        mutants = mutants[:args.count]
    if args.list:
        for mutant in sorted(mutants, key=lambda m: (m.path, m.start)):
            print(mutant)
        return 0

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    shops = [Workshop(os.path.join(args.folder, str(i))) for i in range(args.jobs)]
    order = Order(shops[0].tests())
    print(f'{len(mutants)} of {total} mutants, seed {args.seed}; {len(order.tests)} tests', flush=True)
    free = list(shops)
    results = {}

    def work(mutant):
        shop = free.pop()
        try:
            verdict, test = judge(shop, mutant, order)
        finally:
            free.append(shop)
        results[mutant] = verdict
        print(f'{len(results):5} {verdict:9} {mutant}' + (f'  by {test}' if test else ''), flush=True)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, mutants))

    known = judgements()
    count = {verdict: list(results.values()).count(verdict) for verdict in ('stillborn', 'same', 'caught', 'survived')}
    equivalent = 0
    survivors = sorted((m for m in mutants if results[m] == 'survived'), key=lambda m: (m.path, m.start))
    if survivors:
        print('\nSurvivors')
    for mutant in survivors:
        verdict, reason = known.get(mutant.key, ('?', 'not looked at yet'))
        equivalent += verdict in ('equivalent', 'slower')
        print(f'{mutant}\n    {verdict}: {reason}\n    ' + '\t'.join(mutant.key))
    counted = count['caught'] + count['survived'] - equivalent
    share = 100 * count['caught'] / counted if counted else 100.0
    print(f"\n{count['stillborn']} did not compile, {count['same']} gave the same object code, {equivalent} are equivalent or only slower; "
          f"of the other {counted}, {count['caught']} were caught: {share:.1f} %")
    return 0 if share >= args.floor else 1


if __name__ == '__main__':
    sys.exit(main())
