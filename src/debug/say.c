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
