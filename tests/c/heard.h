/* Listening to log_cb: what was said, at which level, and whether it came after the close. */
#ifndef WALREC_TESTS_HEARD_H
#define WALREC_TESTS_HEARD_H

#include "check.h"

struct heard {
    struct heard *before;
    pthread_mutex_t lock;
    int closed, after_close, wrong_level;
    unsigned count[3];
    char text[65536];
};

/* All of them are kept to the end: something may yet be said after a close. */
static inline struct heard *heard_new(void)
{
    static struct heard *last;
    struct heard *h = calloc(1, sizeof *h);
    REQUIRE(h != NULL);
    h->before = last;
    last = h;
    REQUIRE(pthread_mutex_init(&h->lock, NULL) == 0);
    return h;
}

static inline void hear(void *user, int32_t level, const char *message)
{
    struct heard *h = user;
    size_t used;
    pthread_mutex_lock(&h->lock);
    if (h->closed)
        h->after_close++;
    if (level < WALREC_LOG_ERROR || level > WALREC_LOG_INFO)
        h->wrong_level++;
    else
        h->count[level]++;
    used = strlen(h->text);
    snprintf(h->text + used, sizeof h->text - used, "%d: %s\n", (int)level, message);
    pthread_mutex_unlock(&h->lock);
}

static inline walrec_config_t config_heard(struct heard *h)
{
    walrec_config_t config = config_small();
    config.log_cb = hear;
    config.log_user = h;
    return config;
}

/* What was said holds `part`, as a message of this level or a more severe one. */
static inline void check_heard(struct heard *h, int line, const char *part, int level)
{
    char *text, *at, *next;
    int found = 0;
    pthread_mutex_lock(&h->lock);
    text = strdup(h->text);
    pthread_mutex_unlock(&h->lock);
    REQUIRE(text != NULL);
    for (at = text; *at != '\0'; at = next) {
        next = strchr(at, '\n');
        if (next == NULL)
            break;
        *next++ = '\0';
        if (strstr(at, part) != NULL && at[0] - '0' <= level)
            found = 1;
    }
    check_count(&check_done);
    if (!found)
        check_fail(__FILE__, line, "no message of level %d holds \"%s\"; all messages:\n%s", level, part,
                   h->text);
    free(text);
}
#define CHECK_HEARD(h, part, level) check_heard((h), __LINE__, (part), (level))

static inline void close_and_check(walrec_t *log, struct heard *h)
{
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    pthread_mutex_lock(&h->lock);
    h->closed = 1;
    pthread_mutex_unlock(&h->lock);
    pause_us(20000);
    pthread_mutex_lock(&h->lock);
    CHECK(h->after_close == 0);
    CHECK(h->wrong_level == 0);
    pthread_mutex_unlock(&h->lock);
}

#endif
