/* walrec_reserve, walrec_commit, walrec_abort: events built in place. */
#include "check.h"

static void reserve_commit(walrec_t *log, uint64_t id)
{
    walrec_event_t *slot = NULL;
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    REQUIRE(slot != NULL);
    CHECK((uintptr_t)slot % 64 == 0);
    event_fill(slot, id);
    REQUIRE_STATUS(WALREC_OK, walrec_commit(log));
}

/* All that may happen to a reservation, at one place in the log; returns the last id. */
static uint64_t all_cases(walrec_t *log, uint64_t last)
{
    walrec_event_t *slot, *again, event;
    size_t done;

    /* Without a reservation there is nothing to commit or abort. */
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_abort(log));
    CHECK_U64(last, walrec_last_event_id(log));

    /* Nothing is recorded before the commit. */
    slot = NULL;
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 1);
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_commit(log));
    last++;
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));

    /* Aborted: gone, and the next takes its place. */
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 1000);
    CHECK_STATUS(WALREC_OK, walrec_abort(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_abort(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));
    reserve_commit(log, ++last);

    /* A wrong id is found at the commit, which drops the reservation. */
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last);
    CHECK_STATUS(WALREC_E_ORDER, walrec_commit(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, 0);
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));
    reserve_commit(log, ++last);

    /* One at a time: the second call gives the same place, and one event comes of it. */
    slot = again = NULL;
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 5);
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &again));
    CHECK(slot == again);
    event_fill(again, last + 1);
    CHECK_STATUS(WALREC_OK, walrec_commit(log));
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    last++;
    CHECK_U64(last, walrec_last_event_id(log));

    /* An append drops it. */
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 100);
    append_range(log, last + 1, last + 1);
    last++;
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 100);
    event = event_of(last + 1);
    CHECK_STATUS(WALREC_OK, walrec_append_batch(log, &event, 1, &done));
    last++;
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
    CHECK_U64(last, walrec_last_event_id(log));

    /* The guard is the library's, whatever is stored there. */
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, last + 1);
    slot->guard = 0xffffffff;
    CHECK_STATUS(WALREC_OK, walrec_commit(log));
    last++;

    CHECK_STATUS(WALREC_E_INVALID, walrec_reserve(log, NULL));
    slot = &event;
    CHECK_STATUS(WALREC_E_INVALID, walrec_reserve(NULL, &slot));
    CHECK(slot == NULL);
    CHECK_STATUS(WALREC_E_INVALID, walrec_commit(NULL));
    CHECK_STATUS(WALREC_E_INVALID, walrec_abort(NULL));
    CHECK_U64(last, walrec_last_event_id(log));
    return last;
}

static void cases(void)
{
    const char *dir = path("cases");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t last = 0;
    unsigned shift;

    /* Shifted by one, so that each case meets the ends of blocks and of a segment. */
    for (shift = 0; shift < 600; shift++) {
        last = all_cases(log, last);
        reserve_commit(log, ++last);
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    log_holds(dir, 1, last);

    /* A rotation drops it, and nothing of it shows. */
    {
        walrec_event_t *slot = NULL;
        REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
        event_fill(slot, last + 1);
        CHECK_STATUS(WALREC_OK, walrec_rotate(log));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
        CHECK_U64(last, walrec_last_event_id(log));
        append_range(log, last + 1, last + 10);
        last += 10;
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

/* Built in place all the way, over many segments. */
static void many(void)
{
    const char *dir = path("many");
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t id;
    for (id = 1; id <= 50000; id++) {
        if (id % 3 == 0)
            append_range(log, id, id);
        else
            reserve_commit(log, id);
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 50000);
}

/* What was filled in and not committed never appears: neither after a close nor after a kill. */
static void uncommitted_then_close(uint64_t events)
{
    const char *dir = path("close%" PRIu64, events);
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    walrec_event_t *slot = NULL;
    append_range(log, 1, events);
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, events + 1);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    log_holds(dir, 1, events);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, events);
    log = log_open(dir, &config);
    CHECK_U64(events, walrec_last_event_id(log));
    append_range(log, events + 1, events + 10);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, events + 10);
}

static uint64_t killed_events;

static void reserve_and_die(void *unused)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("kill%" PRIu64, killed_events), &config);
    walrec_event_t *slot = NULL;
    (void)unused;
    append_range(log, 1, killed_events);
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, killed_events + 1);
    raise(SIGKILL);
}

static void uncommitted_then_kill(uint64_t events)
{
    const char *dir = path("kill%" PRIu64, events);
    walrec_config_t config = config_small();
    walrec_t *log;
    int status;
    killed_events = events;
    status = wait_child(start_child(reserve_and_die, NULL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    log = log_open(dir, &config);
    CHECK_U64(events, walrec_last_event_id(log));
    log_holds(dir, 1, events);
    /* The id is free, with another content. */
    append_range(log, events + 1, events + 300);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, events + 300);
}

int main(int argc, char **argv)
{
    static const uint64_t counts[] = {0, 1, 255, 256, 300, 4095, 4096, 5000};
    unsigned i;
    check_begin(argc, argv, 60);
    cases();
    many();
    for (i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uncommitted_then_close(counts[i]);
        uncommitted_then_kill(counts[i]);
    }
    return check_end();
}
