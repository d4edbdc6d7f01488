/* SPDX-License-Identifier: MIT
 *
 * postgres_json.c - libpq: the rows of a query as one JSON document, in one scratch buffer that grows
 *
 *     postgres_json CONNINFO QUERY [N [MAX_LIVE]]
 *
 * Runs QUERY N times at once, each on a connection of its own, with its number (0, 1, ...) as $1. Writes N lines, each
 * an array of objects. With MAX_LIVE, no more than that many documents are made at a time. The other queries wait for a
 * buffer, and their rows wait at the server, which cannot send more than the sockets hold. The exit status is 1 if a
 * query failed. Its document is then not written, but the others are.
 *
 * In single-row mode libpq itself never holds more than one row, so the document is the only copy of the result. The
 * document may be much larger than max_capacity (1 MiB). Such a buffer is freed when it is put, and does not stay in
 * the pool.
 */
#include "ending.h"

#include <errno.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum { BOOL = 16, INT8 = 20, INT2 = 21, INT4 = 23 }; /* values of the server's pg_type.oid, which never change */

typedef struct task {
    PGconn *conn;
    pthread_t thread;
    bool failed;
} task_t;

static bufferpool_t *pool;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

/* Appends runs of ordinary bytes at once, and each byte that JSON forbids in strings by its number. UTF-8 stays. */
static int append_string(bufferpool_buf_t *doc, const char *text, size_t n)
{
    int error = bufferpool_buf_append(doc, "\"", 1);
    size_t start = 0;
    for (size_t i = 0; error == 0 && i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        error = bufferpool_buf_append(doc, text + start, i - start);
        if (error == 0)
            error = bufferpool_buf_printf(doc, "\\u%04x", c);
        start = i + 1;
    }
    if (error == 0)
        error = bufferpool_buf_append(doc, text + start, n - start);
    return error != 0 ? error : bufferpool_buf_append(doc, "\"", 1);
}

/* Writes integers and booleans as such, and all other types as strings: a numeric or a float8 can be NaN, which JSON
 * does not have. */
static int append_value(bufferpool_buf_t *doc, const PGresult *row, int column)
{
    const char *text = PQgetvalue(row, 0, column);
    const size_t n = (size_t)PQgetlength(row, 0, column);
    if (PQgetisnull(row, 0, column))
        return bufferpool_buf_append(doc, "null", 4);
    switch (PQftype(row, column)) {
    case INT2:
    case INT4:
    case INT8:
        return bufferpool_buf_append(doc, text, n);
    case BOOL:
        return bufferpool_buf_printf(doc, "%s", text[0] == 't' ? "true" : "false");
    default:
        return append_string(doc, text, n);
    }
}

static int append_row(bufferpool_buf_t *doc, const PGresult *row)
{
    int error = doc->len > 1 ? bufferpool_buf_append(doc, ",", 1) : 0; /* no comma after the "[" */
    if (error == 0)
        error = bufferpool_buf_append(doc, "{", 1);
    for (int i = 0; error == 0 && i < PQnfields(row); i++) {
        if (i > 0)
            error = bufferpool_buf_append(doc, ",", 1);
        if (error == 0)
            error = append_string(doc, PQfname(row, i), strlen(PQfname(row, i)));
        if (error == 0)
            error = bufferpool_buf_append(doc, ":", 1);
        if (error == 0)
            error = append_value(doc, row, i);
    }
    return error != 0 ? error : bufferpool_buf_append(doc, "}", 1);
}

/* All rows of the query under way. A query may fail after thousands of rows: whether the document is one is known only
 * at the end. Returns 0 or an errno value; the message of the server goes to stderr. */
static int append_result(bufferpool_buf_t *doc, PGconn *conn)
{
    int error = bufferpool_buf_append(doc, "[", 1);
    PGresult *result;
    while ((result = PQgetResult(conn)) != NULL) { /* to the end, or the connection is of no further use */
        const ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_SINGLE_TUPLE && error == 0) {
            error = append_row(doc, result);
        } else if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK) {
            fprintf(stderr, "postgres_json: %s", PQresultErrorMessage(result));
            error = EIO;
        }
        PQclear(result);
    }
    return error != 0 ? error : bufferpool_buf_append(doc, "]\n", 2);
}

static void *collect(void *arg)
{
    task_t *task = arg;
    /* The try is only for the statistics of refusals. get_timed alone would do. */
    bufferpool_buf_t *doc = bufferpool_try_get(pool);
    if (doc == NULL && errno == EAGAIN)
        doc = bufferpool_get_timed(pool, BUFFERPOOL_NEVER);
    int error = doc == NULL ? ENOMEM : append_result(doc, task->conn);
    if (error == 0) {
        pthread_mutex_lock(&output);
        error = fwrite(doc->data, 1, doc->len, stdout) == doc->len ? 0 : EIO;
        pthread_mutex_unlock(&output);
    }
    bufferpool_put(doc); /* NULL has no effect */
    task->failed = error != 0;
    return NULL;
}

static bool start(task_t *task, const char *conninfo, const char *query, unsigned number)
{
    char text[16];
    const char *parameters[] = {text};
    snprintf(text, sizeof(text), "%u", number);
    task->conn = PQconnectdb(conninfo);
    if (PQstatus(task->conn) == CONNECTION_OK && PQsetClientEncoding(task->conn, "UTF8") == 0 &&
        PQsendQueryParams(task->conn, query, strstr(query, "$1") != NULL, NULL, parameters, NULL, NULL, 0) == 1 &&
        PQsetSingleRowMode(task->conn) == 1)
        return true;
    fprintf(stderr, "postgres_json: %s", PQerrorMessage(task->conn));
    return false;
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    const unsigned n = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    config.name = "documents";
    config.max_live = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    pool = bufferpool_create(&config);
    task_t *tasks = calloc(n, sizeof(*tasks));
    if (argc < 3 || n == 0 || pool == NULL || tasks == NULL) {
        fprintf(stderr, "usage: postgres_json CONNINFO QUERY [N [MAX_LIVE]]\n");
        free(tasks);
        return 2;
    }
    unsigned started = 0, running = 0; /* all queries are under way before the first thread collects */
    while (started < n && start(&tasks[started], argv[1], argv[2], started))
        started++;
    while (running < started && pthread_create(&tasks[running].thread, NULL, collect, &tasks[running]) == 0)
        running++;
    bool failed = running < n;
    for (unsigned i = 0; i < running; i++) {
        pthread_join(tasks[i].thread, NULL);
        failed = failed || tasks[i].failed;
    }
    for (unsigned i = 0; i < n; i++)
        PQfinish(tasks[i].conn);
    free(tasks);
    failed = fclose(stdout) != 0 || failed;
    return end_pool(pool) != 0 || failed;
}
