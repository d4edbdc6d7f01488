/* SPDX-License-Identifier: MIT
 *
 * net.h - what the servers of the guide need beside libbufferpool: a socket that listens, a descriptor that says when
 * to stop, and the time
 */
#ifndef NET_H
#define NET_H

#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A socket that listens on 127.0.0.1, at a port that the kernel chooses. Prints "PROGRAM PORT". Returns -1 on
 * failure. */
static inline int listen_on_free_port(const char *program)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1; // cppcheck-suppress resourceLeak ; the process ends
    printf("%s %d\n", program, ntohs(address.sin_port));
    // cppcheck-suppress resourceLeak ; the function returns it
    return fflush(stdout) == 0 ? fd : -1;
}

/* A descriptor that becomes readable when SIGINT or SIGTERM comes, and stays readable since nobody reads it. Call it
 * before the first thread, which inherits the signal mask. Returns -1 on failure. */
static inline int stop_descriptor(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static inline int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif /* NET_H */
