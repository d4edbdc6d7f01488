# These files are installed and no others. The text files among them contain no path of this machine, and the links in
# the pages lead to files that are installed, too.
. "$(dirname "$0")/common.sh"

cd "$(prefix_of staged)"
# The pages of the manual: every function has one.
pages=$(sed 's/@.*//' "$SOURCE/tests/dist/exported-symbols.txt")
# The examples, but for what builds and checks them here; and the pages, but for those about the development.
pages_and_examples=$(cd "$SOURCE" && find examples docs/*.md docs/guide docs/monitoring -type f ! -name CMakeLists.txt \
    ! -name '*.sh' ! -name '.*' ! -name comparison.md ! -name design.md ! -name verification.md)
find . ! -type d | sed 's/-targets-[a-z]*\.cmake$/-targets-CONFIG.cmake/' | sort >"$work/installed"
sort >"$work/expected" <<LIST
./bin/bufferpool-top
./include/bufferpool.h
./include/bufferpool/bufferpool.hpp
./$LIBDIR/libbufferpool.a
./$LIBDIR/libbufferpool.so
./$LIBDIR/libbufferpool.so.$SOVERSION
./$LIBDIR/libbufferpool.so.$VERSION
./$LIBDIR/cmake/bufferpool/bufferpool-config-version.cmake
./$LIBDIR/cmake/bufferpool/bufferpool-config.cmake
./$LIBDIR/cmake/bufferpool/bufferpool-shared-targets-CONFIG.cmake
./$LIBDIR/cmake/bufferpool/bufferpool-shared-targets.cmake
./$LIBDIR/cmake/bufferpool/bufferpool-static-targets-CONFIG.cmake
./$LIBDIR/cmake/bufferpool/bufferpool-static-targets.cmake
./$LIBDIR/pkgconfig/bufferpool.pc
./share/doc/bufferpool/LICENSE
$(echo "$pages_and_examples" | sed 's|^|./share/doc/bufferpool/|')
./share/gdb/auto-load$PWD/$LIBDIR/libbufferpool.so.$VERSION-gdb.py
./share/man/man1/bufferpool-top.1
./share/man/man7/bufferpool.7
$(echo "$pages" | sort -u | sed 's|.*|./share/man/man3/&.3|')
LIST
diff "$work/expected" "$work/installed" || fail "other files are installed than those expected"

find share/doc -name '*.md' | while read -r page; do
    grep -o '](\([^)]*\))' "$page" | sed 's/^](//; s/[#)].*//' | sort -u | while read -r link; do
        case $link in http* | */include/*) continue ;; esac
        test -e "$(dirname "$page")/$link" || fail "$page links to $link, which is not installed"
    done
done

for path in "$SOURCE" "$BUILD" "$PWD"; do
    if grep -rIFn "$path" .; then
        fail "$path is written into an installed file"
    fi
done
