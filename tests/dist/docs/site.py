# SPDX-License-Identifier: MIT
#
# site.py FOLDER: what the pages of the site link to is there, files and places in them; every page can be reached from
# the first one, has a title and a main heading, and fits a phone; nothing is fetched from elsewhere. Says what is wrong,
# a line each.
import pathlib
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

VOID = "area base br col embed hr img input link meta source track wbr".split()
OPTIONAL = "p li dt dd td th tr thead tbody".split()


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.sources, self.tags = path, [], [], [], []
        self.title, self.open, self.faults = "", [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.faults += ["<%s> is not closed" % tag for tag in self.open if tag not in OPTIONAL]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        elif "href" in attributes or "src" in attributes:
            self.sources.append(attributes.get("src") or attributes["href"])

    def handle_endtag(self, tag):
        if tag in VOID: # <br/>
            return
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.faults.append("</%s> closes nothing" % tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "title":
            self.title += data

    def has(self, tag, **wanted):
        return any(t == tag and all(a.get(k) == v for k, v in wanted.items()) for t, a in self.tags)


def check(page, pages, root):
    """What is wrong with it, and the pages that it leads to."""
    wrong, leads = list(page.faults), []
    for name in {each for each in page.ids if page.ids.count(each) > 1}:
        wrong.append("several places are called #%s" % name)
    if page.title.startswith(" ") or not page.title:
        wrong.append("no title")
    if not page.has("h1"):
        wrong.append("no main heading")
    if not page.has("meta", name="viewport", content="width=device-width, initial-scale=1"):
        wrong.append("too wide for a phone")
    for target in page.links + page.sources:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            if target in page.sources:
                wrong.append("fetches %s" % target)
            if parts.path.startswith("/bufferpool"):
                wrong.append("looks for %s elsewhere" % parts.path)
            continue
        there = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if root not in there.parents or not there.is_file():
            wrong.append("links to %s, which is not there" % target)
        elif there in pages:
            leads.append(there)
            if parts.fragment and unquote(parts.fragment) not in pages[there].ids:
                wrong.append("links to %s, a place that is not there" % target)
        elif parts.fragment:
            wrong.append("links to %s, a place in no page" % target)
    return wrong, leads


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    failed, leads = 0, {}
    for path, page in pages.items():
        wrong, leads[path] = check(page, pages, root)
        for what in wrong:
            print("%s: %s" % (path.relative_to(root), what))
        failed += len(wrong)
    reached, left = set(), [root / "index.html"]
    while left:
        path = left.pop()
        if path not in reached:
            reached.add(path)
            left += leads.get(path, [])
    for path in sorted(set(pages) - reached):
        print("%s: nothing leads there" % path.relative_to(root))
        failed += 1
    links = sum(len(page.links) for page in pages.values())
    print("%d pages, %d links" % (len(pages), links))
    sys.exit(failed > 0 or len(pages) < 20)


main()
