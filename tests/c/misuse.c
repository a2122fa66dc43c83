/* What a confused caller does: NULL everywhere, impossible places. Statuses come back, and nothing is printed. */
#include "check.h"

#define NO_LOG ((walrec_t *)NULL)

/* All of it prints nothing: standard output and error are one file meanwhile. */
static void silently(void (*body)(void), const char *name)
{
    struct stat st;
    int out, err, fd;
    fflush(stdout);
    fflush(stderr);
    fd = open(path("%s", name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    out = dup(1);
    err = dup(2);
    REQUIRE(out >= 0 && err >= 0 && dup2(fd, 1) == 1 && dup2(fd, 2) == 2);
    body();
    fflush(stdout);
    REQUIRE(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    close(out);
    close(err);
    REQUIRE(fstat(fd, &st) == 0);
    if (st.st_size != 0) {
        char text[4096];
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        check_fail(__FILE__, __LINE__, "%s printed: %s", name, text);
    }
    close(fd);
}

static void nulls(void)
{
    walrec_event_t event = event_of(1), *slot = NULL;
    walrec_open_report_t report;
    walrec_meta_state_t meta;
    unsigned i;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    for (i = 0; i < 3; i++) {
        CHECK_STATUS(WALREC_E_INVALID, walrec_open(NULL, NULL, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(NO_LOG, &event));
        CHECK_MESSAGE("walrec_append");
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(NO_LOG, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(NO_LOG, &event, 1, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_append_batch(NO_LOG, NULL, 0, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reserve(NO_LOG, &slot));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reserve(NO_LOG, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_abort(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_sync(NO_LOG, 0, NO_LIMIT));
        CHECK_STATUS(WALREC_E_INVALID, walrec_rotate(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_attach_thread(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_shutdown(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_meta_state(NO_LOG, &meta));
        CHECK_STATUS(WALREC_E_INVALID, walrec_meta_state(NO_LOG, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_open_report(NO_LOG, &report));
        CHECK_STATUS(WALREC_E_INVALID, walrec_open_report(NO_LOG, NULL));
        CHECK_U64(0, walrec_last_event_id(NO_LOG));
        CHECK_U64(0, walrec_durable_event_id(NO_LOG));
        CHECK_STATUS(WALREC_OK, walrec_close(NO_LOG));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reader_open(NULL, 0, 0, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reader_next(NULL, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reader_read(NULL, NULL, 0, NULL));
        CHECK_STATUS(WALREC_E_INVALID, walrec_reader_seek(NULL, 0));
        walrec_reader_close(NULL);
    }
}

/* Places where a log cannot be. */
static void bad_places(void)
{
    static const char *const places[] = {"/dev/null", "/dev/null/x", "/proc/self/x", "/proc/self/fd/0",
                                         "/sys/kernel/x", "relative/missing/x"};
    walrec_reader_t *reader;
    walrec_t *log;
    unsigned i;
    for (i = 0; i < sizeof places / sizeof places[0]; i++) {
        log = (walrec_t *)(uintptr_t)64;
        CHECK(walrec_open(places[i], NULL, &log) < 0);
        CHECK(log == NULL);
        CHECK_MESSAGE(places[i]);
        reader = (walrec_reader_t *)(uintptr_t)64;
        CHECK(walrec_reader_open(places[i], 0, 0, &reader) < 0);
        CHECK(reader == NULL);
        CHECK_MESSAGE(places[i]);
    }
}

/* A whole life of a recorder, refusals included. */
static void a_life(void)
{
    walrec_config_t config = config_small();
    const char *dir = path("life");
    walrec_event_t event = event_of(1), *slot;
    walrec_t *log = log_open(dir, &config), *second = NULL;
    unsigned i;
    for (i = 0; i < 3000; i++) {
        event.event_id = 0;
        CHECK_STATUS(WALREC_E_INVALID, walrec_append(log, &event));
        event = event_of(i + 1);
        CHECK_STATUS(WALREC_OK, walrec_append(log, &event));
        CHECK_STATUS(WALREC_E_ORDER, walrec_append(log, &event));
        CHECK_STATUS(WALREC_E_INVALID, walrec_commit(log));
        CHECK_STATUS(WALREC_OK, walrec_reserve(log, &slot));
        CHECK_STATUS(WALREC_OK, walrec_abort(log));
    }
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(dir, &config, &second));
    CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
    CHECK_STATUS(WALREC_E_CLOSED, walrec_append(log, &event));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 3000);
}

/* Signals are the engine's: the library's threads take none, and SIGPIPE, SIGTERM and friends keep their handlers. */
static volatile sig_atomic_t signals_elsewhere, signals_here;
static pthread_t engine;

static void on_signal(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), engine))
        signals_here++;
    else
        signals_elsewhere++;
}

static void signals(void)
{
    struct sigaction action, after;
    walrec_config_t config = config_small();
    walrec_t *log;
    sigset_t mask_before, mask_after;
    uint64_t id = 0;
    int number, i;
    engine = pthread_self();
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask_before) == 0);
    log = log_open(path("signals"), &config);
    for (i = 0; i < 200; i++) {
        append_range(log, id + 1, id + 500);
        id += 500;
        kill(getpid(), SIGUSR1);
        if (i % 20 == 0)
            CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    }
    for (number = 1; number < 32; number++) {
        if (number == SIGKILL || number == SIGSTOP || number == SIGUSR1)
            continue;
        REQUIRE(sigaction(number, NULL, &after) == 0);
        CHECK(after.sa_handler == SIG_DFL || after.sa_handler == SIG_IGN);
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    REQUIRE(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
    for (number = 1; number < 65; number++)
        CHECK(sigismember(&mask_before, number) == sigismember(&mask_after, number));
    CHECK(signals_elsewhere == 0);
    CHECK(signals_here > 0);
    log_holds(path("signals"), 1, id);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    silently(nulls, "nulls.txt");
    silently(bad_places, "bad_places.txt");
    silently(a_life, "a_life.txt");
    silently(signals, "signals.txt");
    return check_end();
}
