/* Seeks by time: the first event at or after it, beside a live recorder and on its own. */
#include "check.h"
#include "places.h"

static uint64_t time_of(uint64_t id)
{
    return 1000000 + id / 3 * 10; /* three events share one time */
}

static void check_times(const char *dir, uint64_t events)
{
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    uint64_t x = 99, i;
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
    for (i = 0; i < 500; i++) {
        uint64_t at, id;
        x = mix(x);
        at = time_of(1 + x % events) - x / 7 % 10;
        for (id = at <= 1000000 ? 1 : (at - 1000000 + 9) / 10 * 3; id > 1 && time_of(id - 1) >= at; id--) {
        }
        CHECK_STATUS(WALREC_OK, walrec_reader_seek_time(reader, at));
        CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        CHECK_U64(id, event.event_id);
        CHECK_STATUS(id + 1 > events ? WALREC_END : WALREC_OK, walrec_reader_next(reader, &event));
    }
    CHECK_STATUS(WALREC_OK, walrec_reader_seek_time(reader, 0));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK_U64(1, event.event_id);
    CHECK_STATUS(WALREC_OK, walrec_reader_seek_time(reader, UINT64_MAX));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    CHECK_STATUS(WALREC_E_INVALID, walrec_reader_seek_time(NULL, 1));
    walrec_reader_close(reader);
}

int main(int argc, char **argv)
{
    walrec_config_t config;
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    walrec_t *log;
    const uint64_t events = 12 * 4096 + 777;
    uint64_t id;
    check_begin(argc, argv, 60);
    config = config_small();
    log = log_open(path("log"), &config);
    for (id = 1; id <= events; id++) {
        event = event_of(id);
        event.timestamp_ns = time_of(id);
        REQUIRE_STATUS(WALREC_OK, walrec_append(log, &event));
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    check_times(path("log"), events);
    /* A time that is still to come: END, then the event. */
    REQUIRE_STATUS(WALREC_OK, walrec_reader_open(path("log"), 0, 0, &reader));
    CHECK_STATUS(WALREC_OK, walrec_reader_seek_time(reader, time_of(events) + 50));
    CHECK_STATUS(WALREC_END, walrec_reader_next(reader, &event));
    for (id = events + 1; id <= events + 60; id++) {
        event = event_of(id);
        event.timestamp_ns = time_of(id);
        REQUIRE_STATUS(WALREC_OK, walrec_append(log, &event));
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
    CHECK(event.timestamp_ns >= time_of(events) + 50 && event.timestamp_ns < time_of(events) + 60);
    walrec_reader_close(reader);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    check_times(path("log"), events + 60);
    return check_end();
}
