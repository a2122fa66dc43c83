/*
 * A sync error that the system reports once: see tests/sites/reported_once.rs, which makes the file system and the commands.
 *
 *   sync_once WORK reopen|leave BREAK HEAL    appends, with a file system that breaks and heals; opens again, or leaves it
 *   sync_once WORK whole                      everything is there
 *   sync_once WORK short                      what was durable is there, and not all that was appended
 */
#include "check.h"
#include "heard.h"

/* The durable events end with the segment's first page, and all are in its first block: so the write that is to fail begins
 * with the second page. A loop device takes a write that only begins well for one that was done. */
enum { DURABLE = 62, LAST = 200 };

static void command(const char *text)
{
    int status = system(text);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void live(const char *dir, int reopen, const char *breaks, const char *heals)
{
    struct heard *heard = heard_new();
    walrec_config_t config = config_heard(heard);
    walrec_t *log;
    uint64_t more = 0;
    int fd;
    config.flush_interval_us = 1000000;
    log = log_open(dir, &config);
    append_range(log, 1, DURABLE);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    command(breaks);
    append_range(log, DURABLE + 1, LAST);
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(log, 0, NO_LIMIT));
    CHECK_MESSAGE("sync ");
    CHECK_MESSAGE("FS.00000000.wal");
    CHECK_MESSAGE("os error");
    CHECK_U64(DURABLE, walrec_durable_event_id(log));
    command(heals);
    /* The system has told it, and is content now; the recorder is not. */
    fd = open(path("log/FS.00000000.wal"), O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK(fdatasync(fd) == 0);
    close(fd);
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(log, 0, NO_LIMIT));
    for (;;) {
        walrec_event_t event = event_of(LAST + more + 1);
        walrec_status_t status = walrec_append(log, &event);
        if (status != WALREC_OK) {
            CHECK_STATUS(WALREC_E_FAILED, status);
            break;
        }
        REQUIRE(++more <= 256);
    }
    CHECK_U64(DURABLE, walrec_durable_event_id(log));
    CHECK_STATUS(WALREC_E_FAILED, walrec_close(log));
    CHECK_MESSAGE("FS.00000000.wal");
    CHECK_HEARD(heard, "poisoned: ", WALREC_LOG_ERROR);
    if (!reopen)
        return;
    log = log_open(dir, &config);
    CHECK_U64(LAST + more, walrec_last_event_id(log));
    CHECK_U64(LAST + more, walrec_durable_event_id(log));
    append_range(log, LAST + more + 1, 2 * LAST);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 2 * LAST);
}

int main(int argc, char **argv)
{
    const char *dir;
    check_begin(argc, argv, 60);
    REQUIRE(argc == 3 || argc == 5);
    dir = path("log");
    if (argc == 5) {
        live(dir, strcmp(argv[2], "reopen") == 0, argv[3], argv[4]);
    } else if (strcmp(argv[2], "whole") == 0) {
        log_holds(dir, 1, 2 * LAST);
    } else {
        walrec_config_t config = config_small();
        walrec_t *log = log_open(dir, &config);
        uint64_t last = walrec_last_event_id(log);
        CHECK_U64(DURABLE, last);
        printf("recovered: %" PRIu64 "\n", last);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        log_holds(dir, 1, last);
    }
    return check_end();
}
