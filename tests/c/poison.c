/*
 * A poisoned recorder is seen to be poisoned from everywhere: by the append thread in each of its functions, by whoever
 * waits in walrec_sync, in telemetry, by log_cb, by the close, and by a reader beside it. Run by tests/sites under
 * fault_shim.c, which fails one sync of one worker, once. Every later sync would succeed: none may be believed.
 */
#include "check.h"
#include "fault.h"
#include "heard.h"
#include "walrec_inline.h"

enum { GRACE = 256, ROUNDS = 60 };

static struct heard *heard;
static walrec_t *recorder;
static walrec_cursor_t *cursor;
static uint64_t last;

struct waiter {
    walrec_status_t status;
    char text[4096];
};

/* Waits for an event that is not there yet, without a limit. */
static void *wait_for_more(void *argument)
{
    struct waiter *waiter = argument;
    waiter->status = walrec_sync(recorder, last + 1000000, NO_LIMIT);
    walrec_last_error(waiter->text, sizeof waiter->text);
    return NULL;
}

static void check_cause(const char *text, const char *cause)
{
    CHECK(cause[0] != '\0');
    if (strstr(text, cause) == NULL)
        check_fail(__FILE__, __LINE__, "\"%s\" does not hold the first error, \"%s\"", text, cause);
}

static void last_cause(const char *cause)
{
    char text[4096];
    walrec_last_error(text, sizeof text);
    check_cause(text, cause);
}

/* The cause that log_cb was told, once. */
static void cause_heard(char *cause, size_t n)
{
    const char *mark = "poisoned: ", *at = NULL;
    uint64_t begin = now_ns();
    /* The waiting are woken before the callback is called. */
    while (at == NULL && now_ns() - begin < 10 * SECOND_NS) {
        pthread_mutex_lock(&heard->lock);
        at = strstr(heard->text, mark);
        pthread_mutex_unlock(&heard->lock);
    }
    REQUIRE(at != NULL);
    CHECK_HEARD(heard, mark, WALREC_LOG_ERROR);
    snprintf(cause, n, "%.*s", (int)strcspn(at + strlen(mark), "\n"), at + strlen(mark));
    CHECK(strstr(at + 1, mark) == NULL);
}

/* Appends, syncs and rotates until something fails; the first status that is not OK. */
static walrec_status_t until_it_fails(void)
{
    unsigned round, i;
    walrec_status_t status = WALREC_OK;
    for (round = 0; round < ROUNDS; round++) {
        for (i = 0; i < 300; i++) {
            walrec_event_t event = event_of(last + 1), *slot = NULL;
            if (i % 2 == 0) {
                status = walrec_append(recorder, &event);
            } else {
                status = walrec_reserve_inline(recorder, cursor, &slot);
                if (status == WALREC_OK) {
                    *slot = event;
                    status = walrec_commit_inline(recorder, cursor);
                }
            }
            if (status != WALREC_OK)
                return status;
            last++;
        }
        status = walrec_sync(recorder, 0, NO_LIMIT);
        if (status == WALREC_OK)
            status = walrec_rotate(recorder);
        if (status != WALREC_OK)
            return status;
    }
    return status;
}

static void refuses_appends(const char *cause)
{
    walrec_event_t event, *slot;
    walrec_status_t status = WALREC_OK;
    size_t done = 7;
    unsigned n;
    for (n = 0; n <= GRACE && status == WALREC_OK; n++) {
        event = event_of(last + 1);
        status = walrec_append(recorder, &event);
        if (status == WALREC_OK)
            last++;
    }
    CHECK_STATUS(WALREC_E_FAILED, status);
    event = event_of(last + 1);
#define REFUSES(function, call)                                                                    \
    do {                                                                                           \
        CHECK_STATUS(WALREC_E_FAILED, call);                                                       \
        CHECK_MESSAGE(function ": ");                                                              \
        last_cause(cause);                                                                         \
    } while (0)
    REFUSES("walrec_append", walrec_append(recorder, &event));
    REFUSES("walrec_append_batch", walrec_append_batch(recorder, &event, 1, &done));
    CHECK_U64(0, done);
    REFUSES("walrec_reserve", walrec_reserve(recorder, &slot));
    REFUSES("walrec_reserve", walrec_reserve_inline(recorder, cursor, &slot));
    REFUSES("walrec_commit", walrec_commit_inline(recorder, cursor));
    REFUSES("walrec_abort", walrec_abort(recorder));
    REFUSES("walrec_rotate", walrec_rotate(recorder));
    REFUSES("walrec_attach_thread", walrec_attach_thread(recorder));
#undef REFUSES
    CHECK_U64(last, walrec_last_event_id(recorder));
}

static void refuses_syncs(uint64_t durable, const char *cause)
{
    if (durable > 0)
        CHECK_STATUS(WALREC_OK, walrec_sync(recorder, durable, NO_LIMIT));
    if (durable == last)
        return;
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(recorder, 0, NO_LIMIT));
    last_cause(cause);
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(recorder, durable + 1, 0));
    last_cause(cause);
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(recorder, last, SECOND_NS));
    last_cause(cause);
}

static void shows_in_telemetry(uint64_t durable)
{
    static char text[65536];
    walrec_telemetry_t telemetry;
    memset(&telemetry, 0, sizeof telemetry);
    telemetry.struct_size = sizeof telemetry;
    CHECK_STATUS(WALREC_OK, walrec_telemetry(recorder, &telemetry));
    CHECK_U64(1, telemetry.poisoned);
    CHECK_U64(1, telemetry.worker_errors);
    CHECK_U64(durable, telemetry.durable_event_id);
    CHECK_U64(last, telemetry.last_event_id);
    CHECK_STATUS(WALREC_OK, walrec_telemetry_text(recorder, 1, text, sizeof text, NULL));
    CHECK(strstr(text, "\nwalrec_poisoned 1\n") != NULL);
}

static void reads_what_is_durable(const char *dir, uint64_t durable)
{
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    uint64_t id = 0;
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    while (walrec_reader_next(reader, &event) == WALREC_OK)
        CHECK(event_is_right(&event, ++id));
    CHECK_U64(durable, id);
    walrec_reader_close(reader);
}

/* `at_once`: by walrec_close alone; else walrec_shutdown tells, and the close has nothing more to say. */
static void ends(const char *dir, int at_once, uint64_t durable, const char *cause)
{
    char stage[8192], line[16] = "";
    FILE *file;
    if (at_once) {
        CHECK_STATUS(WALREC_E_FAILED, walrec_close(recorder));
        last_cause(cause);
    } else {
        CHECK_STATUS(WALREC_E_FAILED, walrec_shutdown(recorder));
        last_cause(cause);
        CHECK_U64(durable, walrec_durable_event_id(recorder));
        CHECK_STATUS(WALREC_E_CLOSED, walrec_shutdown(recorder));
        CHECK_STATUS(WALREC_OK, walrec_close(recorder));
    }
    /* Both are kept: the next open needs them. */
    REQUIRE(stage_path(dir, stage, sizeof stage));
    CHECK(for_each_entry(stage, NULL, NULL) == 4);
    file = fopen(path("log/walrec.stage"), "r");
    REQUIRE(file != NULL);
    CHECK(fgets(line, 6, file) != NULL && strcmp(line, "open ") == 0);
    fclose(file);
}

int main(int argc, char **argv)
{
    int at_once = argc > 2 && strcmp(argv[2], "close") == 0;
    struct fault_words *fault = fault_words();
    walrec_config_t config;
    struct waiter waiter;
    pthread_t thread;
    uint64_t durable;
    char cause[4096];
    const char *dir;
    check_begin(argc, argv, 60);
    dir = path("log");
    REQUIRE(fault != NULL);
    heard = heard_new();
    config = config_heard(heard);
    config.flush_interval_us = 1000000;
    recorder = log_open(dir, &config);
    cursor = walrec_inline_cursor(recorder);
    memset(&waiter, 0, sizeof waiter);
    REQUIRE(pthread_create(&thread, NULL, wait_for_more, &waiter) == 0);

    CHECK_STATUS(WALREC_E_FAILED, until_it_fails());
    CHECK_U64(1, fault->fired);
    durable = walrec_durable_event_id(recorder);
    cause_heard(cause, sizeof cause);
    CHECK(strstr(cause, "Input/output error (os error 5)") != NULL);
    CHECK(strstr(cause, dir) != NULL);
    printf("cause: %s\n", cause);

    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_STATUS(WALREC_E_FAILED, waiter.status);
    check_cause(waiter.text, cause);
    refuses_appends(cause);
    refuses_syncs(durable, cause);
    shows_in_telemetry(durable);
    CHECK_U64(durable, walrec_durable_event_id(recorder));
    reads_what_is_durable(dir, durable);
    ends(dir, at_once, durable, cause);

    /* Opened again: everything, and durable. */
    recorder = log_open(dir, &config);
    CHECK_U64(last, walrec_last_event_id(recorder));
    CHECK_U64(last, walrec_durable_event_id(recorder));
    append_range(recorder, last + 1, last + 5000);
    CHECK_STATUS(WALREC_OK, walrec_sync(recorder, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_close(recorder));
    log_holds(dir, 1, last + 5000);
    return check_end();
}
