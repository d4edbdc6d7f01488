/* SPDX-License-Identifier: MIT
 *
 * zlib_filter.c - zlib: a stream into a buffer that grows, with the memory of zlib itself from a second pool
 *
 *     zlib_filter [-d] [LIMIT [MAX_LIVE]] <in >out
 *
 * Compresses as gzip does; with -d it decompresses. Writes nothing unless all is well. LIMIT is the largest number of
 * bytes of output, because a stream from outside can be a thousand times larger than it looks. MAX_LIVE is the largest
 * number of blocks that zlib may have.
 *
 * zlib asks for 2 to 5 blocks a stream, of 6 to 128 KiB. A server with many short streams does little else than make
 * and free these blocks. Here each block is a pooled buffer: zalloc hands out its data, and zfree finds the buffer by
 * that address.
 */
#include "ending.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

enum { STEP = 16 << 10 };

static bufferpool_t *documents, *states;

/* At the cap zlib gets no block and returns Z_MEM_ERROR: the server is busy. bufferpool_get would go beyond the cap. */
static voidpf state_alloc(voidpf arg, uInt items, uInt size)
{
    bufferpool_buf_t *buf = bufferpool_try_get(arg);
    if (buf == NULL)
        return Z_NULL;
    if (bufferpool_buf_reserve(buf, (size_t)items * size) != 0) {
        bufferpool_put(buf);
        return Z_NULL;
    }
    return buf->data; /* the address stays valid, because nobody grows the buffer */
}

static void state_free(voidpf arg, voidpf data)
{
    (void)arg;
    bufferpool_put(bufferpool_buf_from_data(data));
}

/* Appends to out all the output that zlib makes of its input. Sets *end if the stream ends here. Returns 0, EFBIG,
 * ENOMEM or EILSEQ. */
static int append_output(z_stream *z, int (*step)(z_stream *, int), int flush, bufferpool_buf_t *out, size_t limit,
                         bool *end)
{
    do {
        /* First make room, then take the address, since growth moves the bytes. A buffer grows by at least half its
         * size, so this is rare. */
        const int error = bufferpool_buf_reserve(out, out->len + STEP);
        if (error != 0)
            return error;
        z->next_out = out->data + out->len;
        z->avail_out = out->cap - out->len < UINT_MAX ? (uInt)(out->cap - out->len) : UINT_MAX;
        const int status = step(z, flush);
        out->len = (size_t)(z->next_out - out->data);
        *end = status == Z_STREAM_END;
        if (status == Z_MEM_ERROR)
            return ENOMEM;
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) /* Z_BUF_ERROR: it needs more input */
            return EILSEQ;
        if (out->len > limit)
            return EFBIG;
    } while (z->avail_out == 0 && !*end);
    return 0;
}

/* Filters the whole of stdin into out. */
static int filter(z_stream *z, bool expand, bufferpool_buf_t *out, size_t limit)
{
    bufferpool_buf_t *in = bufferpool_get(documents);
    int error = in == NULL ? ENOMEM : 0;
    bool end = false, last = false;
    while (error == 0 && !last) {
        in->len = fread(in->data, 1, in->cap, stdin);
        last = feof(stdin) != 0;
        z->next_in = in->data;
        z->avail_in = (uInt)in->len;
        if (ferror(stdin))
            error = EIO;
        else if (!end)
            error = append_output(z, expand ? inflate : deflate, last ? Z_FINISH : Z_NO_FLUSH, out, limit, &end);
        if (error == 0 && z->avail_in > 0)
            error = EILSEQ; /* bytes behind the end of the stream */
    }
    bufferpool_put(in);
    return error == 0 && !end ? EILSEQ : error;
}

int main(int argc, char **argv)
{
    const bool expand = argc > 1 && strcmp(argv[1], "-d") == 0;
    char **rest = argv + 1 + expand;
    const size_t limit = rest[0] != NULL ? strtoul(rest[0], NULL, 10) : SIZE_MAX / 2;
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "documents";
    documents = bufferpool_create(&config);
    config.name = "zlib";
    config.buffer_capacity = 128 << 10;
    config.max_live = rest[0] != NULL && rest[1] != NULL ? strtoul(rest[1], NULL, 10) : 0;
    states = bufferpool_create(&config);
    bufferpool_buf_t *out = documents != NULL && states != NULL ? bufferpool_get(documents) : NULL;
    if (out == NULL) {
        perror("zlib_filter");
        return 1;
    }
    z_stream z = {.zalloc = state_alloc, .zfree = state_free, .opaque = states};
    const int status = expand ? inflateInit2(&z, 15 + 16) /* 16 means with gzip's head and tail */
                              : deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    int error = status == Z_OK ? filter(&z, expand, out, limit) : ENOMEM;
    if (status == Z_OK)
        (void)(expand ? inflateEnd : deflateEnd)(&z);
    if (error == 0 && fwrite(out->data, 1, out->len, stdout) != out->len)
        error = errno;
    if (fclose(stdout) != 0 && error == 0)
        error = errno;
    bufferpool_put(out);
    if (error != 0)
        fprintf(stderr, "zlib_filter: %s\n", strerror(error));
    const int left = end_pool(documents) + end_pool(states);
    return left != 0 || error != 0;
}
