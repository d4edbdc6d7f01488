/* SPDX-License-Identifier: MIT
 *
 * init.c - the library's first use, and its end
 *
 * Both call every module that has something to begin or to end, so this module stands above all of those. The debug
 * modes are read before any thread has a cache, and so before there is a buffer. Of these modes only `holders` may
 * change later, and recording.c says what becomes of the gates that are open then.
 */
#include "init.h"

#include "background.h"
#include "debug/sanitizer.h"
#include "debug/verify.h"
#include "debug/watch.h"
#include "fork.h"
#include "heap/spare.h"
#include "reclaim.h"
#include "registry.h"
#include "stats.h"
#include "steal.h"
#include "tls_cache.h"

static _Atomic(uint32_t) ready; /* fork_epoch + 1 of the process that has begun; 0: none has */

/* The default pool is as it stays: a get of it has begun. Set under the registry's lock, for good. */
static _Atomic(bool) default_used;

/* ---- the beginning ---- */

bool init_default_used(void)
{
    return load_relaxed(&default_used);
}

void init_use_default(void)
{
    store_release(&default_used, true); /* with the acquire in init_first_use: its configuration is as it stays */
}

bool init_first_use(const bufferpool_t *pool)
{
    const bool of_default = pool == &pool_default;
    /* acquires: with the releases below and in init_use_default */
    if (likely(load_acquire(&ready) == fork_epoch + 1) && (!of_default || likely(load_acquire(&default_used))))
        return true;
    if (of_default) { /* first: its configuration may change until then */
        registry_lock();
        init_use_default();
        registry_unlock();
    }
    steal_init(pool);
    registry_lock();
    tls_cache_on_thread_end(reclaim_after_thread);
    if (MODES_BUILT) {
        modes_init(sanitizer_under_memcheck());
        watch_configure(&pool_default.heap);
    }
    const bool installed = fork_handlers_install();
    store_release(&ready, installed ? fork_epoch + 1
                                    : 0); /* with the acquire above: the modes and the default pool are as they stay */
    registry_unlock();
    if (MODES_BUILT)
        modes_tell();
    return installed;
}

void init_modes(void)
{
    if (!MODES_BUILT)
        return;
    registry_lock();
    modes_init(sanitizer_under_memcheck());
    registry_unlock();
    modes_tell();
}

/* The handlers of fork are installed when the library is loaded. The first use would install them under the registry's
 * lock, and a fork at that moment would leave the child a lock that no thread opens. If a constructor that ran earlier
 * has used the library, they are installed already. */
__attribute__((constructor)) static void at_load(void)
{
    registry_lock();
    (void)fork_handlers_install();
    registry_unlock();
}

/* ---- the end ---- */

/* The shared library is never unmapped. A plug-in that contains the static library may be unmapped, and the pthread key
 * must go with it. */
__attribute__((destructor)) static void at_end(void)
{
    if (fork_epoch == FORK_EPOCH_BROKEN)
        return;
    background_stop();
    if (modes_have(MODES_WATCH))
        verify_all();
    if (modes_have(MODE_STATS))
        metrics_say_all();
    if (modes_have(MODE_HOLDERS))
        holders_say();
    tls_cache_end();
    spare_end(); /* first, or the tables of ended pools would take its place */
    registry_end();
}
