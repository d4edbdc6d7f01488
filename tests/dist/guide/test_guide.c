/* SPDX-License-Identifier: MIT
 *
 * test_guide.c - the programs of the guide (examples/guide/) do what its chapters say
 *
 * Each program is started as a user would start it. The servers choose a port and print it, and the test is their
 * client. Nothing here waits for a while and hopes. A client that has the answer to one line, and sent the beginning of
 * the next in the same write, knows that the server holds a buffer for it.
 */
#include "support/support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { CLIENTS = 8 };

typedef struct program {
    pid_t pid;
    int out, err; /* a pipe; a file in memory */
    int port;
    char said[4096]; /* to stderr, once it has ended */
} program_t;

/* ---- programs ---- */

/* Starts it with two arguments at most. in and out: its descriptors, or -1 for an empty stdin and a pipe. */
static program_t start(const char *name, const char *first, const char *second, int in, int out)
{
    program_t program = {.err = memfd_create("stderr", MFD_CLOEXEC)};
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    program.out = pipes[0];
    program.pid = fork();
    if (program.pid == 0) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", GUIDE_PROGRAMS, name);
        dup2(in >= 0 ? in : open("/dev/null", O_RDONLY | O_CLOEXEC), STDIN_FILENO);
        dup2(out >= 0 ? out : pipes[1], STDOUT_FILENO);
        dup2(program.err, STDERR_FILENO);
        execl(path, path, first, second, (char *)NULL);
        _exit(127);
    }
    assert_true(program.pid > 0);
    close(pipes[1]);
    return program;
}

/* Reads until the end, or as much as there is room. */
static size_t read_to_end(int fd, char *to, size_t room)
{
    size_t got = 0;
    ssize_t n;
    while (got < room && (n = read(fd, to + got, room - got)) > 0)
        got += (size_t)n;
    return got;
}

/* The program has ended well, and says the figures of its pool. */
static void expect_end(program_t *program)
{
    int status;
    assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
    lseek(program->err, 0, SEEK_SET);
    program->said[read_to_end(program->err, program->said, sizeof program->said - 1)] = '\0';
    close(program->out);
    close(program->err);
    if (status != 0)
        print_error("it ended with %#x, and said: %s\n", (unsigned)status, program->said);
    assert_int_equal(status, 0);
}

static long figure(const program_t *program, const char *name)
{
    const char *at = strstr(program->said, name);
    assert_non_null(at);
    return strtol(at + strlen(name), NULL, 10);
}

static program_t start_server(const char *name, const char *cap, const char *milliseconds)
{
    program_t server = start(name, cap, milliseconds, -1, -1);
    char line[64] = "";
    for (size_t i = 0; i < sizeof line - 1 && read(server.out, line + i, 1) == 1 && line[i] != '\n'; i++)
        ;
    assert_memory_equal(line, name, strlen(name));
    server.port = (int)strtol(line + strlen(name), NULL, 10);
    assert_in_range(server.port, 1, 65535);
    return server;
}

static void stop(program_t *server)
{
    kill(server->pid, SIGTERM);
    expect_end(server);
    assert_int_equal(figure(server, " beyond "), 0);
    assert_int_equal(figure(server, " live "), 0);
    assert_int_equal(figure(server, " gets "), figure(server, " puts "));
}

/* ---- clients ---- */

static int connect_to(const program_t *server)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval patience = {.tv_sec = 30};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int fd, const char *text)
{
    char heard[64] = "";
    assert_true(strlen(text) < sizeof heard);
    assert_int_equal(recv(fd, heard, strlen(text), MSG_WAITALL), strlen(text));
    assert_string_equal(heard, text);
}

static void expect_hang_up(int fd)
{
    char byte;
    const ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* A client for which the server holds a buffer from now on: it has sent a part of a line. */
static int holder(const program_t *server, const char *answer)
{
    const int fd = connect_to(server);
    say(fd, "a\nb");
    hear(fd, answer);
    return fd;
}

/* Clients that the server knows: each has the answer to a line. */
static void greet(const program_t *server, int *clients, const char *answer)
{
    for (int i = 0; i < CLIENTS; i++) {
        say(clients[i] = connect_to(server), "g\n");
        hear(clients[i], answer);
    }
}

/* ---- a thread per connection ---- */

static void threads_answers_in_capitals(void **state)
{
    (void)state;
    static char line[100000], back[sizeof line];
    program_t server = start_server("threads", "4", "30000");
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        say(clients[i] = connect_to(&server), "one\ntwo\n");
    for (int i = 0; i < CLIENTS; i++)
        hear(clients[i], "ONE\nTWO\n");
    memset(line, 'x', sizeof line - 1); /* longer than a buffer: it grows */
    line[sizeof line - 1] = '\n';
    assert_int_equal(send(clients[0], line, sizeof line, MSG_NOSIGNAL), sizeof line);
    assert_int_equal(recv(clients[0], back, sizeof back, MSG_WAITALL), sizeof back);
    for (size_t i = 0; i < sizeof line - 1; i++)
        assert_int_equal(back[i], 'X');
    stop(&server); /* though all clients are connected */
    for (int i = 0; i < CLIENTS; i++)
        expect_hang_up(clients[i]);
    assert_true(figure(&server, " most ") <= 4);
    assert_true(figure(&server, " grown ") > 0);
}

static void threads_says_busy_at_the_cap(void **state)
{
    (void)state;
    program_t server = start_server("threads", "2", "1");
    const int a = holder(&server, "A\n"), b = holder(&server, "A\n"), c = connect_to(&server);
    say(c, "c\n");
    hear(c, "busy\n");
    expect_hang_up(c);
    say(a, "\n");
    hear(a, "B\n");
    char first = 'b'; /* the server puts the buffer after the answer: soon one gets it */
    while (first == 'b') {
        const int d = connect_to(&server);
        say(d, "d\n");
        assert_int_equal(recv(d, &first, 1, 0), 1);
        close(d);
    }
    assert_int_equal(first, 'D');
    stop(&server); /* though b has sent a part of a line */
    close(a);
    expect_hang_up(b);
    assert_true(figure(&server, " refused ") > 0);
    assert_int_equal(figure(&server, " most "), 2);
}

static void threads_serves_all_that_wait(void **state)
{
    (void)state;
    int clients[CLIENTS];
    program_t server = start_server("threads", "2", "60000");
    greet(&server, clients, "G\n");
    const int a = holder(&server, "A\n"), b = holder(&server, "A\n");
    for (int i = 0; i < CLIENTS; i++)
        say(clients[i], "c\n");
    say(a, "\n");
    say(b, "\n");
    for (int i = 0; i < CLIENTS; i++) {
        hear(clients[i], "C\n");
        close(clients[i]);
    }
    hear(a, "B\n");
    hear(b, "B\n");
    stop(&server);
    close(a);
    close(b);
    assert_int_equal(figure(&server, " refused "), 0);
    assert_int_equal(figure(&server, " most "), 2);
}

/* ---- an event loop ---- */

static void echo_serves_all_that_wait(void **state)
{
    (void)state;
    int clients[CLIENTS];
    program_t server = start_server("echo", "2", "60000");
    greet(&server, clients, "g\n");
    const int a = holder(&server, "a\n"), b = holder(&server, "a\n");
    for (int i = 0; i < CLIENTS; i++)
        say(clients[i], "c\n");
    const struct linger at_once = {.l_onoff = 1};
    setsockopt(clients[3], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(clients[3]); /* it waits, and resets its connection */
    say(a, "\n");
    hear(a, "b\n");
    for (int i = 0; i < CLIENTS; i++) {
        if (i == 3)
            continue;
        hear(clients[i], "c\n");
        close(clients[i]);
    }
    stop(&server); /* though b holds a buffer */
    close(a);
    expect_hang_up(b);
    assert_true(figure(&server, "loops: waits ") > 0);
    assert_int_equal(figure(&server, " most "), 2);
}

static void echo_ends_while_connections_wait(void **state)
{
    (void)state;
    program_t server = start_server("echo", "1", "60000");
    int clients[CLIENTS];
    greet(&server, clients, "g\n");
    const int a = holder(&server, "a\n");
    for (int i = 0; i < CLIENTS; i++)
        say(clients[i], "c\n");
    stop(&server);
    expect_hang_up(a);
    for (int i = 0; i < CLIENTS; i++)
        expect_hang_up(clients[i]);
    assert_true(figure(&server, "loops: waits ") > 0);
}

static void echo_ends_those_that_hold_a_buffer_too_long(void **state)
{
    (void)state;
    program_t server = start_server("echo", "2", "200");
    const int a = holder(&server, "a\n"), b = holder(&server, "a\n"), c = connect_to(&server);
    say(c, "c\n");
    hear(c, "c\n"); /* though neither of the others ever says more */
    expect_hang_up(a);
    expect_hang_up(b);
    close(c);
    stop(&server);
    assert_int_equal(figure(&server, " most "), 2);
}

/* Sends and reads as it comes, more than all buffers of the kernel hold: the server writes in parts. */
static void echo_sends_the_rest_when_the_client_has_read(void **state)
{
    (void)state;
    enum { LINE = 1000, BYTES = 16000 * LINE };
    static char line[LINE], back[1 << 16];
    memset(line, '.', LINE - 1);
    line[LINE - 1] = '\n';
    program_t server = start_server("echo", "2", "60000");
    const int fd = connect_to(&server);
    for (size_t sent = 0, got = 0; got < BYTES;) {
        struct pollfd poll_fd = {.fd = fd, .events = sent < BYTES ? POLLOUT : POLLIN};
        if (sent < BYTES && poll(&poll_fd, 1, 0) == 1) {
            const size_t from = sent % LINE;
            const ssize_t n = send(fd, line + from, LINE - from, MSG_NOSIGNAL | MSG_DONTWAIT);
            assert_true(n > 0 || errno == EAGAIN);
            sent += n > 0 ? (size_t)n : 0;
            continue; /* reads only while it cannot send */
        }
        const ssize_t n = recv(fd, back, sizeof back, 0);
        assert_true(n > 0);
        for (size_t i = 0; i < (size_t)n; i++)
            assert_int_equal(back[i], line[(got + i) % LINE]);
        got += (size_t)n;
    }
    close(fd);
    stop(&server);
}

/* ---- programs without a network ---- */

static void expect_output(program_t *program, const char *expected)
{
    char out[4096];
    out[read_to_end(program->out, out, sizeof out - 1)] = '\0';
    expect_end(program);
    assert_string_equal(out, expected);
}

static void first_answers(void **state)
{
    (void)state;
    program_t program = start("first", "reader", NULL, -1, -1);
    expect_output(&program, "Hello, reader!\n");
}

/* Whether the program prints what the chapter has below its command. */
static void expect_what_the_chapter_shows(const char *name, const char *page)
{
    static char chapter[1 << 16];
    char command[64];
    const int file = open(page, O_RDONLY | O_CLOEXEC);
    chapter[read_to_end(file, chapter, sizeof chapter - 1)] = '\0';
    close(file);
    snprintf(command, sizeof command, "$ ./%s\n", name);
    char *shown = strstr(chapter, command);
    assert_non_null(shown);
    shown += strlen(command);
    char *end = strstr(shown, "```");
    assert_non_null(end);
    *end = '\0';
    program_t program = start(name, NULL, NULL, -1, -1);
    expect_output(&program, shown);
}

static void budget_prints_what_the_chapter_shows(void **state)
{
    (void)state;
    expect_what_the_chapter_shows("budget", GUIDE_CHAPTERS "/4-budget.md");
}

static void lifetime_prints_what_the_chapter_shows(void **state)
{
    (void)state;
    expect_what_the_chapter_shows("lifetime", GUIDE_CHAPTERS "/9-operations.md");
}

static void handover_puts_each_buffer_when_the_writer_is_done(void **state)
{
    (void)state;
    program_t program = start("handover", "1000", NULL, -1, -1);
    FILE *out = fdopen(dup(program.out), "r");
    for (int i = 1; i <= 1000; i++) {
        char line[32], expected[32];
        snprintf(expected, sizeof expected, "line %d\n", i);
        assert_non_null(fgets(line, sizeof line, out));
        assert_string_equal(line, expected);
    }
    fclose(out);
    expect_end(&program);
    assert_int_equal(figure(&program, " gets "), 1000);
    assert_true(figure(&program, " most ") <= 8);
}

static void page_writes_in_parts(void **state)
{
    (void)state;
    enum { BYTES = 3000000 };
    static char body[BYTES], out[BYTES + 100];
    const int in = memfd_create("body", MFD_CLOEXEC), small = 4096;
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    assert_int_equal(write(in, body, BYTES), BYTES);
    lseek(in, 0, SEEK_SET);
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    program_t program = start("page", NULL, NULL, in, ends[1]);
    close(ends[1]);
    close(in);
    fcntl(ends[0], F_SETFL, 0); /* this end blocks */
    const size_t got = read_to_end(ends[0], out, sizeof out);
    close(ends[0]);
    expect_end(&program);
    const char *head = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n";
    assert_int_equal(got, strlen(head) + BYTES);
    assert_memory_equal(out, head, strlen(head));
    assert_memory_equal(out + strlen(head), body, BYTES);
    assert_true(figure(&program, " grown ") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_answers),
        cmocka_unit_test(threads_answers_in_capitals),
        cmocka_unit_test(threads_says_busy_at_the_cap),
        cmocka_unit_test(threads_serves_all_that_wait),
        cmocka_unit_test(echo_serves_all_that_wait),
        cmocka_unit_test(echo_ends_while_connections_wait),
        cmocka_unit_test(echo_ends_those_that_hold_a_buffer_too_long),
        cmocka_unit_test(echo_sends_the_rest_when_the_client_has_read),
        cmocka_unit_test(budget_prints_what_the_chapter_shows),
        cmocka_unit_test(lifetime_prints_what_the_chapter_shows),
        cmocka_unit_test(page_writes_in_parts),
        cmocka_unit_test(handover_puts_each_buffer_when_the_writer_is_done),
    };
    return cmocka_run_group_tests_name("guide", tests, NULL, NULL);
}
