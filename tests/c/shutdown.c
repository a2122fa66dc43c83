/* walrec_shutdown and walrec_close: what works afterwards, and what does not. */
#include "check.h"

static void *shut_down(void *log)
{
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    return NULL;
}

/* Every call on a handle that was shut down. */
static void everything_is_closed(walrec_t *log, uint64_t last)
{
    walrec_event_t event = event_of(last + 1), *slot = &event;
    walrec_open_report_t report;
    walrec_meta_state_t state;
    size_t done = 7;
    unsigned i;

    for (i = 0; i < 3; i++) {
        CHECK_STATUS(WALREC_E_CLOSED, walrec_append(log, &event));
        CHECK_STATUS(WALREC_E_CLOSED, walrec_append_batch(log, &event, 1, &done));
        CHECK_U64(0, done);
        CHECK_STATUS(WALREC_E_CLOSED, walrec_reserve(log, &slot));
        CHECK(slot == NULL);
        CHECK(walrec_commit(log) < 0);
        CHECK(walrec_abort(log) < 0);
        CHECK_STATUS(WALREC_E_CLOSED, walrec_rotate(log));
        CHECK_STATUS(WALREC_E_CLOSED, walrec_attach_thread(log));
        CHECK_STATUS(WALREC_E_CLOSED, walrec_shutdown(log));
    }
    /* Both are true of it, on the append thread. */
    CHECK_STATUS_EITHER(WALREC_E_CLOSED, WALREC_E_INVALID, walrec_sync(log, last + 1, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_sync(log, last, 0));
    CHECK_U64(last, walrec_last_event_id(log));
    CHECK_U64(last, walrec_durable_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_meta_state(log, &state));
    CHECK_U64(last, state.last_event_id);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
}

static void with_events(const char *dir, uint64_t last, int from_other_thread)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    append_range(log, 1, last);
    if (from_other_thread)
        on_other_thread(shut_down, log);
    else
        CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    /* The threads are joined. */
    CHECK(for_each_entry("/proc/self/task", NULL, NULL) == OWN_THREADS);
    everything_is_closed(log, last);
    log_holds(dir, 1, last);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, last);
}

int main(int argc, char **argv)
{
    static const uint64_t counts[] = {0, 1, 256, 1000, 4096, 4097, 20000};
    const char *dir;
    walrec_config_t config;
    walrec_event_t *slot = NULL, event;
    walrec_t *log;
    unsigned i;

    check_begin(argc, argv, 60);
    CHECK_STATUS(WALREC_E_INVALID, walrec_shutdown(NULL));
    CHECK_STATUS(WALREC_OK, walrec_close(NULL));
    for (i = 0; i < sizeof counts / sizeof counts[0]; i++)
        with_events(path("log%u", i), counts[i], i % 2);

    /* With a reservation open: it is dropped, not recorded. */
    dir = path("reserved");
    config = config_small();
    log = log_open(dir, &config);
    append_range(log, 1, 10);
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log, &slot));
    event_fill(slot, 11);
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    CHECK_STATUS(WALREC_E_CLOSED, walrec_commit(log));
    everything_is_closed(log, 10);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 10);

    /* Closed without a shutdown before, and without any call before. */
    log = log_open(dir, &config);
    append_range(log, 11, 5000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 5000);

    /* A reader that stays open over a shutdown reads on to the end. */
    {
        walrec_reader_t *reader = NULL;
        uint64_t id;
        log = log_open(dir, &config);
        CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 4000, 0, &reader));
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        append_range(log, 5001, 15000);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        for (id = 4001; id <= 15000; id++) {
            REQUIRE_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
            CHECK(event_is_right(&event, id));
        }
        CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
        walrec_reader_close(reader);
    }
    return check_end();
}
