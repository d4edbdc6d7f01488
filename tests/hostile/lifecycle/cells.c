/* SPDX-License-Identifier: MIT
 *
 * cells.c - plays one cell of the lifecycle matrix (matrix.h). Usage: cells ROLE END [MODULE]
 *
 * There are two threads, one of which is the main thread. The actor does what the role says, and then comes to the end
 * that the cell is about. The observer prepares the scene and, where the process goes on, looks at what the actor left.
 * At the end HELD buffers are always out. The program is built in two ways: linked with the library (LIFECYCLE_LINKED),
 * or opening MODULE, which has it.
 *
 * The program writes to stdout how far it came, and to stderr, with status 1, what was wrong. It calls no test
 * framework, so that it can be linked statically as a whole.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "library.h"
#include "matrix.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SANITIZED_THREADS 0
#if defined(__SANITIZE_THREAD__)
#undef SANITIZED_THREADS
#define SANITIZED_THREADS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#undef SANITIZED_THREADS
#define SANITIZED_THREADS 1
#endif
#endif

#if SANITIZED_THREADS
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0:report_thread_leaks=0";
}
#endif

enum { CAPACITY = 512, GOT = 6, HELD = 3, BUSY = 3, FORKS = 8, CHILD_SECONDS = 60 };

#define CHECK(condition) ((condition) ? (void)0 : failed(__LINE__, #condition))

static _Noreturn void failed(int line, const char *what)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    dprintf(STDERR_FILENO, "cells.c:%d: not so: %s\n", line, what);
    _exit(1);
}

static void say(const char *text)
{
    CHECK(write(STDOUT_FILENO, text, strlen(text)) == (ssize_t)strlen(text));
}

/* ---- the library ---- */

static struct library *lib;
static char **arguments;
#ifndef LIFECYCLE_LINKED
static void *handle;
#endif

static void library_open(const char *module)
{
#ifdef LIFECYCLE_LINKED
    CHECK(module == NULL);
    lib = lifecycle_library();
#else
    CHECK(module != NULL);
    handle = dlopen(module, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        failed(__LINE__, dlerror());
    lifecycle_library_fn library = NULL;
    void *symbol = dlsym(handle, "lifecycle_library");
    CHECK(symbol != NULL);
    memcpy(&library, &symbol, sizeof library);
    lib = library();
#endif
}

/* ---- the scene ---- */

enum role {
#define ROLE(name) ROLE_##name,
    LIFECYCLE_ROLES(ROLE)
#undef ROLE
};

struct end {
    const char *name;
    void (*before)(void);   /* the actor, before it does what the role says */
    void (*actor)(void);    /* and after that */
    void (*observer)(void); /* meanwhile */
    bool busy;              /* other threads are inside */
    bool handlers;          /* handlers of exit use the pool */
    bool no_background;
    bool closes_at_exit; /* a handler of exit, older than the library, closes it */
};

static enum role role;
static const struct end *end;
static bufferpool_t *pool;
static bufferpool_t *doomed;        /* what the role destroys */
static bufferpool_buf_t *bufs[GOT]; /* of which the first HELD stay out */
static bufferpool_t *slow;          /* its free hook waits for hook_gate */
static bufferpool_buf_t *slow_buf;  /* the first of two buffers of it, so that its put frees it */
static bufferpool_buf_t *slow_left; /* the second, which stays */
static pthread_mutex_t hook_gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t prepared, acted, unloaded;
static pthread_t actor, busy[BUSY];
static atomic_int actor_tid, busy_now, came_through;
static atomic_bool stop, waiting;
static atomic_int hook_calls; /* calls of the free hook on the library's thread */
static atomic_bool hook_may_go;

static bool actor_is_main(void)
{
    return role == ROLE_main_gets;
}

static void *hook_alloc(size_t size, size_t align, void *ctx)
{
    (void)ctx;
    return aligned_alloc(align, (size + align - 1) / align * align);
}

static void hook_free(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    pthread_mutex_lock(&hook_gate);
    pthread_mutex_unlock(&hook_gate);
    free(block);
}

static void hook_free_and_stay(void *block, size_t size, void *ctx)
{
    char name[32] = "";
    (void)size, (void)ctx;
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "bufferpool") == 0) {
        atomic_fetch_add(&hook_calls, 1);
        while (!atomic_load(&hook_may_go))
            nanosleep(&(const struct timespec){0, 1000000}, NULL);
    }
    free(block);
}

static bufferpool_t *make_pool(size_t max_live, unsigned flags, bool hooks)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.buffer_capacity = CAPACITY;
    config.thread_cache_bytes = 8 * (size_t)CAPACITY;
    config.max_live = max_live;
    config.flags = flags;
    if (hooks) {
        config.alloc = hook_alloc;
        config.free = hook_free;
    }
    bufferpool_t *made = lib->create(&config);
    CHECK(made != NULL);
    return made;
}

static bufferpool_stats_t stats_of(const bufferpool_t *of)
{
    bufferpool_stats_t stats = BUFFERPOOL_STATS_INIT;
    lib->stats(of, &stats);
    return stats;
}

static void check_laws(const bufferpool_t *of, size_t live)
{
    const bufferpool_stats_t s = stats_of(of);
    const uint64_t gets = s.gets_thread + s.gets_depot + s.gets_fresh + s.gets_bypass;
    const uint64_t puts = s.puts_kept + s.drops_oversize + s.drops_bypass + s.drops_over_cap + s.drops_idle_limit;
    CHECK(s.live == live && s.bypass_live == 0);
    CHECK(lib->live(of) == live);
    CHECK(gets == puts + s.live + s.bypass_live);
    CHECK((s.idle_thread + s.idle_depot != 0) == (s.idle_bytes != 0));
}

static bufferpool_buf_t *get_stamped(bufferpool_t *from, size_t i)
{
    bufferpool_buf_t *buf = lib->get(from);
    CHECK(buf != NULL && buf->len == 0 && buf->cap >= CAPACITY);
    memset(buf->data, (int)i + 1, CAPACITY);
    buf->len = CAPACITY;
    return buf;
}

static void put_stamped(bufferpool_buf_t *buf, size_t i)
{
    CHECK(buf->data[0] == i + 1 && buf->data[CAPACITY - 1] == i + 1);
    lib->put(buf);
}

static void get_and_put(bufferpool_t *of)
{
    bufferpool_buf_t *some[GOT];
    for (size_t i = 0; i < GOT; i++)
        some[i] = get_stamped(of, 100 + i);
    for (size_t i = 0; i < GOT; i++)
        put_stamped(some[i], 100 + i);
}

static void check_held(void)
{
    for (size_t i = 0; i < HELD; i++)
        CHECK(bufs[i]->data[0] == i + 1 && bufs[i]->data[CAPACITY - 1] == i + 1);
}

static void put_held(void)
{
    for (size_t i = 0; i < HELD; i++)
        put_stamped(bufs[i], i);
}

static void get_bufs(void)
{
    for (size_t i = 0; i < GOT; i++)
        bufs[i] = get_stamped(pool, i);
}

static void put_rest(void)
{
    for (size_t i = HELD; i < GOT; i++)
        put_stamped(bufs[i], i);
}

static void prepare(void)
{
    if (role == ROLE_thread_puts)
        get_bufs();
    if (role == ROLE_thread_destroys) {
        doomed = make_pool(0, BUFFERPOOL_BACKGROUND, true);
        get_and_put(doomed);
        get_bufs();
        put_rest();
    }
}

static void act(void)
{
    switch (role) {
    case ROLE_main_gets:
    case ROLE_thread_gets:
        get_bufs();
        CHECK(lib->reserve(bufs[GOT - 1], 3000) == 0);
        put_rest();
        break;
    case ROLE_thread_puts:
        put_rest();
        break;
    case ROLE_thread_destroys:
        CHECK(lib->destroy(doomed) == 0);
        break;
    }
}

/* ---- threads that are inside ---- */

static void *be_busy(void *unused)
{
    for (unsigned turn = 0; !atomic_load(&stop); turn++) {
        get_and_put(pool);
        if (turn % 16 == 0)
            (void)lib->trim(pool);
        if (turn % 16 == 8)
            lib->thread_flush();
        if (turn == 0)
            atomic_fetch_add(&busy_now, 1);
    }
    return unused;
}

static void busy_begin(void)
{
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_create(&busy[i], NULL, be_busy, NULL) == 0);
    while (atomic_load(&busy_now) < BUSY)
        sched_yield();
}

static void busy_end(void)
{
    atomic_store(&stop, true);
    for (int i = 0; i < BUSY; i++)
        CHECK(pthread_join(busy[i], NULL) == 0);
}

/* ---- looking at the actor ---- */

/* As ps shows it: S sleeping, Z ended; X: not there any more. */
static char state_of(pid_t tid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 'X';
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 'X';
    text[n] = '\0';
    return strrchr(text, ')')[2];
}

static void await_actor_waiting(void)
{
    while (!atomic_load(&waiting) || state_of(atomic_load(&actor_tid)) != 'S')
        sched_yield();
}

static void await_actor_end(bool cancelled)
{
    if (actor_is_main()) { /* the sanitizers know no join of the main thread */
        while (state_of(atomic_load(&actor_tid)) != 'Z')
            sched_yield();
    } else {
        void *result = NULL;
        CHECK(pthread_join(actor, &result) == 0);
        CHECK((result == PTHREAD_CANCELED) == cancelled);
    }
}

/* The actor and those who were busy are gone: nothing of theirs is lost, nothing is left of them. */
static void check_what_is_left(void)
{
    lib->thread_flush();
    CHECK(stats_of(pool).idle_thread == 0);
    CHECK(stats_of(pool).thread_caches <= 1);
    check_laws(pool, HELD);
    put_held();
    check_laws(pool, 0);
    CHECK(lib->destroy(pool) == 0);
}

static void see_actor_end(bool cancelled)
{
    await_actor_end(cancelled);
    if (end->busy)
        busy_end();
    check_what_is_left();
    say(".");
    exit(EXIT_SUCCESS);
}

static void observe_end(void)
{
    see_actor_end(false);
}

static void just_end(void)
{
}

static void park(void)
{
    for (;;)
        pause();
}

/* ---- destructors of thread-specific data ---- */

/* One key is older than the library's, one younger. What runs in the last round ThreadSanitizer cannot follow. */
enum { ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS - SANITIZED_THREADS };

static pthread_key_t older, younger;
static int rounds_of_older, rounds_of_younger;

static void use_late(int *rounds, pthread_key_t key)
{
    get_and_put(pool);
    if (++*rounds < ROUNDS)
        CHECK(pthread_setspecific(key, rounds) == 0);
}

static void older_destructor(void *rounds)
{
    use_late(rounds, older);
}

static void younger_destructor(void *rounds)
{
    use_late(rounds, younger);
}

static void leave_destructors(void)
{
    CHECK(pthread_key_create(&younger, younger_destructor) == 0);
    CHECK(pthread_setspecific(older, &rounds_of_older) == 0);
    CHECK(pthread_setspecific(younger, &rounds_of_younger) == 0);
}

static void observe_destructors(void)
{
    await_actor_end(false);
    CHECK(rounds_of_older == ROUNDS && rounds_of_younger == ROUNDS);
    check_what_is_left();
    say(".");
    exit(EXIT_SUCCESS);
}

/* ---- cancellation ---- */

static void cancel_myself(void)
{
    CHECK(pthread_cancel(pthread_self()) == 0);
}

/* Every call that might wait or make a system call, those apart that the role is not to make. */
static void call_everything(void)
{
    bufferpool_buf_t *many[GOT];
    bufferpool_buf_t *buf = lib->get(NULL);
    CHECK(buf != NULL && lib->print(buf, "%s %d", "text", 1) == 0 && lib->reserve(buf, (size_t)1 << 22) == 0);
    lib->put(buf);
    CHECK(lib->get_bulk(pool, many, GOT) == 0);
    lib->put_bulk(many, GOT);
    lib->set_max_live(pool, HELD);
    CHECK(lib->try_get(pool) == NULL);
    CHECK(lib->get_timed(pool, 2) == NULL);
    lib->set_max_live(pool, 0);
    (void)lib->reclaim(pool);
    (void)lib->trim(pool);
    lib->thread_flush();
    bufferpool_t *own = make_pool(1, BUFFERPOOL_BACKGROUND, true);
    get_and_put(own); /* most of them beyond the cap */
    CHECK(lib->destroy(own) == 0);
}

static void be_cancelled_now(void)
{
    if (role == ROLE_main_gets || role == ROLE_thread_gets)
        call_everything();
    atomic_store(&came_through, 1);
    pthread_testcancel();
    failed(__LINE__, "it was not cancelled");
}

static void observe_cancelled(void)
{
    await_actor_end(true);
    CHECK(atomic_load(&came_through) == 1);
    check_what_is_left();
    say(".");
    exit(EXIT_SUCCESS);
}

static void wait_at_a_cancellation_point(void)
{
    atomic_store(&came_through, 1);
    park();
}

static void run_on_cancellable_anywhere(void)
{
    atomic_store(&came_through, 1);
    // NOLINTNEXTLINE(cert-pos47-c,concurrency-thread-canceltype-asynchronous): what it does is what is tested
    CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0);
    for (;;)
        ;
}

static void cancel_when_through(void)
{
    while (atomic_load(&came_through) == 0)
        sched_yield();
    CHECK(pthread_cancel(actor) == 0);
    observe_cancelled();
}

static void wait_inside(void)
{
    atomic_store(&waiting, true);
    switch (role) {
    case ROLE_main_gets:
    case ROLE_thread_gets:
        bufs[0] = lib->get_timed(pool, BUFFERPOOL_NEVER);
        CHECK(bufs[0] != NULL);
        memset(bufs[0]->data, 1, CAPACITY); /* its bytes are unspecified now */
        break;
    case ROLE_thread_puts:
        lib->put(slow_buf);
        break;
    case ROLE_thread_destroys:
        CHECK(lib->destroy(slow) == 0);
        break;
    }
    atomic_store(&came_through, 1);
    pthread_testcancel();
    failed(__LINE__, "it was not cancelled");
}

/* Before the actor goes on to wait_inside. */
static void prepare_waiting(void)
{
    if (role == ROLE_thread_puts || role == ROLE_thread_destroys) {
        slow = make_pool(1, 0, true);
        slow_buf = get_stamped(slow, 0);
        slow_left = get_stamped(slow, 1);
        CHECK(stats_of(slow).bypass_live == 1);
        if (role == ROLE_thread_destroys) {
            put_stamped(slow_buf, 0);
            put_stamped(slow_left, 1);
        }
        pthread_mutex_lock(&hook_gate);
    }
}

static void cancel_inside(void)
{
    await_actor_waiting();
    CHECK(pthread_cancel(actor) == 0);
    while (state_of(atomic_load(&actor_tid)) != 'S') /* whatever the signal of the cancellation did */
        sched_yield();
    CHECK(atomic_load(&came_through) == 0);
    if (role == ROLE_thread_puts || role == ROLE_thread_destroys) {
        pthread_mutex_unlock(&hook_gate);
    } else {
        bufferpool_buf_t *buf = bufs[0];
        bufs[0] = NULL;
        put_stamped(buf, 0); /* for whom waits, who therefore has it before it ends */
    }
    await_actor_end(true);
    CHECK(atomic_load(&came_through) == 1);
    if (role == ROLE_thread_puts) {
        put_stamped(slow_left, 1);
        CHECK(lib->destroy(slow) == 0);
    }
    lib->set_max_live(pool, 0);
    check_what_is_left();
    say(".");
    exit(EXIT_SUCCESS);
}

/* ---- fork ---- */

static void fork_a(void (*child)(void))
{
    int status = -1;
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        child();
        _exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

static void *use_in_a_thread(void *unused)
{
    get_and_put(pool);
    get_and_put(NULL);
    return unused;
}

static void child_uses(void)
{
    pthread_t thread;
    check_laws(pool, HELD);
    get_and_put(pool);
    CHECK(pthread_create(&thread, NULL, use_in_a_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(lib->destroy(pool) != 0);
    put_held();
    check_laws(pool, 0);
    CHECK(lib->trim(pool) > 0);
    CHECK(lib->destroy(pool) == 0);
}

static void fork_child_uses(void)
{
    fork_a(child_uses);
}

static void child_exits(void)
{
    get_and_put(pool);
    exit(EXIT_SUCCESS);
}

static void fork_child_exits(void)
{
    fork_a(child_exits);
    lib->at_end = NULL; /* the parent says nothing */
    atomic_store(&stop, true);
}

static void child_quits(void)
{
    get_and_put(pool);
    _exit(EXIT_SUCCESS);
}

static void fork_child_quits(void)
{
    fork_a(child_quits);
}

static void child_thread_ends(void)
{
    get_and_put(pool);
    pthread_exit(NULL);
}

static void fork_child_thread_ends(void)
{
    fork_a(child_thread_ends);
}

static void child_of_busy(void)
{
    pthread_t thread;
    check_held();
    get_and_put(pool);
    if (!SANITIZED_THREADS)
        CHECK(pthread_create(&thread, NULL, use_in_a_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    const uint64_t live = stats_of(pool).live; /* what the others held besides */
    CHECK(live >= HELD && live <= HELD + BUSY * GOT);
    put_held();
    check_laws(pool, (size_t)live - HELD);
    _exit(EXIT_SUCCESS);
}

static void fork_among_busy(void)
{
    for (int i = 0; i < FORKS; i++)
        fork_a(child_of_busy);
}

/* ---- exec ---- */

static void exec_again(void)
{
    char *const again[] = {arguments[0], "after", "exec", arguments[3], NULL};
    execv(arguments[0], again);
    failed(__LINE__, "execv");
}

static int main_after_exec(void)
{
    pthread_t thread;
    pool = make_pool(0, BUFFERPOOL_BACKGROUND, false);
    CHECK(pthread_create(&thread, NULL, use_in_a_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    get_and_put(pool);
    check_laws(pool, 0);
    CHECK(lib->destroy(pool) == 0);
    say("e");
    return EXIT_SUCCESS;
}

/* ---- exit ---- */

static void handler(void)
{
    if (atomic_load(&stop))
        return;
    check_held();
    get_and_put(pool);
    get_and_put(NULL);
    if (!end->busy)
        check_laws(pool, HELD);
    say("h");
}

static void destructor(void)
{
    check_held();
    get_and_put(pool);
    get_and_put(NULL);
    if (!end->busy)
        check_laws(pool, HELD);
    say("d");
}

static void quick_handler(void)
{
    get_and_put(pool);
    check_laws(pool, HELD);
    say("q");
}

static void exit_now(void)
{
    exit(EXIT_SUCCESS);
}

/* From here on the library's thread is in a hook, and stays there. */
static void bring_thread_into_hook(void)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.alloc = hook_alloc;
    config.free = hook_free_and_stay;
    config.flags = BUFFERPOOL_BACKGROUND;
    config.reclaim_interval_ms = 1;
    bufferpool_t *hooked = lib->create(&config);
    CHECK(hooked != NULL);
    while (atomic_load(&hook_calls) == 0) {
        bufferpool_buf_t *some[GOT];
        CHECK(lib->get_bulk(hooked, some, GOT) == 0);
        lib->put_bulk(some, GOT);
        lib->thread_flush();
        nanosleep(&(const struct timespec){0, 10000000}, NULL); /* some periods without a call */
    }
}

static void exit_beside_a_hook(void)
{
    bring_thread_into_hook();
    say("x");
    exit(EXIT_SUCCESS);
}

static void exit_when_cancelled(void)
{
    say("x");
    CHECK(pthread_cancel(pthread_self()) == 0);
    exit(EXIT_SUCCESS);
}

static void quick_exit_now(void)
{
    CHECK(at_quick_exit(quick_handler) == 0);
    quick_exit(EXIT_SUCCESS);
}

static void _exit_now(void)
{
    _exit(EXIT_SUCCESS);
}

static void return_or_park(void)
{
    if (!actor_is_main())
        park();
}

static void park_or_return(void)
{
    if (actor_is_main())
        park();
}

/* ---- dlclose ---- */

#ifndef LIFECYCLE_LINKED

static void *do_nothing(void *unused)
{
    return unused;
}

static void library_close(void)
{
    lib->at_end = NULL;
    lib = NULL;
    CHECK(dlclose(handle) == 0);
    void *still = dlopen(arguments[3], RTLD_NOW | RTLD_NOLOAD);
    CHECK(still == NULL); /* the module itself is unmapped, or nothing is shown here */
    // cppcheck-suppress resourceLeak ; it is NULL
}

/* The library left nothing behind that a thread or a fork of later would run into; and it can be opened again. */
static void check_world_without(void)
{
    pthread_t thread;
    fork_a(just_end);
    CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
    library_open(arguments[3]);
    get_and_put(NULL);
    check_laws(NULL, 0);
    pool = make_pool(0, BUFFERPOOL_BACKGROUND, false);
    CHECK(pthread_create(&thread, NULL, use_in_a_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    check_laws(pool, 0);
    CHECK(lib->destroy(pool) == 0);
    fork_a(just_end);
    library_close();
    fork_a(just_end);
    say(".");
    exit(EXIT_SUCCESS);
}

static void unload_after_end(void)
{
    await_actor_end(false);
    check_what_is_left();
    library_close();
    check_world_without();
}

static void outlive_the_library(void)
{
    pthread_barrier_wait(&unloaded);
}

static void unload_before_end(void)
{
    put_held();
    CHECK(lib->destroy(pool) == 0);
    library_close();
    pthread_barrier_wait(&unloaded);
    await_actor_end(false);
    check_world_without();
}

static void unload_in_use(void)
{
    library_close();
    pthread_barrier_wait(&unloaded);
    await_actor_end(false);
    check_world_without();
}

static void unload_when_cancelled(void)
{
    CHECK(pthread_cancel(pthread_self()) == 0);
    library_close();
    atomic_store(&came_through, 1);
    pthread_testcancel();
}

static void unload_beside_a_hook(void)
{
    bring_thread_into_hook();
    atomic_store(&waiting, true);
    library_close();
    pthread_barrier_wait(&unloaded);
}

/* The hook goes on when dlclose waits for it, or else has come back. */
static void let_hook_go_on(void)
{
    await_actor_waiting();
    atomic_store(&hook_may_go, true);
    pthread_barrier_wait(&unloaded);
    await_actor_end(false);
    check_world_without();
}

/* The hook returns into the library after that, and is called again. */
static void close_at_exit(void)
{
    CHECK(dlclose(handle) == 0);
    atomic_store(&hook_may_go, true);
    while (atomic_load(&hook_calls) < 2)
        sched_yield();
}

static void observe_unloader(void)
{
    await_actor_end(true);
    CHECK(atomic_load(&came_through) == 1);
    check_world_without();
}

#endif

/* ---- the matrix ---- */

static const struct end ends[] = {
    {"thread_exit", NULL, just_end, observe_end, false, false, false, false},
    {"thread_exit_late", NULL, leave_destructors, observe_destructors, false, false, false, false},
    {"cancel_pending", cancel_myself, be_cancelled_now, observe_cancelled, false, false, false, false},
    {"cancel_deferred", NULL, wait_at_a_cancellation_point, cancel_when_through, false, false, false, false},
    {"cancel_asynchronous", NULL, run_on_cancellable_anywhere, cancel_when_through, false, false, false, false},
    {"cancel_while_waiting", NULL, wait_inside, cancel_inside, false, false, false, false},
    {"fork_child_uses", NULL, fork_child_uses, observe_end, false, false, false, false},
    {"fork_child_exits", NULL, fork_child_exits, observe_end, false, true, false, false},
    {"fork_child_quits", NULL, fork_child_quits, observe_end, false, false, false, false},
    /* the thread of BUFFERPOOL_BACKGROUND is one more, which would go on */
    {"fork_child_thread_ends", NULL, fork_child_thread_ends, observe_end, false, false, true, false},
    {"fork_among_busy", NULL, fork_among_busy, observe_end, true, false, false, false},
    {"exec", NULL, exec_again, park, false, false, false, false},
    {"exec_among_busy", NULL, exec_again, park, true, false, false, false},
    {"exit", NULL, exit_now, park, false, true, false, false},
    {"exit_among_busy", NULL, exit_now, park, true, true, false, false},
    {"exit_when_cancelled", NULL, exit_when_cancelled, park, false, false, false, false},
    {"exit_beside_a_hook", NULL, exit_beside_a_hook, park, false, false, false, false},
    {"return_from_main", NULL, return_or_park, park_or_return, false, true, false, false},
    {"quick_exit", NULL, quick_exit_now, park, false, false, false, false},
    {"_exit", NULL, _exit_now, park, false, false, false, false},
#ifndef LIFECYCLE_LINKED
    {"thread_exit_then_unload", NULL, just_end, unload_after_end, false, false, false, false},
    {"unload_then_thread_exit", NULL, outlive_the_library, unload_before_end, false, false, false, false},
    {"unload_with_buffers_out", NULL, outlive_the_library, unload_in_use, false, false, false, false},
    {"unload_when_cancelled", NULL, unload_when_cancelled, observe_unloader, false, false, false, false},
    {"unload_beside_a_hook", NULL, unload_beside_a_hook, let_hook_go_on, false, false, false, false},
    {"unload_at_exit", NULL, exit_beside_a_hook, park, false, false, false, true},
#endif
};

static enum role role_named(const char *name)
{
    static const char *const names[] = {
#define ROLE(name) #name,
        LIFECYCLE_ROLES(ROLE)
#undef ROLE
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return (enum role)i;
    failed(__LINE__, "there is such a role");
}

static const struct end *end_named(const char *name)
{
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (strcmp(ends[i].name, name) == 0)
            return &ends[i];
    failed(__LINE__, "there is such an end");
}

static void run_actor(void)
{
    pthread_barrier_wait(&prepared);
    atomic_store(&actor_tid, gettid());
    if (end->before != NULL)
        end->before();
    act();
    pthread_barrier_wait(&acted);
    if (end->observer == cancel_inside)
        pthread_barrier_wait(&prepared);
    end->actor();
}

static void run_observer(void)
{
    prepare();
    if (end->busy)
        busy_begin();
    pthread_barrier_wait(&prepared);
    pthread_barrier_wait(&acted);
    if (end->observer == cancel_inside) {
        lib->set_max_live(pool, HELD);
        prepare_waiting();
        pthread_barrier_wait(&prepared);
    }
    end->observer();
}

static void *actor_main(void *unused)
{
    run_actor();
    return unused;
}

static void *observer_main(void *unused)
{
    run_observer();
    return unused;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3 || argc == 4);
    arguments = argv;
    if (strcmp(argv[2], "exec") == 0 && strcmp(argv[1], "after") == 0) {
        library_open(argv[3]);
        return main_after_exec();
    }
    role = role_named(argv[1]);
    end = end_named(argv[2]);
    CHECK(pthread_key_create(&older, older_destructor) == 0);
    if (end->handlers)
        CHECK(atexit(handler) == 0);
#ifndef LIFECYCLE_LINKED
    if (end->closes_at_exit)
        CHECK(atexit(close_at_exit) == 0);
#endif
    library_open(argv[3]);
    pool = make_pool(0, end->no_background ? 0 : BUFFERPOOL_BACKGROUND, false);
    if (end->handlers) {
        CHECK(atexit(handler) == 0);
        lib->at_end = destructor;
    }
    pthread_barrier_init(&prepared, NULL, 2);
    pthread_barrier_init(&acted, NULL, 2);
    pthread_barrier_init(&unloaded, NULL, 2);

    pthread_t thread;
    if (actor_is_main()) {
        actor = pthread_self();
        CHECK(pthread_create(&thread, NULL, observer_main, NULL) == 0);
        run_actor();
        if (end->actor != return_or_park)
            pthread_exit(NULL);
    } else {
        CHECK(pthread_create(&actor, NULL, actor_main, NULL) == 0);
        run_observer();
    }
    return EXIT_SUCCESS;
}
