/* SPDX-License-Identifier: MIT
 *
 * formats.cpp - {fmt} and std::format write into a buffer, beyond its capacity too. Prints which of them are there.
 */
#include <bufferpool/bufferpool.hpp>

#include <cstdio>
#include <iterator>
#include <string>

#if __has_include(<fmt/format.h>)
#define FMT_HEADER_ONLY
#include <fmt/format.h>
#endif
#if __has_include(<format>)
#include <format>
#endif

/* 0 if the buffer has what a format of the text, 1 and 2.5 makes. */
static int wrong(const bufpool::buffer &buf, const std::string &text)
{
    return buf.str() == text + " 1 2.50" ? 0 : 1;
}

int main()
{
    int failed = 0;
    const std::string text(100000, 'x');
#if defined(FMT_VERSION)
    std::puts("fmt");
    bufpool::buffer fmt_buf = bufpool::get();
    fmt::format_to(std::back_inserter(fmt_buf), "{} {} {:.2f}", text, 1, 2.5);
    failed += wrong(fmt_buf, text);
#endif
#if defined(__cpp_lib_format)
    std::puts("std");
    bufpool::buffer std_buf = bufpool::get();
    std::format_to(std::back_inserter(std_buf), "{} {} {:.2f}", text, 1, 2.5);
    failed += wrong(std_buf, text);
#endif
    bufpool::buffer buf = bufpool::get();
    buf.append(text).printf(" %d %.2f", 1, 2.5);
    return failed + wrong(buf, text);
}
