/* SPDX-License-Identifier: MIT
 *
 * shortage.c - the news that the system is short of memory (BUFFERPOOL_PRESSURE)
 *
 * Finds a source and opens it, in this order:
 *
 *     1. the path in MEMORY_PRESSURE_WATCH. The bytes of MEMORY_PRESSURE_WRITE, decoded, are written to it at once
 *     2. memory.pressure of the process's own cgroup
 *     3. /proc/pressure/memory
 *
 * A PSI file has POLLPRI when memory is short, and is never read. Its trigger is TRIGGER where the environment names
 * none. A FIFO or a socket has POLLIN, and what it has is read and dropped. A regular file that is no PSI file would
 * never tell anything, or always. So only files of procfs and of cgroups are taken for PSI files.
 *
 * The environment is read by the thread that opens, which is a thread of the program: the library's own thread might
 * read it while the program changes it. It is not read in a program that runs with more rights than its user, who would
 * have it write to files of the user's choice.
 *
 * A source is opened, linked, unlinked and closed under the registry's lock, which is held across fork. So a child
 * closes what its parent had open before the child can close, and use anew, the same numbers itself. A child that the
 * handlers of fork do not see calls exec, and everything is closed there.
 *
 * Open, read, write, poll and close are cancellation points. So cancellation is off around them.
 */
#include "shortage.h"

#include "debug/modes.h"
#include "debug/say.h"
#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

/* All tasks together stall for 200 ms in 2 s. Without privilege a window is a multiple of 2 s. The kernel takes the
 * last byte for the end of the text, so the NUL is written too. */
#define TRIGGER "some 200000 2000000"

/* What statfs says of procfs and of cgroups, from <linux/magic.h>, which not every system has. */
#define TYPE_PROC   0x9fa0u
#define TYPE_CGROUP 0x63677270u

static struct shortage *all_open; /* linked by next; under the registry's lock */

/* What a search needs; too much for the stack of a small thread. */
struct search {
    const char *wrong; /* what is wrong with the environment; NULL: nothing */
    size_t length;     /* of the trigger */
    unsigned char trigger[1024];
    char groups[4096]; /* /proc/self/cgroup */
    char path[PATH_MAX];
};

/* ---- one source ---- */

static int close_and_fail(int file)
{
    (void)close(file);
    return -1;
}

static int open_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    memcpy(address.sun_path, path, strlen(path));
    const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (file >= 0 && connect(file, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return close_and_fail(file);
    return file;
}

/* A PSI file or a FIFO. For writing too: a PSI file gets its trigger, and a FIFO that has a writer in this process does
 * not come to an end when the last other one closes it. */
static int open_file(const char *path)
{
    struct stat status;
    struct statfs system;
    const int file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return -1;
    if (fstat(file, &status) != 0)
        return close_and_fail(file);
    if (S_ISFIFO(status.st_mode))
        return file;
    if (!S_ISREG(status.st_mode) || fstatfs(file, &system) != 0)
        return close_and_fail(file);
    const uint64_t type = (uint64_t)system.f_type & UINT32_MAX;
    return type == TYPE_PROC || type == TYPE_CGROUP ? file : close_and_fail(file);
}

static bool write_whole(int file, bool is_socket, const void *bytes, size_t n)
{
    if (n == 0)
        return true;
    const ssize_t written = is_socket ? send(file, bytes, n, MSG_NOSIGNAL) : write(file, bytes, n);
    return written >= 0 && (size_t)written == n;
}

/* A PSI file without a trigger that the kernel takes has POLLERR. */
static bool is_in_order(int file, short event)
{
    struct pollfd ask = {file, event, 0};
    return poll(&ask, 1, 0) >= 0 && (ask.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

/* Opens the file, FIFO or socket, and writes the bytes to it. */
static bool open_source(struct shortage *s, const char *path, const void *bytes, size_t n)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return false;
    const bool is_socket = S_ISSOCK(status.st_mode);
    if (!is_socket && !S_ISFIFO(status.st_mode) && !S_ISREG(status.st_mode))
        return false; /* to open a device may do something */
    const int file = is_socket ? open_socket(path) : open_file(path);
    if (file < 0)
        return false;
    s->source = file;
    s->event = S_ISREG(status.st_mode) ? POLLPRI : POLLIN;
    if (write_whole(file, is_socket, bytes, n) && is_in_order(file, s->event))
        return true;
    (void)close_and_fail(file);
    return false;
}

/* ---- 1: the environment ---- */

static int value_of_digit(char digit)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = digit != '\0' ? strchr(digits, digit) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* Decodes base64 into search->trigger. */
static bool decode(struct search *search, const char *text)
{
    const size_t length = strlen(text);
    const size_t padding = length < 4 || text[length - 1] != '=' ? 0 : 1 + (size_t)(text[length - 2] == '=');
    if (length % 4 != 0 || length / 4 * 3 > sizeof(search->trigger))
        return false;
    unsigned bits = 0;
    for (size_t i = 0; i < length; i++) {
        const int value = i < length - padding ? value_of_digit(text[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
        if (i % 4 == 3)
            for (size_t j = 0; j < 3; j++)
                search->trigger[i / 4 * 3 + j] = (unsigned char)(bits >> (16 - 8 * j));
    }
    search->length = length / 4 * 3 - padding;
    return true;
}

enum answer { ANSWER_NONE, ANSWER_OPEN, ANSWER_OFF };

static enum answer ask_environment(struct shortage *s, struct search *search)
{
    const char *watch = secure_getenv("MEMORY_PRESSURE_WATCH"), *bytes = secure_getenv("MEMORY_PRESSURE_WRITE");
    if (watch == NULL)
        return ANSWER_NONE;
    if (strcmp(watch, "/dev/null") == 0)
        return ANSWER_OFF;
    if (watch[0] != '/')
        search->wrong = "MEMORY_PRESSURE_WATCH is not an absolute path";
    else if (bytes != NULL && !decode(search, bytes))
        search->wrong = "MEMORY_PRESSURE_WRITE is not base64, or has more than 1,024 bytes";
    else if (!open_source(s, watch, search->trigger, search->length))
        search->wrong = "MEMORY_PRESSURE_WATCH names no PSI file, FIFO or socket that can be opened and written to";
    return search->wrong == NULL ? ANSWER_OPEN : ANSWER_NONE;
}

/* ---- 2 and 3: the system ---- */

static bool make_path(struct search *search, const char *root, const char *folder, const char *group, const char *name)
{
    const int n = snprintf(search->path, sizeof(search->path), "%s%s%s%s", root, folder, group, name);
    return n > 0 && (size_t)n < sizeof(search->path);
}

/* The path of the process's cgroup in the one hierarchy of version 2, or NULL. */
static const char *own_group(struct search *search)
{
    const int file = open(search->path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    const ssize_t n = read(file, search->groups, sizeof(search->groups) - 1);
    (void)close(file);
    search->groups[n > 0 ? n : 0] = '\0';
    char *at = search->groups;
    while (strncmp(at, "0::/", 4) != 0) {
        at = strchr(at, '\n');
        if (at == NULL)
            return NULL;
        at++;
    }
    at[strcspn(at, "\n")] = '\0';
    return strstr(at, "/..") == NULL ? at + 3 : NULL; /* outside of what this process sees of the hierarchy */
}

static bool ask_system(struct shortage *s, struct search *search, const char *root)
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}; /* the second beside version 1 */
    const char *group = make_path(search, root, "/proc/self/cgroup", "", "") ? own_group(search) : NULL;
    for (size_t i = 0; group != NULL && i < sizeof(mounts) / sizeof(mounts[0]); i++)
        if (make_path(search, root, mounts[i], group, "/memory.pressure") &&
            open_source(s, search->path, TRIGGER, sizeof(TRIGGER)))
            return true;
    return make_path(search, root, "/proc/pressure/memory", "", "") &&
           open_source(s, search->path, TRIGGER, sizeof(TRIGGER));
}

/* ---- for the rest of the library ---- */

static bool open_both(struct shortage *s, struct search *search, const char *root)
{
    s->wakeups = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wakeups < 0)
        return false;
    const enum answer answer = ask_environment(s, search);
    if (answer == ANSWER_OPEN || (answer == ANSWER_NONE && ask_system(s, search, root)))
        return true;
    (void)close(s->wakeups);
    return false;
}

/* What the environment has wrong is as if it were not there. So only debug modes say it. */
static void tell(const struct search *search)
{
    char line[160];
    if (!modes_have(MODES_NAMED)) /* by itself: a build without the modes has no other use of them */
        return;
    if (search->wrong == NULL)
        return;
    const int n = snprintf(line, sizeof(line), "libbufferpool: %s; ignored\n", search->wrong);
    say(line, (size_t)n);
}

struct shortage *shortage_open(const char *root)
{
    struct shortage *s = calloc(1, sizeof(*s));
    struct search *search = calloc(1, sizeof(*search));
    int cancelable;
    bool opened = false;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    if (s != NULL && search != NULL) {
        registry_lock();
        opened = open_both(s, search, root);
        if (opened) {
            s->next = all_open;
            all_open = s;
        }
        registry_unlock();
        tell(search);
    }
    free(search);
    if (!opened) {
        free(s);
        s = NULL;
    }
    pthread_setcancelstate(cancelable, NULL);
    return s;
}

/* Reads what there is, but no more than a FIFO holds: the rest is left for the next time. Returns whether there was
 * something. */
static bool drain(struct shortage *s)
{
    char bytes[4096];
    for (int i = 0; i < 16; i++) {
        const ssize_t n = read(s->source, bytes, sizeof(bytes));
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            s->lost = true;
        if (n <= 0)
            return i > 0;
    }
    return true;
}

bool shortage_wait(struct shortage *s, uint64_t ms)
{
    struct pollfd files[] = {{s->source, s->event, 0}, {s->wakeups, POLLIN, 0}};
    uint64_t count;
    const int timeout = ms == UINT64_MAX ? -1 : ms < INT_MAX ? (int)ms : INT_MAX;
    if (poll(files, 2, timeout) <= 0)
        return false;
    if (files[1].revents != 0)
        (void)!read(s->wakeups, &count, sizeof(count));
    if ((files[0].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
        s->lost = true;
    if ((files[0].revents & s->event) == 0)
        return false;
    return s->event == POLLIN ? drain(s) : !s->lost; /* a PSI file that has an error has POLLPRI too */
}

void shortage_wake(const struct shortage *s)
{
    const uint64_t one = 1;
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    (void)!write(s->wakeups, &one, sizeof(one));
    pthread_setcancelstate(cancelable, NULL);
}

static void close_files(const struct shortage *s)
{
    (void)close(s->source);
    (void)close(s->wakeups);
}

void shortage_close(struct shortage *s)
{
    if (s == NULL)
        return;
    int cancelable;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
    registry_lock();
    struct shortage **link = &all_open;
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    close_files(s);
    registry_unlock();
    pthread_setcancelstate(cancelable, NULL);
    free(s);
}

void shortage_after_fork_in_child(void)
{
    for (const struct shortage *s = all_open; s != NULL; s = s->next)
        close_files(s);
    all_open = NULL;
}

void shortage_forget(struct shortage *s)
{
    free(s);
}
