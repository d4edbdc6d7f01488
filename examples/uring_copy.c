/* SPDX-License-Identifier: MIT
 *
 * uring_copy.c - io_uring: a copy of a file by READ_FIXED and WRITE_FIXED, with buffers out of registered memory
 *
 *     uring_copy FROM TO [MAX_LIVE]      exit status 77 if the kernel offers no io_uring
 *
 * The kernel pins memory once, when it is registered, and not for each transfer. So the pool's blocks come out of one
 * region, by the allocator hooks, and the region is registered. Blocks that are freed go back to the region's list; it
 * stays resident, as registered memory does.
 *
 *     region | block | block | block | ...       one for each buffer of the pool
 *
 * The hooks hand out blocks of one size. A pool whose buffers grow needs other sizes: here alloc refuses these, so
 * growth fails with ENOMEM, and nothing that io_uring knows by its address ever moves.
 *
 * A part of the file is read into a buffer, written from it, and the buffer is put. At the cap, the next part waits
 * until a write is done. A buffer may be put once the completion of its last transfer has come, and not before: until
 * then the kernel reads from it, or writes to it.
 */
#define BUFFERPOOL_MALLOC(put) /* otherwise gcc's analyzer takes a buffer that only the kernel knows of for lost */
#include "ending.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PART = 32 << 10, BLOCK = PART + 4096, BLOCKS_MAX = 256, RING = 2 * BLOCKS_MAX };

/* ---- the region ---- */

/* Hooks may be called by any thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *region;
static size_t region_bytes;
static void *free_blocks[BLOCKS_MAX];
static size_t n_free;

static void *block_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    void *block = NULL;
    pthread_mutex_lock(&lock);
    if (size <= BLOCK && align <= 4096 && n_free > 0)
        block = free_blocks[--n_free];
    pthread_mutex_unlock(&lock);
    return block;
}

static void block_free(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    pthread_mutex_lock(&lock);
    free_blocks[n_free++] = block;
    pthread_mutex_unlock(&lock);
}

static bool make_region(size_t blocks)
{
    region_bytes = blocks * BLOCK;
    region = mmap(NULL, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED)
        return false;
    for (size_t i = blocks; i > 0; i--)
        free_blocks[n_free++] = region + (i - 1) * BLOCK;
    return true;
}

/* ---- the copy ---- */

struct copy {
    struct io_uring uring;
    bufferpool_t *pool;
    int from, to;
    off_t size, begun; /* bytes of the file; how many of them are read, or are being read */
    size_t transfers;  /* under way */
    size_t waits;      /* how often the cap was reached */
};

/* One part of the file, kept in front of its bytes in the buffer. */
struct part {
    off_t at;
    unsigned length, done; /* bytes; how many of them are read, or written */
    bool writing;
};

static struct part *part_of(bufferpool_buf_t *buf)
{
    return (struct part *)(void *)buf->data;
}

static void transfer(struct copy *copy, bufferpool_buf_t *buf)
{
    struct part *part = part_of(buf);
    unsigned char *bytes = buf->data + sizeof(*part) + part->done;
    const unsigned n = part->length - part->done;
    const off_t at = part->at + (off_t)part->done;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&copy->uring); /* there are more of them than buffers */
    if (part->writing)
        io_uring_prep_write_fixed(sqe, copy->to, bytes, n, (__u64)at, 0);
    else
        io_uring_prep_read_fixed(sqe, copy->from, bytes, n, (__u64)at, 0);
    io_uring_sqe_set_data(sqe, buf);
    copy->transfers++;
}

/* Begins to read as many parts as the cap leaves buffers. Returns 0, or ENOMEM. */
static int begin_parts(struct copy *copy)
{
    while (copy->begun < copy->size) {
        bufferpool_buf_t *buf = bufferpool_try_get(copy->pool);
        if (buf == NULL) {
            copy->waits += errno == EAGAIN;
            return errno == EAGAIN ? 0 : errno;
        }
        const off_t left = copy->size - copy->begun, most = (off_t)(buf->cap - sizeof(struct part));
        *part_of(buf) = (struct part){.at = copy->begun, .length = (unsigned)(left < most ? left : most)};
        copy->begun += part_of(buf)->length;
        transfer(copy, buf);
    }
    return 0;
}

/* A transfer has ended. Returns 0 or an error. */
static int ended(struct copy *copy, bufferpool_buf_t *buf, int result)
{
    struct part *part = part_of(buf);
    copy->transfers--;
    part->done += result > 0 ? (unsigned)result : 0;
    if (result > 0 && part->done == part->length && !part->writing) {
        part->writing = true;
        part->done = 0;
    }
    if (result > 0 && part->done < part->length) {
        transfer(copy, buf);
        return 0;
    }
    bufferpool_put(buf);                                /* all is written, or nothing more will be */
    return result > 0 ? 0 : result < 0 ? -result : EIO; /* 0: the file became shorter */
}

/* After an error nothing new begins, but the kernel uses the buffers until the completions have come. */
static int run(struct copy *copy)
{
    int error = begin_parts(copy);
    while (copy->transfers > 0) {
        const int submitted = io_uring_submit_and_wait(&copy->uring, 1);
        if (submitted < 0 && submitted != -EINTR)
            return -submitted;
        struct io_uring_cqe *cqe;
        while (io_uring_peek_cqe(&copy->uring, &cqe) == 0) {
            bufferpool_buf_t *buf = io_uring_cqe_get_data(cqe);
            const int result = cqe->res;
            io_uring_cqe_seen(&copy->uring, cqe);
            const int failed = ended(copy, buf, result);
            error = error != 0 ? error : failed;
        }
        if (error == 0)
            error = begin_parts(copy);
    }
    return error;
}

static bool open_files(struct copy *copy, const char *from, const char *to)
{
    struct stat status;
    copy->from = open(from, O_RDONLY | O_CLOEXEC);
    copy->to = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (copy->from < 0 || copy->to < 0 || fstat(copy->from, &status) != 0)
        return false;
    copy->size = status.st_size;
    return true;
}

int main(int argc, char **argv)
{
    struct copy copy = {.from = -1, .to = -1};
    const size_t max_live = argc > 3 ? strtoul(argv[3], NULL, 10) : 64;
    if (argc < 3 || max_live == 0 || max_live > BLOCKS_MAX) {
        fprintf(stderr, "usage: uring_copy FROM TO [MAX_LIVE]    (1 to %d)\n", BLOCKS_MAX);
        return 2;
    }
    int error = io_uring_queue_init(RING, &copy.uring, 0);
    if (error != 0) {
        fprintf(stderr, "uring_copy: no io_uring here: %s\n", strerror(-error));
        return 77;
    }
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "registered";
    config.buffer_capacity = PART;
    config.max_live = max_live;
    config.alloc = block_alloc;
    config.free = block_free;
    if (!open_files(&copy, argv[1], argv[2]) || !make_region(max_live) ||
        (copy.pool = bufferpool_create(&config)) == NULL) {
        fprintf(stderr, "uring_copy: %s\n", strerror(errno));
        return 1;
    }
    const struct iovec registered = {.iov_base = region, .iov_len = region_bytes};
    error = -io_uring_register_buffers(&copy.uring, &registered, 1); /* may exceed what RLIMIT_MEMLOCK allows */
    if (error == 0)
        error = run(&copy);
    if (error != 0)
        fprintf(stderr, "uring_copy: %s\n", strerror(error));
    io_uring_queue_exit(&copy.uring);
    fprintf(stderr, "waits %zu\n", copy.waits);
    const int ended_well = end_pool(copy.pool) == 0;
    munmap(region, region_bytes);
    close(copy.from);
    return close(copy.to) != 0 || error != 0 || !ended_well;
}
