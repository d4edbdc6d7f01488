#!/bin/sh
# chapters.sh: every block of C in docs/guide/ stands, line by line, in the file that the comment above it names, and
# the guide shows something of each program. Runs in the root of the project.
#
# Above a block stands, for example: <!-- examples/guide/first.c -->
set -eu
awk '
    function fail(what) { print FILENAME ":" FNR ": " what; failed = 1 }
    function content(file,    line, text) {
        if (!(file in known)) {
            text = "\n"
            while ((getline line <file) > 0)
                text = text line "\n"
            close(file)
            known[file] = text
        }
        return known[file]
    }
    /^```c$/ {
        inside = 1
        block = "\n"
        file = above
        sub(/^<!-- /, "", file)
        sub(/ -->$/, "", file)
        if (above !~ /^<!-- [a-z_\/.]*\.[ch] -->$/) { fail("the line above a block of C names no file"); inside = 2 }
        next
    }
    /^```/ {
        if (inside == 1) {
            blocks++
            shown[file] = 1
            if (content(file) == "\n") fail("there is no " file)
            else if (index(content(file), block) == 0) fail("this block is not in " file)
        }
        inside = 0
    }
    inside { block = block $0 "\n" }
    { above = $0 }
    END {
        for (i = 1; i < ARGC; i++)
            pages++
        while (("ls examples/guide/*.c" | getline file) > 0)
            if (!(file in shown)) { print "the guide shows nothing of " file; failed = 1 }
        print blocks " blocks on " pages " pages"
        exit failed || blocks == 0
    }' docs/guide/*.md
