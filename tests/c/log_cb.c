/*
 * log_cb: that messages arrive, and that a stage which does not fit shared memory is told.
 *
 * The second part needs a small /dev/shm: as root it mounts one in a mount namespace of its own; otherwise it says
 * that it skips.
 */
#include "check.h"
#include "heard.h"

#include <sched.h>
#include <sys/mount.h>

/* A group-writable directory is told; nothing is told of a log that is in order. */
static void at_open(void)
{
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    const char *dir = path("group");
    walrec_t *log = log_open(dir, &config);
    append_range(log, 1, 5000);
    close_and_check(log, h);
    CHECK(h->count[WALREC_LOG_ERROR] == 0 && h->count[WALREC_LOG_WARNING] == 0);
    if (h->count[WALREC_LOG_WARNING] != 0)
        printf("%s", h->text);

    REQUIRE(chmod(dir, 0770) == 0);
    h = heard_new();
    config = config_heard(h);
    log = log_open(dir, &config);
    close_and_check(log, h);
    CHECK_HEARD(h, "writ", WALREC_LOG_WARNING);
}

/* A stage_dir of the caller's: used, never replaced. */
static void explicit_stage_dir(void)
{
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    walrec_t *log = NULL;
    char place[8192], stage[8192];

    snprintf(place, sizeof place, "%s", path("stages"));
    config.stage_dir = place;
    /* Missing: an error that names it, whatever shared memory there is. */
    CHECK(walrec_open(path("own-stage"), &config, &log) < 0);
    CHECK(log == NULL);
    CHECK_MESSAGE("stages");
    CHECK(!exists(place));

    REQUIRE(mkdir(place, 0700) == 0);
    log = log_open(path("own-stage"), &config);
    append_range(log, 1, 5000);
    REQUIRE(stage_path(path("own-stage"), stage, sizeof stage));
    CHECK(strncmp(stage, place, strlen(place)) == 0 && strlen(stage) > strlen(place));
    CHECK(for_each_entry(stage, NULL, NULL) > 0);
    /* Not kept: the string may go. */
    memset(place, 'x', sizeof place - 1);
    append_range(log, 5001, 30000);
    close_and_check(log, h);
    CHECK(!exists(stage));
    CHECK(for_each_entry(path("stages"), NULL, NULL) == 0);
    log_holds(path("own-stage"), 1, 30000);

    /* A file in its place, and an empty string. */
    {
        FILE *file = fopen(path("stage-file"), "w");
        REQUIRE(file != NULL);
        fclose(file);
        config.stage_dir = path("stage-file");
        CHECK(walrec_open(path("own-stage"), &config, &log) < 0);
        CHECK_MESSAGE("stage-file");
        config.stage_dir = "";
        CHECK_STATUS(WALREC_E_INVALID, walrec_open(path("own-stage"), &config, &log));
        CHECK_MESSAGE("stage_dir");
    }
    /* None of the failures harmed the log. */
    config.stage_dir = NULL;
    h = heard_new();
    config.log_user = h;
    log = log_open(path("own-stage"), &config);
    CHECK_U64(30000, walrec_last_event_id(log));
    close_and_check(log, h);
}

/* ---- a /dev/shm of 4 MB -------------------------------------------------- */

#define MOUNT_REFUSED 77

static void left_behind(const char *dir, const char *name, void *line)
{
    check_fail(__FILE__, *(int *)line, "%s/%s was left behind", dir, name);
}

/* A failed attempt leaves nothing in shared memory: there it would be in the way of everybody. */
static void shm_is_empty(int line)
{
    check_count(&check_done);
    for_each_entry("/dev/shm", left_behind, &line);
}

static void small_shm(void *unused)
{
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    walrec_open_report_t report;
    walrec_t *log = NULL;
    char stage[8192];
    (void)unused;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("small", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=1777") != 0) {
        printf("cannot mount a small /dev/shm: %s\n", strerror(errno));
        fflush(stdout);
        _exit(MOUNT_REFUSED);
    }

    /* The default geometry wants 50 MB. It goes to the log directory, and says so twice. */
    config.num_blocks = 0;
    config.stage_slots = 0;
    log = log_open(path("fallback"), &config);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK((report.flags & WALREC_OPEN_STAGE_ON_DISK) != 0);
    CHECK_HEARD(h, "stage", WALREC_LOG_WARNING);
    CHECK_HEARD(h, "/dev/shm", WALREC_LOG_WARNING);
    REQUIRE(stage_path(path("fallback"), stage, sizeof stage));
    CHECK(strncmp(stage, "/dev/shm", 8) != 0);
    /* Nothing is left of the attempt. */
    shm_is_empty(__LINE__);
    append_range(log, 1, 300000);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    close_and_check(log, h);
    log_holds(path("fallback"), 1, 300000);
    CHECK(!exists(stage));

    /* Unless the caller insists. */
    h = heard_new();
    config.log_user = h;
    config.flags = WALREC_FLAG_REQUIRE_SHM;
    log = NULL;
    CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_E_IO, walrec_open(path("fallback"), &config, &log));
    CHECK(log == NULL);
    CHECK_MESSAGE("/dev/shm");
    shm_is_empty(__LINE__);
    CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_E_IO, walrec_open(path("insisting"), &config, &log));

    /* An explicit place is never left for another, with the flag or without. */
    config.flags = 0;
    config.stage_dir = "/dev/shm";
    CHECK_STATUS_EITHER(WALREC_E_NOSPACE, WALREC_E_IO, walrec_open(path("fallback"), &config, &log));
    CHECK_MESSAGE("/dev/shm");
    shm_is_empty(__LINE__);

    /* A pool that fits is taken there. */
    config = config_small();
    config.flags = WALREC_FLAG_REQUIRE_SHM;
    config.stage_slots = 3;
    log = log_open(path("fallback"), &config);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(log, &report));
    CHECK((report.flags & WALREC_OPEN_STAGE_ON_DISK) == 0);
    CHECK_U64(300000, report.last_event_id);
    append_range(log, 300001, 330000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    shm_is_empty(__LINE__);
    log_holds(path("fallback"), 1, 330000);
}

/* A stage in the log directory survives a kill like any other. */
static void fall_back_and_die(void *unused)
{
    walrec_config_t config = config_small();
    walrec_t *log;
    (void)unused;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("small", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=1777") != 0)
        _exit(MOUNT_REFUSED);
    log = log_open(path("fallback-killed"), &config);
    append_range(log, 1, 10000);
    raise(SIGKILL);
}

int main(int argc, char **argv)
{
    int status;
    check_begin(argc, argv, 90);
    at_open();
    explicit_stage_dir();

    status = wait_child(start_child(small_shm, NULL));
    if (WIFEXITED(status) && WEXITSTATUS(status) == MOUNT_REFUSED) {
        printf("SKIP log_cb: a stage that does not fit /dev/shm was NOT tested; it needs root, to mount a small one\n");
    } else {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        status = wait_child(start_child(fall_back_and_die, NULL));
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        {
            walrec_config_t config = config_small();
            walrec_t *log = log_open(path("fallback-killed"), &config);
            CHECK_U64(10000, walrec_last_event_id(log));
            CHECK_STATUS(WALREC_OK, walrec_close(log));
            log_holds(path("fallback-killed"), 1, 10000);
        }
    }
    return check_end();
}
