/* A /dev/shm that nothing can be made in: read-only, or another user's. The stage is on disk then, with a word about it, each time the log
 * is opened. Each in a mount namespace of its own, as root, or as a user without rights. */
#include "heard.h"

#include <sched.h>
#include <sys/mount.h>

#define NOBODY 65534

struct place {
    const char *name, *options;
    unsigned long flags;
    int as_nobody;
};

static void live(void *argument)
{
    const struct place *place = argument;
    const char *dir = path("%s/log", place->name);
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    uint64_t last;
    int round;

    REQUIRE(unshare(CLONE_NEWNS) == 0);
    REQUIRE(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    REQUIRE(mount("tmpfs", "/dev/shm", "tmpfs", place->flags, place->options) == 0);
    REQUIRE(mkdir(path("%s", place->name), 0700) == 0);
    if (place->as_nobody) {
        REQUIRE(chown(path("%s", place->name), NOBODY, NOBODY) == 0);
        REQUIRE(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (access(path("%s", place->name), W_OK) != 0) {
            printf("SKIP closed_shm: NOT run with %s: other users cannot reach this directory\n", place->name);
            return;
        }
    }
    for (round = 0, last = 0; round < 3; round++, last += 100) {
        walrec_open_report_t report;
        walrec_t *log = log_open(dir, &config);
        memset(&report, 0, sizeof report);
        report.struct_size = (uint32_t)sizeof report;
        CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
        CHECK(report.flags & WALREC_OPEN_STAGE_ON_DISK);
        CHECK_U64(last, walrec_last_event_id(log));
        append_range(log, last + 1, last + 100);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    }
    CHECK_HEARD(h, "on disk (", WALREC_LOG_WARNING);
    log_holds(dir, 1, last);
}

int main(int argc, char **argv)
{
    static struct place places[] = {
        {"read-only", "mode=1777", MS_RDONLY, 0},
        {"no-write", "mode=0755", 0, 1},
        {"no-search", "mode=0700", 0, 1},
    };
    unsigned i;
    check_begin(argc, argv, 60);
    if (geteuid() != 0) {
        printf("SKIP closed_shm: NOT run, it needs root to mount another /dev/shm\n");
        return check_end();
    }
    for (i = 0; i < sizeof places / sizeof places[0]; i++)
        CHECK_CHILD(live, &places[i]);
    return check_end();
}
