/* SPDX-License-Identifier: MIT
 *
 * numa_pools.c - NUMA: a pool for each node, whose memory lies on that node
 *
 *     numa_pools [-b] [-t FOLDER]        threads on the processors of all nodes get buffers, and put those of others
 *     numa_pools -s [-t FOLDER]          shows the topology, and ends
 *
 *     -b    binds memory also where there is one node
 *     -t    reads the topology in FOLDER, not in /sys/devices/system/node
 *
 * A thread gets from the pool of the node on which it runs. A get in one pool never takes a buffer of another, so the
 * buffer lies on the thread's node. Any thread may put it: a buffer knows its pool.
 *
 * The pool's hooks get memory by mmap, and mbind says on which node the pages are to lie. They come there when they are
 * first touched, whichever thread touches them. The policy is MPOL_PREFERRED: if the node is full, the kernel takes
 * another one. With MPOL_BIND it would swap, or end the process, for the sake of some hundred nanoseconds.
 *
 *     chunk | block | block | block | ...       the blocks of a chunk are whole pages, and lie on one node
 *
 * Where there is one node, or the kernel knows no nodes, there is one pool, of the library's own memory. Where mbind is
 * refused, as in many containers, there is a pool for each node all the same, and the kernel places a page where it is
 * first touched. The first line of the output says which of these it is.
 */
#include "ending.h"
#include "numa_topology.h"

#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIZE = 32 << 10, BLOCKS = 64, THREADS_MAX = 64, ROUNDS = 2000, SHARED = 16, LOOKS = SIZE / 4096 };

/* ---- memory on a node ---- */

struct node_pool {
    bufferpool_t *pool;
    int node;             /* what the kernel calls it */
    pthread_mutex_t lock; /* of all that follows. Hooks may be called by any thread */
    void **free_blocks;
    size_t n_free, n_blocks;
    void **chunks;
    size_t n_chunks;
    size_t unbound; /* mappings that the kernel did not bind */
    atomic_size_t there, elsewhere;
};

static struct numa_topology topology;
static struct node_pool pools[NUMA_NODES];
static bool bound;
static size_t page, block_bytes; /* a block is whole pages, with room for what the library puts in front */

/* Asks for the pages of the mapping to lie on the node. Returns 0 or an error. */
static int bind_to_node(void *memory, size_t bytes, int node)
{
    const size_t bits = 8 * sizeof(unsigned long);
    unsigned long mask[NUMA_NUMBERS / (8 * sizeof(unsigned long))] = {0};
    mask[(size_t)node / bits] = 1ul << ((size_t)node % bits);
    /* the kernel reads one bit less than it is told */
    return syscall(SYS_mbind, memory, bytes, MPOL_PREFERRED, mask, NUMA_NUMBERS + 1ul, 0u) == 0 ? 0 : errno;
}

static void *map_on_node(struct node_pool *own, size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (bind_to_node(memory, bytes, own->node) != 0)
        own->unbound++; /* memory of any node is better than none */
    return memory;
}

static bool make_room(void ***array, size_t n)
{
    void **larger = realloc(*array, n * sizeof(void *));
    if (larger != NULL)
        *array = larger;
    return larger != NULL;
}

/* Makes a chunk, whose blocks are free then. Returns false if there is no memory. */
static bool make_chunk(struct node_pool *own)
{
    if (!make_room(&own->chunks, own->n_chunks + 1) || !make_room(&own->free_blocks, own->n_blocks + BLOCKS))
        return false;
    unsigned char *chunk = map_on_node(own, BLOCKS * block_bytes);
    if (chunk == NULL)
        return false;
    own->chunks[own->n_chunks++] = chunk;
    own->n_blocks += BLOCKS;
    for (size_t i = BLOCKS; i > 0; i--)
        own->free_blocks[own->n_free++] = chunk + (i - 1) * block_bytes;
    return true;
}

static size_t whole_pages(size_t size)
{
    return (size + page - 1) / page * page;
}

static void *block_alloc(size_t size, size_t align, void *ctx)
{
    struct node_pool *own = ctx;
    void *block = NULL;
    if (align > page)
        return NULL;
    pthread_mutex_lock(&own->lock);
    if (size > block_bytes)
        block = map_on_node(own, whole_pages(size)); /* of a buffer that grew */
    else if (own->n_free > 0 || make_chunk(own))
        block = own->free_blocks[--own->n_free];
    pthread_mutex_unlock(&own->lock);
    return block;
}

/* The pages go back to the system, so that a trim of the pool frees memory. The address keeps its policy. */
static void block_free(void *block, size_t size, void *ctx)
{
    struct node_pool *own = ctx;
    if (size > block_bytes) {
        munmap(block, whole_pages(size));
        return;
    }
    (void)madvise(block, block_bytes, MADV_DONTNEED);
    pthread_mutex_lock(&own->lock);
    own->free_blocks[own->n_free++] = block;
    pthread_mutex_unlock(&own->lock);
}

static void free_chunks(struct node_pool *own)
{
    for (size_t i = 0; i < own->n_chunks; i++)
        munmap(own->chunks[i], BLOCKS * block_bytes);
    free(own->chunks);
    free(own->free_blocks);
}

/* ---- a pool for each node ---- */

/* Says whether the kernel binds memory here, to each of the nodes. Returns 0 or the error. */
static int try_to_bind(void)
{
    int error = 0;
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return errno;
    for (unsigned i = 0; i < topology.n && error == 0; i++)
        if (topology.has_cpus[i])
            error = bind_to_node(memory, page, topology.number[i]);
    munmap(memory, page);
    return error;
}

static bufferpool_t *make_pool(struct node_pool *own, int node)
{
    char name[32];
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    (void)snprintf(name, sizeof(name), "node%d", node);
    config.name = name;
    config.buffer_capacity = SIZE;
    config.max_live = 1024;
    if (bound) {
        config.alloc = block_alloc;
        config.free = block_free;
        config.ctx = own;
    }
    own->node = node;
    pthread_mutex_init(&own->lock, NULL);
    return bufferpool_create(&config);
}

/* Returns the number of pools, or 0 if one cannot be made. */
static unsigned make_pools(bool with_one_node)
{
    unsigned n = 0;
    for (unsigned i = 0; i < topology.n; i++)
        n += topology.has_cpus[i];
    const int error = n > 1 || with_one_node ? try_to_bind() : 0;
    bound = error == 0 && (n > 1 || with_one_node);
    if (bound)
        printf("numa: pools %u, the memory of each on its node\n", n);
    else if (error != 0)
        printf("numa: pools %u, pages where they are first touched, since mbind is refused: %s\n", n, strerror(error));
    else
        printf("numa: pools 1, since there is one node\n");
    for (unsigned i = 0; i < topology.n; i++) {
        if (!topology.has_cpus[i])
            continue;
        pools[i].pool = make_pool(&pools[i], topology.number[i]);
        if (pools[i].pool == NULL)
            return 0;
    }
    return n;
}

/* The pool of the node on which this thread runs. The thread may come to another node meanwhile. Then it has a buffer
 * that lies farther away, which is as good for everything but speed. */
static struct node_pool *pool_here(void)
{
    const int cpu = sched_getcpu();
    return &pools[topology.home[cpu >= 0 && cpu < NUMA_CPUS ? cpu : 0]];
}

/* ---- where the pages lie ---- */

/* Counts the pages of the buffer on the node, and elsewhere. Pages that were never touched lie nowhere. */
static void look_at_pages(struct node_pool *own, const bufferpool_buf_t *buf)
{
    void *pages[LOOKS];
    int nodes[LOOKS];
    for (size_t i = 0; i < LOOKS; i++)
        pages[i] = buf->data + i * (SIZE / LOOKS);
    if (syscall(SYS_move_pages, 0, (unsigned long)LOOKS, pages, NULL, nodes, 0) != 0)
        return; /* refused too; then nothing is counted */
    for (size_t i = 0; i < LOOKS; i++)
        if (nodes[i] >= 0)
            atomic_fetch_add(nodes[i] == own->node ? &own->there : &own->elsewhere, 1);
}

/* Whether the policy of the buffer's memory is the one that bind_to_node asked for. */
static bool policy_holds(const struct node_pool *own, const bufferpool_buf_t *buf)
{
    const size_t bits = 8 * sizeof(unsigned long), node = (size_t)own->node;
    unsigned long mask[NUMA_NUMBERS / (8 * sizeof(unsigned long))] = {0};
    int mode = -1;
    if (syscall(SYS_get_mempolicy, &mode, mask, NUMA_NUMBERS + 1ul, buf->data, (unsigned long)MPOL_F_ADDR) != 0)
        return false;
    return mode == MPOL_PREFERRED && mask[node / bits] == 1ul << (node % bits);
}

/* ---- the work ---- */

/* Threads leave their buffers here, and put those that others left: buffers of all nodes. */
static _Atomic(bufferpool_buf_t *) shared[SHARED];
static atomic_int failures;

struct worker {
    pthread_t thread;
    size_t number, cpu;
};

static void *work(void *arg)
{
    struct worker *self = arg;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(self->cpu, &one);
    (void)sched_setaffinity(0, sizeof(one), &one); /* if refused, the thread runs where it likes */
    for (size_t i = 0; i < ROUNDS; i++) {
        struct node_pool *here = pool_here();
        bufferpool_buf_t *buf = bufferpool_get(here->pool);
        if (buf == NULL) {
            atomic_fetch_add(&failures, 1);
            break;
        }
        memset(buf->data, (int)i, SIZE);
        if (i % 16 == 0)
            look_at_pages(here, buf);
        if (bound && !policy_holds(here, buf))
            atomic_fetch_add(&failures, 1);
        bufferpool_put(atomic_exchange(&shared[(i + self->number) % SHARED], buf));
    }
    return NULL;
}

static size_t nth_cpu(const cpu_set_t *set, size_t n)
{
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, set) || n-- > 0)
        cpu++;
    return cpu;
}

/* Two threads on each processor that this process may use; where these are many, on some of them, over all nodes. */
static bool run_threads(void)
{
    static struct worker workers[THREADS_MAX];
    size_t begun = 0;
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return false;
    const size_t cpus = (size_t)CPU_COUNT(&all);
    size_t n = 2 * cpus;
    if (n > THREADS_MAX)
        n = THREADS_MAX;
    for (; begun < n; begun++) {
        struct worker *w = &workers[begun];
        *w = (struct worker){.number = begun, .cpu = nth_cpu(&all, begun * cpus / n)};
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            break;
    }
    for (size_t i = 0; i < begun; i++)
        pthread_join(workers[i].thread, NULL);
    for (size_t i = 0; i < SHARED; i++)
        bufferpool_put(atomic_exchange(&shared[i], NULL));
    return begun == n && atomic_load(&failures) == 0;
}

/* A trim gives the pages back. The address keeps the policy, so the next use brings them to the node again. */
static bool works_after_trim(struct node_pool *own)
{
    const size_t freed = bufferpool_trim(own->pool);
    bufferpool_buf_t *buf = bufferpool_get(own->pool);
    if (buf == NULL)
        return false;
    memset(buf->data, 1, SIZE);
    look_at_pages(own, buf);
    const bool good = !bound || (freed > 0 && policy_holds(own, buf));
    bufferpool_put(buf);
    return good;
}

static bool end_pools(void)
{
    bool good = true;
    for (unsigned i = 0; i < topology.n; i++) {
        struct node_pool *own = &pools[i];
        if (own->pool == NULL)
            continue;
        good = works_after_trim(own) && good;
        printf("node %d: pages there %zu elsewhere %zu unbound %zu\n", own->node, atomic_load(&own->there),
               atomic_load(&own->elsewhere), own->unbound);
        (void)fflush(stdout);
        good = end_pool(own->pool) == 0 && good;
        free_chunks(own);
    }
    return good;
}

int main(int argc, char **argv)
{
    const char *folder = "/sys/devices/system/node";
    bool show = false, with_one_node = false;
    int option;
    while ((option = getopt(argc, argv, "bst:")) != -1) {
        if (option == '?') {
            fprintf(stderr, "usage: numa_pools [-b] [-s] [-t FOLDER]\n");
            return 2;
        }
        show = show || option == 's';
        with_one_node = with_one_node || option == 'b';
        folder = option == 't' ? optarg : folder;
    }
    page = (size_t)sysconf(_SC_PAGESIZE);
    block_bytes = whole_pages(SIZE + 4096);
    if (!numa_read(&topology, folder)) {
        fprintf(stderr, "numa_pools: no topology in %s: %s\n", folder, strerror(errno));
        return 1;
    }
    if (show) {
        numa_show(&topology);
        return 0;
    }
    if (make_pools(with_one_node) == 0) {
        fprintf(stderr, "numa_pools: %s\n", strerror(errno));
        return 1;
    }
    const bool worked = run_threads();
    return end_pools() && worked ? 0 : 1;
}
