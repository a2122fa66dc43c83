/*
 * walrec_inline.h: what its functions do without the library, and when they turn to it. That they do what the contract says is
 * tested by other subjects, which run a second time with them (inlined.h).
 *
 * Linked with --wrap: each call of walrec_reserve and walrec_commit that reaches the library is counted.
 */
#include "check.h"
#include "walrec_inline.h"

static uint64_t reserves, commits;

walrec_status_t __real_walrec_reserve(walrec_t *log, walrec_event_t **slot);
walrec_status_t __real_walrec_commit(walrec_t *log);
walrec_status_t __wrap_walrec_reserve(walrec_t *log, walrec_event_t **slot);
walrec_status_t __wrap_walrec_commit(walrec_t *log);

walrec_status_t __wrap_walrec_reserve(walrec_t *log, walrec_event_t **slot)
{
    reserves++;
    return __real_walrec_reserve(log, slot);
}

walrec_status_t __wrap_walrec_commit(walrec_t *log)
{
    commits++;
    return __real_walrec_commit(log);
}

static walrec_status_t record(walrec_t *log, walrec_cursor_t *cursor, uint64_t id)
{
    walrec_event_t *slot = NULL;
    walrec_status_t status = walrec_reserve_inline(log, cursor, &slot);
    if (status != WALREC_OK)
        return status;
    event_fill(slot, id);
    return walrec_commit_inline(log, cursor);
}

/* Only the library's own layout is given. */
static void layouts(void)
{
    static const uint32_t wrong[] = {0, WALREC_CURSOR_LAYOUT + 1, UINT32_MAX};
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("layouts"), &config);
    walrec_cursor_t *cursor = NULL, *again = NULL;
    unsigned i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cursor = (walrec_cursor_t *)(void *)&config;
        CHECK_STATUS(WALREC_E_ABI, walrec_cursor(log, wrong[i], &cursor));
        CHECK(cursor == NULL);
        CHECK_MESSAGE("layout");
    }
    CHECK_STATUS(WALREC_E_INVALID, walrec_cursor(log, WALREC_CURSOR_LAYOUT, NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_cursor(NULL, WALREC_CURSOR_LAYOUT, &cursor));
    CHECK(cursor == NULL);
    CHECK_STATUS(WALREC_OK, walrec_cursor(log, WALREC_CURSOR_LAYOUT, &cursor));
    CHECK(cursor != NULL && walrec_inline_cursor(log) == cursor);
    append_range(log, 1, 5000);
    CHECK_STATUS(WALREC_OK, walrec_cursor(log, WALREC_CURSOR_LAYOUT, &again));
    CHECK(cursor == again);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

/* On the cursor that an unknown layout gives, every call goes through the library, and records. */
static void through_the_library(void)
{
    const char *dir = path("through");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_cursor_t *none = walrec_inline_cursor(NULL);
    uint64_t id;
    reserves = commits = 0;
    for (id = 1; id <= 10000; id++)
        REQUIRE_STATUS(WALREC_OK, record(log, none, id));
    CHECK_U64(10000, reserves);
    CHECK_U64(10000, commits);
    CHECK_STATUS(WALREC_E_ORDER, record(log, none, 10000));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit_inline(log, none));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reserve_inline(NULL, none, NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit_inline(NULL, none));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 10000);
}

/* The library is called once for each block, and once for each event that is timed: else for nothing. */
static void without_the_library(const char *name, uint32_t sample, uint64_t timed_least, uint64_t timed_most)
{
    enum { EVENTS = 200000, BLOCKS = (EVENTS + EVENTS_PER_BLOCK - 1) / EVENTS_PER_BLOCK };
    const char *dir = path("%s", name);
    walrec_config_t config = config_small();
    walrec_cursor_t *cursor;
    walrec_t *log;
    uint64_t id;
    config.append_sample = sample;
    log = log_open(dir, &config);
    cursor = walrec_inline_cursor(log);
    reserves = commits = 0;
    for (id = 1; id <= EVENTS; id++) {
        REQUIRE_STATUS(WALREC_OK, record(log, cursor, id));
        if (walrec_last_event_id(log) != id)
            check_fail(__FILE__, __LINE__, "last id is not %" PRIu64, id);
    }
    CHECK(reserves >= BLOCKS && reserves <= BLOCKS + timed_most);
    CHECK(commits >= timed_least && commits <= timed_most);
    printf("FIGURE inline: %s: of %d events the library was called for %" PRIu64 " reservations (%d blocks) and %" PRIu64
           " commits\n", name, EVENTS, reserves, BLOCKS, commits);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, EVENTS);
}

/* Refused as the library refuses, at each place of a block. */
static void wrong_ids(void)
{
    const char *dir = path("wrong-ids");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_cursor_t *cursor = walrec_inline_cursor(log);
    walrec_event_t *slot;
    uint64_t last;
    for (last = 1; last <= 700; last++) {
        REQUIRE_STATUS(WALREC_OK, record(log, cursor, last));
        CHECK_STATUS(WALREC_E_ORDER, record(log, cursor, last));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit_inline(log, cursor));
        CHECK_STATUS(WALREC_E_INVALID, record(log, cursor, 0));
        /* Passed over by an append. */
        REQUIRE_STATUS(WALREC_OK, walrec_reserve_inline(log, cursor, &slot));
        event_fill(slot, last + 500);
        last++;
        append_range(log, last, last);
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit_inline(log, cursor));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reserve_inline(log, cursor, NULL));
        /* Dropped, and committed by the other's function. */
        REQUIRE_STATUS(WALREC_OK, walrec_reserve_inline(log, cursor, &slot));
        event_fill(slot, last + 1);
        CHECK_STATUS(WALREC_OK, walrec_abort(log));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit_inline(log, cursor));
        REQUIRE_STATUS(WALREC_OK, walrec_reserve_inline(log, cursor, &slot));
        event_fill(slot, last + 1);
        CHECK_STATUS(WALREC_OK, walrec_commit(log));
        REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
        event_fill(slot, last + 2);
        CHECK_STATUS(WALREC_OK, walrec_commit_inline(log, cursor));
        last += 2;
        CHECK_U64(last, walrec_last_event_id(log));
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last - 1);
}

static void *shut_down(void *log)
{
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    return NULL;
}

/* A reservation that was open when the recorder was shut down is not recorded any more. */
static void shut_down_between(void)
{
    const char *dir = path("shutdown");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_cursor_t *cursor = walrec_inline_cursor(log);
    walrec_event_t *slot;
    uint64_t id;
    for (id = 1; id <= 100; id++)
        REQUIRE_STATUS(WALREC_OK, record(log, cursor, id));
    REQUIRE_STATUS(WALREC_OK, walrec_reserve_inline(log, cursor, &slot));
    event_fill(slot, 101);
    on_other_thread(shut_down, log);
    CHECK_STATUS(WALREC_E_CLOSED, walrec_commit_inline(log, cursor));
    CHECK_STATUS(WALREC_E_CLOSED, record(log, cursor, 101));
    CHECK_U64(100, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 100);
}

static walrec_t *log_of_parent;
static walrec_cursor_t *cursor_of_parent;

/* With the parent's cursor and a reservation that is open in the parent. */
static void child_records(void *unused)
{
    unsigned i;
    (void)unused;
    CHECK_STATUS(WALREC_E_FORKED, walrec_commit_inline(log_of_parent, cursor_of_parent));
    for (i = 0; i < 600; i++)
        CHECK_STATUS(WALREC_E_FORKED, record(log_of_parent, cursor_of_parent, 302 + i));
    CHECK_STATUS(WALREC_E_FORKED, record(log_of_parent, walrec_inline_cursor(log_of_parent), 302));
}

static void forked(void)
{
    const char *dir = path("fork");
    walrec_config_t config = config_small();
    walrec_event_t *slot;
    uint64_t id;
    log_of_parent = log_open(dir, &config);
    cursor_of_parent = walrec_inline_cursor(log_of_parent);
    for (id = 1; id <= 300; id++)
        REQUIRE_STATUS(WALREC_OK, record(log_of_parent, cursor_of_parent, id));
    REQUIRE_STATUS(WALREC_OK, walrec_reserve_inline(log_of_parent, cursor_of_parent, &slot));
    event_fill(slot, 301);
    CHECK_CHILD(child_records, NULL);
    CHECK_STATUS(WALREC_OK, walrec_commit_inline(log_of_parent, cursor_of_parent));
    CHECK_STATUS(WALREC_OK, walrec_close(log_of_parent));
    log_holds(dir, 1, 301);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    layouts();
    through_the_library();
    without_the_library("not-timed", UINT32_MAX, 0, 0);
    without_the_library("one-in-1024-timed", 0, 150, 250);
    without_the_library("all-timed", 1, 200000, 200000);
    wrong_ids();
    shut_down_between();
    forked();
    return check_end();
}
