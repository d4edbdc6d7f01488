/* SPDX-License-Identifier: MIT
 *
 * curl_fetch.c - libcurl: many transfers at once, each into a buffer that grows, under a cap
 *
 *     curl_fetch MAX_LIVE MAX_BYTES URL...      writes the bodies to stdout as they come, each after a line
 *                                               "SIZE URL"
 *
 * A transfer begins when there is a buffer for it. At the cap the next URL waits until a transfer has ended. MAX_BYTES
 * is the largest body that is accepted. The exit status is 1 if some URLs could not be fetched; the others were.
 */
#include "ending.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static bufferpool_t *pool;
static size_t max_bytes;

/* Any return value other than the number of bytes ends the transfer with CURLE_WRITE_ERROR. */
static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    bufferpool_buf_t *body = arg;
    (void)size; /* always 1 */
    if (n > max_bytes - body->len)
        return CURL_WRITEFUNC_ERROR;
    return bufferpool_buf_append(body, data, n) == 0 ? n : CURL_WRITEFUNC_ERROR;
}

/* Returns true if this URL is dealt with. Returns false if there is no buffer until one comes back. */
static bool begin(CURLM *multi, const char *url, bool *failed)
{
    bufferpool_buf_t *body = bufferpool_try_get(pool);
    if (body == NULL) {
        *failed = *failed || errno != EAGAIN;
        return errno != EAGAIN;
    }
    CURL *easy = curl_easy_init();
    if (easy == NULL || curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, body) != CURLE_OK ||
        curl_easy_setopt(easy, CURLOPT_PRIVATE, body) != CURLE_OK || curl_multi_add_handle(multi, easy) != CURLM_OK) {
        *failed = true;
        curl_easy_cleanup(easy);
        bufferpool_put(body);
    }
    return true;
}

static bool end(CURLM *multi, CURL *easy, CURLcode result)
{
    bufferpool_buf_t *body = NULL;
    const char *url = "";
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&body);
    curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
    if (result != CURLE_OK)
        fprintf(stderr, "curl_fetch: %s: %s\n", url, curl_easy_strerror(result));
    else
        printf("%zu %s\n", body->len, url);
    const bool works = result == CURLE_OK && fwrite(body->data, 1, body->len, stdout) == body->len;
    curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy); /* before the put: after this libcurl appends no more */
    bufferpool_put(body);
    return works;
}

int main(int argc, char **argv)
{
    bufferpool_config_t config = BUFFERPOOL_CONFIG_INIT;
    config.name = "bodies";
    config.max_live = argc > 3 ? strtoul(argv[1], NULL, 10) : 0;
    max_bytes = argc > 3 ? strtoul(argv[2], NULL, 10) : 0;
    pool = bufferpool_create(&config);
    CURLM *multi = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_multi_init() : NULL;
    if (argc <= 3 || pool == NULL || multi == NULL) {
        fprintf(stderr, "usage: curl_fetch MAX_LIVE MAX_BYTES URL...\n");
        return 2;
    }
    bool failed = false;
    char **next = argv + 3;
    for (int running = 0; *next != NULL || running > 0;) {
        while (*next != NULL && begin(multi, *next, &failed))
            next++;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            break;
        CURLMsg *message;
        int more;
        bool ended = false; /* if so, the next transfer can begin at once */
        while ((message = curl_multi_info_read(multi, &more)) != NULL) {
            ended = true;
            if (!end(multi, message->easy_handle, message->data.result))
                failed = true;
        }
        if (!ended && running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK)
            break;
    }
    failed = failed || *next != NULL;
    curl_multi_cleanup(multi);
    curl_global_cleanup();
    failed = fclose(stdout) != 0 || failed;
    return end_pool(pool) != 0 || failed;
}
