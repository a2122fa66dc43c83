/* The two ids by address, and a descriptor that is written to when an event is durable. */
#include "check.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>

static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static int is_rung(int fd, int timeout_ms)
{
    struct pollfd one;
    one.fd = fd;
    one.events = POLLIN;
    return poll(&one, 1, timeout_ms) == 1;
}

/* Rung within the subject's time, with the number of rings since the last look. */
static uint64_t rings(int fd)
{
    uint64_t count = 0;
    REQUIRE(is_rung(fd, 60000));
    REQUIRE(read(fd, &count, sizeof count) == (ssize_t)sizeof count);
    return count;
}

static void in_child(void *argument)
{
    walrec_t *log = argument;
    const walrec_watermarks_t *marks = walrec_watermarks(log);
    int fd = eventfd(0, EFD_NONBLOCK);
    CHECK(marks != NULL && load(&marks->appended_event_id) == 0 && load(&marks->durable_event_id) == 0);
    CHECK_STATUS(WALREC_E_FORKED, walrec_notify_durable(log, 1, fd));
    CHECK(!is_rung(fd, 0));
    walrec_close(log);
}

static void by_address(walrec_t *log)
{
    const walrec_watermarks_t *marks = walrec_watermarks(log);
    uint64_t id;
    CHECK(walrec_watermarks(NULL) == NULL);
    REQUIRE(marks != NULL);
    CHECK_U64(0, (uintptr_t)marks % 64);
    CHECK(offsetof(walrec_watermarks_t, durable_event_id) - offsetof(walrec_watermarks_t, appended_event_id) >= 128);
    for (id = 1; id <= 20000; id++) {
        append_range(log, id, id);
        CHECK_U64(id, load(&marks->appended_event_id));
        CHECK(load(&marks->durable_event_id) <= id);
    }
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_U64(20000, load(&marks->durable_event_id));
    CHECK(marks == walrec_watermarks(log));
    CHECK_CHILD(in_child, log);
}

static void by_descriptor(walrec_t *log)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), ends[2];
    uint64_t id, told = 0;
    char byte[16];
    REQUIRE(fd >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    /* Already durable. */
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 20000, fd));
    CHECK_U64(1, rings(fd));
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 0, fd));
    CHECK_U64(1, rings(fd));
    /* Never before it is durable, and once. */
    for (id = 20001; id <= 24000; id += 100) {
        CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, id + 99, fd));
        CHECK(!is_rung(fd, 0));
        append_range(log, id, id + 99);
        CHECK_U64(1, rings(fd));
        CHECK(walrec_durable_event_id(log) >= id + 99);
        told++;
    }
    append_range(log, 24001, 25000);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK(!is_rung(fd, 0));
    /* Several notices on one descriptor, and one on a pipe whose end here is closed. */
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 25001, fd));
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 25002, fd));
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 25002, ends[1]));
    close(ends[1]);
    append_range(log, 25001, 25002);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK(is_rung(ends[0], 60000) && read(ends[0], byte, sizeof byte) == 8);
    CHECK(rings(fd) + (is_rung(fd, 0) ? rings(fd) : 0) == 2);
    /* One that can never be reached is told at the end. */
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, UINT64_MAX, fd));
    CHECK(!is_rung(fd, 0));
    close(ends[0]);
    printf("FIGURE notices: %lu rings, none before its event was durable\n", (unsigned long)told);
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    CHECK_U64(1, rings(fd));
    CHECK(walrec_durable_event_id(log) == 25002);
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, UINT64_MAX, fd));
    CHECK_U64(1, rings(fd));
    close(fd);
}

/* A pipe that nobody reads any more: no ring on a thread of ours kills the process, and no signal or block is left behind. */
static void deaf(walrec_t *log)
{
    sigset_t before, after, pending;
    int ends[2], number;
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    close(ends[0]);
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0 && sigismember(&before, SIGPIPE) == 0);
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, 0, ends[1]));
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, UINT64_MAX, ends[1]));
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, UINT64_MAX, ends[1]));
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0 && sigpending(&pending) == 0);
    CHECK(sigismember(&after, SIGPIPE) == 0 && sigismember(&pending, SIGPIPE) == 0);
    /* One that the engine has blocked, and that waits, stays. */
    sigemptyset(&after);
    sigaddset(&after, SIGPIPE);
    REQUIRE(pthread_sigmask(SIG_BLOCK, &after, NULL) == 0 && pthread_kill(pthread_self(), SIGPIPE) == 0);
    CHECK_STATUS(WALREC_OK, walrec_notify_durable(log, UINT64_MAX, ends[1]));
    REQUIRE(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGPIPE) == 1);
    CHECK(sigwait(&after, &number) == 0 && number == SIGPIPE);
    REQUIRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    close(ends[1]);
}

static void deaf_in_child(void *argument)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("deaf"), &config);
    (void)argument;
    REQUIRE(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    append_range(log, 1, 10);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    deaf(log);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

static void bad_descriptors(walrec_t *log)
{
    int blocking = eventfd(0, 0), ends[2];
    REQUIRE(blocking >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK_STATUS(WALREC_E_INVALID, walrec_notify_durable(NULL, 1, ends[1]));
    CHECK_STATUS(WALREC_E_INVALID, walrec_notify_durable(log, 0, blocking));
    CHECK_MESSAGE("O_NONBLOCK");
    CHECK_STATUS(WALREC_E_INVALID, walrec_notify_durable(log, 0, ends[0]));
    CHECK_STATUS(WALREC_E_IO, walrec_notify_durable(log, 0, -1));
    CHECK_MESSAGE("fd -1");
    close(ends[0]);
    close(ends[1]);
    CHECK_STATUS(WALREC_E_IO, walrec_notify_durable(log, 0, ends[1]));
    CHECK(!is_rung(blocking, 0));
    close(blocking);
}

int main(int argc, char **argv)
{
    walrec_config_t config = config_small();
    walrec_t *log;
    check_begin(argc, argv, 120);
    log = log_open(path("log"), &config);
    by_address(log);
    bad_descriptors(log);
    by_descriptor(log);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    /* In a child, which a signal would end: this process tells it. */
    CHECK_CHILD(deaf_in_child, NULL);
    return check_end();
}
