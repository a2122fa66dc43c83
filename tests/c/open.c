/* walrec_open: what it refuses, what it makes, and who may have it open. */
#include "check.h"

static walrec_t *const not_a_handle = (walrec_t *)(uintptr_t)64;

/* Every refusal leaves NULL in the handle and a message behind. */
#define REFUSED(status, dir)                                                                       \
    do {                                                                                           \
        walrec_t *refused_log = not_a_handle;                                                      \
        CHECK_STATUS((status), walrec_open((dir), NULL, &refused_log));                            \
        CHECK(refused_log == NULL);                                                                \
        CHECK(walrec_last_error(NULL, 0) > 1);                                                     \
    } while (0)

static void refused(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = not_a_handle;
    const char *dir;
    FILE *file;

    REFUSED(WALREC_E_INVALID, NULL);
    CHECK_MESSAGE("dir");
    log = not_a_handle;
    CHECK(walrec_open("", &config, &log) < 0);
    CHECK(log == NULL);

    dir = path("no-out");
    CHECK_STATUS(WALREC_E_INVALID, walrec_open(dir, &config, NULL));
    CHECK_MESSAGE("out");
    /* Nothing was left open or locked by that. */
    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_OK, walrec_close(log));

    dir = path("file");
    file = fopen(dir, "w");
    REQUIRE(file != NULL);
    fputs("not a directory", file);
    fclose(file);
    REFUSED(WALREC_E_IO, dir);
    CHECK_MESSAGE(dir);
    CHECK(exists(dir));
    REFUSED(WALREC_E_IO, path("file/log"));

    dir = path("missing/parent");
    REFUSED(WALREC_E_IO, dir);
    CHECK_MESSAGE("missing");
    CHECK_MESSAGE(strerror(ENOENT));
    CHECK(!exists(path("missing")));

    /* A directory that everyone may write to: anyone could plant a log there. */
    dir = path("world-writable");
    REQUIRE(mkdir(dir, 0700) == 0 && chmod(dir, 0777) == 0);
    log = not_a_handle;
    CHECK(walrec_open(dir, &config, &log) < 0);
    CHECK(log == NULL);
    CHECK_MESSAGE("world-writable");
    CHECK(for_each_entry(dir, NULL, NULL) == 0);
    REQUIRE(chmod(dir, 01777) == 0);
    CHECK(walrec_open(dir, &config, &log) < 0);
    CHECK(for_each_entry(dir, NULL, NULL) == 0);
    /* The same directory is fine once it is not. */
    REQUIRE(chmod(dir, 0700) == 0);
    log = log_open(dir, &config);
    CHECK_STATUS(WALREC_OK, walrec_close(log));

    /* A path that is too long for the system. */
    {
        static char very_long[70000];
        memset(very_long, 'x', sizeof very_long - 1);
        very_long[0] = '/';
        REFUSED(WALREC_E_IO, very_long);
    }
}

static void mode_entry(const char *dir, const char *name, void *user)
{
    char full[8192];
    struct stat st;
    (void)user;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    /* The preparer renames and the maintainer retires meanwhile. */
    if (lstat(full, &st) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        if ((st.st_mode & 07777) != 0700)
            check_fail(__FILE__, __LINE__, "%s has mode %o", full, (unsigned)st.st_mode & 07777);
        for_each_entry(full, mode_entry, NULL);
    } else if (!S_ISREG(st.st_mode) || (st.st_mode & 07777) != 0600) {
        check_fail(__FILE__, __LINE__, "%s has mode %o", full, (unsigned)st.st_mode);
    }
}

/* Private, whatever the umask is. */
static void modes(void)
{
    static const mode_t masks[] = {0, 022, 0077};
    unsigned i;
    for (i = 0; i < sizeof masks / sizeof masks[0]; i++) {
        const char *dir = path("modes%u", i);
        walrec_config_t config = config_small();
        mode_t old = umask(masks[i]);
        walrec_t *log = log_open(dir, &config);
        char stage[8192];
        struct stat st;
        append_range(log, 1, 10000);
        CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
        CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700);
        CHECK(for_each_entry(dir, mode_entry, NULL) > 0);
        CHECK(stage_path(dir, stage, sizeof stage));
        CHECK(lstat(stage, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 07777) == 0700);
        CHECK(for_each_entry(stage, mode_entry, NULL) > 0);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        for_each_entry(dir, mode_entry, NULL);
        /* The stage of a clean close is gone. */
        CHECK(!exists(stage));
        umask(old);
    }
}

/* Runs this program again with two arguments: a process that inherited nothing. */
static int locked_in_other_process(const char *dir)
{
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "open", check_work, dir, (char *)NULL);
        _exit(126);
    }
    return wait_child(pid);
}

static int other_process(const char *dir)
{
    walrec_config_t config = config_small();
    walrec_t *log = not_a_handle;
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(dir, &config, &log));
    CHECK(log == NULL);
    CHECK_MESSAGE(dir);
    return check_end();
}

static void locked(void)
{
    const char *dir = path("locked");
    walrec_config_t config = config_small();
    walrec_t *first = log_open(dir, &config), *second = not_a_handle;

    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(dir, &config, &second));
    CHECK(second == NULL);
    CHECK_MESSAGE(dir);
    /* Also by another name of the same directory. */
    REQUIRE(symlink("locked", path("alias")) == 0);
    second = not_a_handle;
    CHECK(walrec_open(path("alias"), &config, &second) < 0);
    CHECK(second == NULL);
    CHECK(locked_in_other_process(dir) == 0);

    /* The refused openers changed nothing. */
    append_range(first, 1, 5000);
    CHECK_STATUS(WALREC_OK, walrec_sync(first, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(dir, &config, &second));
    append_range(first, 5001, 9000);
    CHECK_STATUS(WALREC_OK, walrec_close(first));

    second = log_open(dir, &config);
    CHECK_U64(9000, walrec_last_event_id(second));
    CHECK_STATUS(WALREC_OK, walrec_close(second));
    log_holds(dir, 1, 9000);
}

/* Two logs beside each other in one process have nothing in common. */
static void two_logs(void)
{
    walrec_config_t config = config_small();
    walrec_t *a = log_open(path("two-a"), &config);
    walrec_t *b = log_open(path("two-b"), &config);
    append_range(a, 1, 6000);
    append_range(b, 100, 5000);
    append_range(a, 6001, 7000);
    CHECK_U64(7000, walrec_last_event_id(a));
    CHECK_U64(5000, walrec_last_event_id(b));
    CHECK_STATUS(WALREC_OK, walrec_close(b));
    append_range(a, 7001, 8000);
    CHECK_STATUS(WALREC_OK, walrec_close(a));
    log_holds(path("two-a"), 1, 8000);
    log_holds(path("two-b"), 100, 5000);
}

/* Defaults, an odd path, and the path not kept. */
static void accepted(void)
{
    char name[8192];
    walrec_t *log = NULL;
    snprintf(name, sizeof name, "%s", path("a space, a \"quote\", and \xff\xfe bytes/"));
    CHECK_STATUS(WALREC_OK, walrec_open(name, NULL, &log));
    REQUIRE(log != NULL);
    memset(name, 'x', sizeof name);
    append_range(log, 1, 300000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("a space, a \"quote\", and \xff\xfe bytes"), 1, 300000);

    /* A relative path, and the working directory changed behind its back. */
    {
        walrec_config_t config = config_small();
        char old[4096];
        REQUIRE(getcwd(old, sizeof old) != NULL);
        REQUIRE(chdir(check_work) == 0);
        log = log_open("relative", &config);
        REQUIRE(chdir("/") == 0);
        append_range(log, 1, 20000);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        REQUIRE(chdir(old) == 0);
        log_holds(path("relative"), 1, 20000);
    }
}

/* A hundred opens and closes leave no descriptor, no mapping and no thread. */
static long count_in(const char *dir)
{
    return for_each_entry(dir, NULL, NULL);
}

static void leaves_nothing(void)
{
    const char *dir = path("again");
    walrec_config_t config = config_small();
    long fds = 0, maps = 0;
    uint64_t id = 0;
    int i;
    for (i = 0; i < 60; i++) {
        walrec_t *log = log_open(dir, &config);
        CHECK_U64(id, walrec_last_event_id(log));
        append_range(log, id + 1, id + 300);
        id += 300;
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        if (i == 9) {
            fds = count_in("/proc/self/fd");
            maps = count_in("/proc/self/map_files");
        }
    }
    CHECK(count_in("/proc/self/fd") <= fds);
    /* The allocator may map a little more by itself. */
    CHECK(count_in("/proc/self/map_files") <= maps + 4);
    CHECK(count_in("/proc/self/task") == OWN_THREADS);
    log_holds(dir, 1, id);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    if (argc > 2)
        return other_process(argv[2]);
    refused();
    modes();
    locked();
    two_logs();
    accepted();
    leaves_nothing();
    return check_end();
}
