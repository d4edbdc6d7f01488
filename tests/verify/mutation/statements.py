# SPDX-License-Identifier: MIT
"""statements.py - mistakes in whole statements, all of them in one build

A mutant leaves a statement or an `else` branch out, swaps two neighbouring statements, lets a loop run once, or does
an increment twice. schema() writes a source that has all given mutants in it, each behind a comparison with
the number that a constructor reads from the environment. So one build serves for all mutants.

Left alone are declarations, what a macro is made of, and the return at the end of a function. Two assignments without a
call are not swapped if neither names what the other sets: nothing could tell.

The parser knows the statements of C and nothing of its expressions. A statement is a declaration if it begins with a
type, or with two words in a row, or with a word and a `*`.
"""
import re

HEADER = '''\
/* MUTANT(n): whether this process has mutant n. The environment's MUTANT says so, and MUTANT_NOTES may name a folder
 * for a file for each n that was asked for. Each source has variables of its own, so that every library and program of
 * the build has them. The system calls are made directly: a test may replace functions, or look at errno. */
#ifdef MUTANT_CHOSEN
#define MUTANT(n) (MUTANT_CHOSEN == (n))
#elif !defined MUTANT
#define MUTANT(n) mutant_is(n)
extern char *getenv(const char *name);
static int mutant_chosen;
static const char *mutant_notes;
static char mutant_noted[1 << 14];
__attribute__((constructor(101), unused)) static void mutant_choose(void)
{
    const char *digit = getenv("MUTANT");
    while (digit && *digit)
        mutant_chosen = 10 * mutant_chosen + (*digit++ - '0');
    mutant_notes = getenv("MUTANT_NOTES");
}
__attribute__((noinline, cold, unused)) static void mutant_note(int n)
{
#ifdef __x86_64__
    char path[512];
    char *end = path;
    for (const char *c = mutant_notes; *c && end < path + 500; c++)
        *end++ = *c;
    *end++ = '/';
    for (int digit = 10000; digit > 0; digit /= 10)
        *end++ = (char)('0' + n / digit % 10);
    *end = 0;
    mutant_noted[n] = 1;
    long file = 2, closed = 3; /* open, O_CREAT | O_WRONLY, for the owner; close */
    __asm__ volatile("syscall" : "+a"(file) : "D"(path), "S"(0101L), "d"(0600L) : "rcx", "r11", "memory");
    if (file >= 0)
        __asm__ volatile("syscall" : "+a"(closed) : "D"(file) : "rcx", "r11", "memory");
#endif
}
__attribute__((unused)) static inline int mutant_is(int n)
{
    if (mutant_notes && !mutant_noted[n])
        mutant_note(n);
    return mutant_chosen == n;
}
#endif
'''

TYPES = {'struct', 'union', 'enum', 'const', 'volatile', 'static', 'extern', 'char', 'void', 'int', 'unsigned', 'bool',
         'signed', 'long', 'short', 'float', 'double', '_Static_assert', '_Alignas', '_Atomic', '_Thread_local'}
JUMPS = {'return', 'break', 'continue', 'goto'}
DIRECTIVE = re.compile(r'^[ \t]*#', re.M)
OPEN, CLOSE = ('(', '[', '{'), (')', ']', '}')


class Statement:
    """kind: block, if, loop, switch, jump, return, declaration, label, plain, empty. first and last are tokens."""

    def __init__(self, kind, first):
        self.kind, self.first, self.last = kind, first, first
        self.body = []          # the statements inside, in order
        self.otherwise = None   # of an if: one of these
        self.head = None        # of an if, a loop or a switch: its parentheses
        self.tail = False       # the function ends behind it
        self.mutants = []


class Mutant:
    def __init__(self, path, number, key, start):
        self.path, self.number, self.key, self.start = path, number, key, start
        self.id = 0             # what MUTANT is for it, in a schema

    def __str__(self):
        return f'{self.path}:{self.number}: {self.key[2]}: {self.key[1]}'


class Source:
    """The functions of one file as trees of statements."""

    def __init__(self, path, text, tokens):
        self.path, self.text = path, text
        self.tokens = tokens
        self.functions = []
        self.mutants = []
        self.met = {}
        i, depth = 0, 0
        while i < len(tokens):
            if tokens[i][1] == '{' and depth == 0 and tokens[i - 1][1] == ')':
                body = self.statement(i)
                body.tail = True
                self.functions.append(body)
                i = body.last
            else:
                depth += {'{': 1, '}': -1}.get(tokens[i][1], 0)
            i += 1
        for body in self.functions:
            self.plant(body)

    # ---- the parser ----

    def token(self, i):
        return self.tokens[i][1]

    def closing(self, i):
        depth = 0
        while True:
            depth += (self.token(i) in OPEN) - (self.token(i) in CLOSE)
            if depth == 0:
                return i
            i += 1

    def semicolon(self, i):
        while self.token(i) != ';':
            i = self.closing(i) + 1 if self.token(i) in OPEN else i + 1
        return i

    def statement(self, i):
        word, after = self.token(i), self.token(i + 1)
        node = Statement('plain', i)
        if word == '{':
            node.kind = 'block'
            i += 1
            while self.token(i) != '}':
                node.body.append(self.statement(i))
                i = node.body[-1].last + 1
            node.last = i
        elif word in ('if', 'while', 'for', 'switch'):
            node.kind = word if word in ('if', 'switch') else 'loop'
            node.head = (i + 1, self.closing(i + 1))
            node.body = [self.statement(node.head[1] + 1)]
            node.last = node.body[0].last
            if word == 'if' and self.token(node.last + 1) == 'else':
                node.otherwise = self.statement(node.last + 2)
                node.last = node.otherwise.last
        elif word == 'do':
            node.kind = 'loop'
            node.body = [self.statement(i + 1)]
            start = node.body[0].last + 2
            node.head = (start, self.closing(start))
            node.last = node.head[1] + 1
        elif word in ('case', 'default') or after == ':':
            node.kind = 'label'
            while self.token(node.last) != ':':
                node.last += 1
        elif word in JUMPS:
            node.kind = 'return' if word == 'return' else 'jump'
            node.last = self.semicolon(i)
        else:
            if word == ';':
                node.kind = 'empty'
            elif word in TYPES or self.tokens[i][0] == 'word' and (after == '*' or self.tokens[i + 1][0] == 'word'):
                node.kind = 'declaration'
            if after == '(' and self.tokens[i][0] == 'word':  # a macro that begins a loop
                close = self.closing(i + 1)
                if self.tokens[close + 1][0] == 'word' or self.token(close + 1) == '{':
                    node.kind, node.head, node.body = 'loop', (i + 1, close), [self.statement(close + 1)]
                    node.last = node.body[0].last
                    return node
            node.last = self.semicolon(i)
        return node

    def range(self, node):
        return self.tokens[node.first][2], self.tokens[node.last][3]

    def words(self, node):
        return [self.token(i) for i in range(node.first, node.last + 1)]

    # ---- the mutants ----

    def add(self, node, mutation):
        start = self.range(node)[0]
        first, last = self.text.rfind('\n', 0, start) + 1, self.text.find('\n', start)
        line = self.text[first:last].strip()
        # the same line may come more than once in a file, and have more than one statement
        which = self.met[line, mutation] = self.met.get((line, mutation), 0) + 1
        number = self.text.count('\n', 0, start) + 1
        mutant = Mutant(self.path, number, (self.path, line, mutation, str(which)), start)
        node.mutants.append((mutation, mutant))
        self.mutants.append(mutant)

    def plant(self, node):
        """Gives the statement and those inside their mutants."""
        if node.kind == 'block':
            for i, inner in enumerate(node.body):
                inner.tail = node.tail and i == len(node.body) - 1
        else:
            for inner in node.body + [node.otherwise] * (node.otherwise is not None):
                inner.tail = node.tail and node.kind != 'loop'
        if self.can_be_left_out(node):
            self.add(node, 'left out')
        if node.kind == 'loop':
            self.add(node, 'runs once')
        if node.otherwise is not None:
            self.add(node.otherwise, 'else left out')
        if self.increments(node):
            self.add(node, 'done twice')
        for inner in node.body:
            self.plant(inner)
        if node.otherwise is not None:
            self.plant(node.otherwise)
        if node.kind == 'block':
            for one, other in zip(node.body, node.body[1:]):
                if self.can_be_swapped(one, other):
                    self.add(one, 'swapped with the next')

    def can_be_left_out(self, node):
        if node.kind == 'if':  # without its only statement it is the same, or nearly
            inner = node.body[0]
            inner = inner.body[0] if inner.kind == 'block' and len(inner.body) == 1 else inner
            return node.otherwise is not None or inner.kind == 'block'
        if node.kind == 'plain':
            return self.words(node)[:3] != ['(', 'void', ')'] or '(' in self.words(node)[3:]
        return node.kind in ('loop', 'switch', 'jump') or node.kind == 'return' and not node.tail

    def increments(self, node):
        if node.kind == 'loop':
            return self.token(node.first) == 'for' and any(
                self.token(i) in ('++', '--', '+=', '-=') for i in range(self.step(node), node.head[1]))
        words = self.words(node)
        return node.kind == 'plain' and (words[0] in ('++', '--') or words[-2] in ('++', '--') or '+=' in words or
                                         '-=' in words or re.match('(bump|add|sub)_', words[0]) is not None)

    def step(self, loop):
        """The token after the second semicolon of a `for`."""
        return self.semicolon(self.semicolon(loop.head[0] + 1) + 1) + 1

    def can_be_swapped(self, one, other):
        for node in (one, other):
            if node.kind not in ('plain', 'if', 'loop', 'switch') or any(
                    n.kind == 'label' and self.token(n.first) not in ('case', 'default') for n in self.within(node)):
                return False
        between = self.text[self.range(one)[0]:self.range(other)[1]]
        if DIRECTIVE.search(between) or self.words(one) == self.words(other):
            return False
        # Nothing can tell the order of two assignments without a call, unless one names what the other sets.
        if all(self.is_plain_assignment(node) for node in (one, other)):
            return self.sets(one) in self.words(other) or self.sets(other) in self.words(one)
        return True

    def is_plain_assignment(self, node):
        words = self.words(node)
        calls = [word for word, after in zip(words, words[1:])
                 if after == '(' and re.match(r'\w', word) and word != 'sizeof']
        return node.kind == 'plain' and '=' in words and not calls

    def sets(self, node):
        """The last word of what an assignment assigns to."""
        words = self.words(node)
        words = words[:words.index('=')]
        while words[-1] == ']':
            words = words[:len(words) - 1 - words[::-1].index('[')]
        return words[-1]

    def within(self, node):
        yield node
        for inner in node.body + [node.otherwise] * (node.otherwise is not None):
            yield from self.within(inner)

    # ---- the schema ----

    def schema(self, chosen):
        """The text with the chosen mutants in it; they have their ids."""
        out, at = [], 0
        for body in self.functions:
            start, end = self.range(body)
            out += [self.text[at:start], self.render(body, chosen)]
            at = end
        return ''.join(out) + self.text[at:]

    def pieces(self, start, end, replaced):
        """The text from start to end, with the text of some ranges replaced."""
        out = []
        for from_, to, new in sorted(replaced):
            out += [self.text[start:from_], new]
            start = to
        return ''.join(out) + self.text[start:end]

    def render(self, node, chosen):
        ids = {mutation: mutant.id for mutation, mutant in node.mutants if mutant in chosen}
        start, end = self.range(node)
        if node.kind == 'block':
            out = self.pieces(start, end, self.render_list(node.body, chosen))
        else:
            replaced = [(*self.range(inner), self.render(inner, chosen))
                        for inner in node.body + [node.otherwise] * (node.otherwise is not None)]
            if 'runs once' in ids:
                if self.token(node.first) in ('while', 'for', 'do'):
                    replaced.append(self.once(node, ids['runs once']))
                else:
                    from_, to, body = replaced[0]
                    n = ids['runs once']
                    replaced[0] = (from_, to, f'{{ if (MUTANT({n}) && ran_{n}++) break; {body} }}')
            if 'done twice' in ids and node.kind == 'loop':
                step = self.tokens[self.step(node)][2], self.tokens[node.head[1]][2]
                replaced.append((*step, f'({{ {self.text[slice(*step)]}; '
                                        f'if (MUTANT({ids["done twice"]})) {self.text[slice(*step)]}; }})'))
            out = self.pieces(start, end, replaced)
        if 'runs once' in ids:
            out = f'{{ int ran_{ids["runs once"]} = 0; (void)ran_{ids["runs once"]}; {out} }}'
        if 'done twice' in ids and node.kind == 'plain':
            out = f'{{ {out} if (MUTANT({ids["done twice"]})) {{ {out} }} }}'
        for mutation in ('left out', 'else left out'):
            if mutation in ids:
                out = f'{{ if (!MUTANT({ids[mutation]})) {{ {out} }} }}'
        return out

    def once(self, loop, n):
        """The condition of a loop that is false once its body has run."""
        start, end = self.tokens[loop.head[0]][3], self.tokens[loop.head[1]][2]
        if self.token(loop.first) == 'for':
            start = self.tokens[self.semicolon(loop.head[0] + 1)][3]
            end = self.tokens[self.step(loop) - 1][2]
        condition = self.text[start:end].strip()
        asked = f'!MUTANT({n})' if self.token(loop.first) == 'do' else f'(!MUTANT({n}) || !ran_{n}++)'
        return start, end, f'{asked} && ({condition})' if condition else asked

    def render_list(self, items, chosen):
        """The statements of a block. Where swaps overlap, each swap has a copy of them all."""
        replaced, i = [], 0
        while i < len(items):
            run = [items[i]]
            swaps = []
            while i < len(items):
                swap = [m for mutation, m in items[i].mutants if mutation == 'swapped with the next' and m in chosen]
                if not swap:
                    break
                swaps.append((len(run) - 1, swap[0].id))
                i += 1
                run.append(items[i])
            texts = [self.render(item, chosen) for item in run]
            out = ''
            for k, n in swaps:
                swapped = texts[:k] + [texts[k + 1], texts[k]] + texts[k + 2:]
                out += f'if (MUTANT({n})) {{\n' + '\n'.join(swapped) + '\n} else '
            out = f'{{ {out}{{\n' + '\n'.join(texts) + '\n} }' if swaps else texts[0]
            replaced.append((self.range(run[0])[0], self.range(run[-1])[1], out))
            i += 1
        return replaced
