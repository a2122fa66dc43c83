/* A file system that cannot allocate: space is made by writing zeros there. What a close has cut to size, and what a kill has left, is
 * written on by the next open. Run with the directory of such a file system. */
#include "check.h"

#define EVENTS 300u

static void killed(void *log_directory)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(log_directory, &config);
    uint64_t last = walrec_last_event_id(log);
    append_range(log, last + 1, last + EVENTS);
    raise(SIGKILL);
}

/* Whether the file system is of that kind: else this proves nothing. */
static int allocates(void)
{
    const char *name = path("told");
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600), can;
    REQUIRE(fd >= 0);
    can = fallocate(fd, 0, 0, 1 << 20) == 0 || errno != EOPNOTSUPP;
    close(fd);
    unlink(name);
    return can;
}

int main(int argc, char **argv)
{
    walrec_config_t config;
    char *dir;
    unsigned round;
    uint64_t last = 0;

    check_begin(argc, argv, 120);
    REQUIRE(!allocates());
    config = config_small();
    dir = strdup(path("log"));
    for (round = 0; round < 4; round++) {
        walrec_t *log = log_open(dir, &config);
        CHECK_U64(last, walrec_last_event_id(log));
        append_range(log, last + 1, last + EVENTS);
        last += EVENTS;
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        if (round % 2 == 0) {
            int status = wait_child(start_child(killed, dir));
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
            last += EVENTS;
        }
    }
    log_holds(dir, 1, last);
    printf("FIGURE no fallocate: %" PRIu64 " events, %u opens after a close or a kill\n", last, round + round / 2 - 1);
    return check_end();
}
