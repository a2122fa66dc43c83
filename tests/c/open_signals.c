/* Signals at the open: a limit on file sizes is an error that names the file, and an interval timer does not keep the open from its end. */
#include "heard.h"

#include <sys/resource.h>
#include <sys/time.h>

static void file_size(void *unused)
{
    walrec_config_t config = config_small();
    const char *dir = path("size");
    struct rlimit limit;
    walrec_t *log = NULL;
    (void)unused;
    signal(SIGXFSZ, SIG_DFL);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = 64 << 10;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_STATUS(WALREC_E_IO, walrec_open(dir, &config, &log));
    CHECK_MESSAGE("slot.000: File too large");
    limit.rlim_cur = limit.rlim_max;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    log = log_open(dir, &config);
    append_range(log, 1, 100);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 100);
}

static volatile sig_atomic_t ticks;

static void tick(int number)
{
    (void)number;
    ticks++;
}

static void timer(void *unused)
{
    walrec_config_t config = config_small();
    struct itimerval interval = {{0, 100}, {0, 100}}, none = {{0, 0}, {0, 0}};
    struct sigaction action;
    walrec_t *log;
    (void)unused;
    memset(&action, 0, sizeof action);
    action.sa_handler = tick;
    action.sa_flags = SA_RESTART;
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    config.num_blocks = 512;
    REQUIRE(setitimer(ITIMER_REAL, &interval, NULL) == 0);
    log = log_open(path("timer"), &config);
    REQUIRE(setitimer(ITIMER_REAL, &none, NULL) == 0);
    CHECK(ticks > 0);
    append_range(log, 1, 100);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("timer"), 1, 100);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    CHECK_CHILD(file_size, NULL);
    CHECK_CHILD(timer, NULL);
    return check_end();
}
