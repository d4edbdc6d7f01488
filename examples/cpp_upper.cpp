/* SPDX-License-Identifier: MIT
 *
 * cpp_upper.cpp - C++: buffers that move between threads and put themselves, also when an exception is under way
 *
 *     cpp_upper [MAX_LIVE] <in >out      a to z as A to Z; a byte 0 is an error
 *
 * The main thread reads pieces, other threads convert them in place, and the main thread writes the results in order.
 * When MAX_LIVE pieces are out, the main thread writes the oldest before it reads the next. So the cap bounds both
 * memory and threads.
 */
#include "ending.h"

#include <bufferpool/bufferpool.hpp>
#include <cstdlib>
#include <deque>
#include <future>
#include <stdexcept>

static bufpool::buffer upper(bufpool::buffer piece)
{
    for (unsigned char &c : piece) {
        if (c == 0)
            throw std::runtime_error("a byte 0"); /* the destructor of `piece` puts the buffer */
        if (c >= 'a' && c <= 'z')
            c = static_cast<unsigned char>(c - 'a' + 'A');
    }
    return piece;
}

/* Waits for the oldest piece and writes it. Its buffer goes back at the end of the function. */
static void write_oldest(std::deque<std::future<bufpool::buffer>> &pieces)
{
    const bufpool::buffer piece = pieces.front().get();
    pieces.pop_front();
    if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size())
        throw std::system_error(errno, std::generic_category(), "stdout");
}

static void convert(const bufpool::pool &pool)
{
    std::deque<std::future<bufpool::buffer>> pieces; /* its destructor waits for the threads */
    for (;;) {
        bufpool::buffer piece = pool.try_get();
        if (!piece) {
            write_oldest(pieces);
            continue;
        }
        const std::size_t n = std::fread(piece.data(), 1, piece.capacity(), stdin);
        if (n == 0)
            break;
        piece.commit(n);
        pieces.push_back(std::async(std::launch::async, upper, std::move(piece)));
    }
    while (!pieces.empty())
        write_oldest(pieces);
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = bufpool::default_config();
    config.name = "pieces";
    config.max_live = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 8;
    bufferpool_t *c_pool = bufferpool_create(&config); /* made in C, so that end_pool can look at it and destroy it */
    if (c_pool == nullptr || config.max_live == 0) {
        std::fprintf(stderr, "usage: cpp_upper [MAX_LIVE]\n");
        return 2;
    }
    bool failed = false;
    try {
        convert(bufpool::pool::view(c_pool));
    } catch (const std::exception &e) {
        std::fprintf(stderr, "cpp_upper: %s\n", e.what());
        failed = true;
    }
    failed = std::fclose(stdout) != 0 || failed;
    return end_pool(c_pool) != 0 || failed;
}
