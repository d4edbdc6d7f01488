/* SPDX-License-Identifier: MIT
 *
 * say.c - text on stderr
 *
 * A pipe that has lost its reader must not end the process by SIGPIPE, and a cancellation must not end the thread in
 * the middle of a call of the library.
 */
#include "debug/say.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void say(const char *text, size_t length)
{
    const struct timespec no_time = {0, 0};
    int cancelable;
    sigset_t broken_pipe, before, pending;
    const int saved_errno = errno;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    ssize_t written = 0;
    while (length > 0 && (written >= 0 || errno == EINTR)) {
        written = write(STDERR_FILENO, text, length);
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
    if (written < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE)) /* takes back the signal of this write */
        (void)sigtimedwait(&broken_pipe, NULL, &no_time);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancelable, NULL);
    errno = saved_errno;
}

/* ---- what is wrong with a variable of the environment ---- */

void notes_add(struct notes *notes, const char *word, size_t n, const char *what, const char *more)
{
    char line[384];
    const int shown = n < 64 ? (int)n : 64;
    const int length =
        snprintf(line, sizeof(line), "libbufferpool: %s: '%.*s' %s%s\n", notes->variable, shown, word, what, more);
    if (length > 0 && (size_t)length < sizeof(notes->text) - notes->length) {
        memcpy(notes->text + notes->length, line, (size_t)length);
        notes->length += (size_t)length;
    } else {
        notes->cut = true;
    }
}

void notes_end(struct notes *notes)
{
    store_release(&notes->untold, notes->length > 0); /* with the exchange in notes_tell */
}

void notes_tell(struct notes *notes)
{
    char more[64];
    /* acquire: with the release in notes_end; one thread alone finds it set */
    if (!load_relaxed(&notes->untold) || !atomic_exchange_explicit(&notes->untold, false, memory_order_acquire))
        return;
    say(notes->text, notes->length);
    const int length = snprintf(more, sizeof(more), "libbufferpool: %s: more of it is ignored\n", notes->variable);
    if (notes->cut && length > 0)
        say(more, (size_t)length);
}
