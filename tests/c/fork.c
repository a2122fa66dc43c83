/* A forked child: it may do nothing to the parent's log, and keeps nothing of it alive. */
#include "check.h"

struct shared {
    int survivor_is_ready, survivor_may_go, survivor_checks_failed;
};

static walrec_t *log_of_parent;
static uint64_t last_of_parent;

/* Every call on the parent's handle. */
static void all_forked(walrec_t *log)
{
    walrec_event_t event = event_of(last_of_parent + 1), *slot = &event;
    walrec_open_report_t report;
    walrec_meta_state_t state;
    size_t done = 7;
    unsigned i;
    /* More than a block of them: the check does not wear off. */
    for (i = 0; i < 600; i++) {
        CHECK_STATUS(WALREC_E_FORKED, walrec_append(log, &event));
        event.event_id++;
    }
    CHECK_STATUS(WALREC_E_FORKED, walrec_append_batch(log, &event, 1, &done));
    CHECK_U64(0, done);
    CHECK_STATUS(WALREC_E_FORKED, walrec_reserve(log, &slot));
    CHECK(slot == NULL);
    CHECK(walrec_commit(log) < 0);
    CHECK(walrec_abort(log) < 0);
    CHECK_STATUS(WALREC_E_FORKED, walrec_rotate(log));
    CHECK_STATUS(WALREC_E_FORKED, walrec_attach_thread(log));
    CHECK_STATUS(WALREC_E_FORKED, walrec_append(log, &event));
    CHECK_STATUS(WALREC_E_FORKED, walrec_sync(log, 1, 0));
    CHECK_STATUS(WALREC_E_FORKED, walrec_set_retention_floor(log, 1));
    CHECK_STATUS(WALREC_E_FORKED, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_E_FORKED, walrec_sync(log, last_of_parent + 1, NO_LIMIT));
    CHECK_STATUS(WALREC_E_FORKED, walrec_meta_state(log, &state));
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_E_FORKED, walrec_open_report(log, &report));
    CHECK_STATUS(WALREC_E_FORKED, walrec_shutdown(log));
}

static void child_calls(void *unused)
{
    (void)unused;
    all_forked(log_of_parent);
}

static void child_closes(void *unused)
{
    (void)unused;
    CHECK_STATUS_EITHER(WALREC_E_FORKED, WALREC_OK, walrec_close(log_of_parent));
}

static void child_closes_after_calls(void *unused)
{
    (void)unused;
    all_forked(log_of_parent);
    CHECK_STATUS_EITHER(WALREC_E_FORKED, WALREC_OK, walrec_close(log_of_parent));
}

/* A reservation made before the fork is the parent's. */
static void child_commits(void *unused)
{
    (void)unused;
    CHECK_STATUS(WALREC_E_FORKED, walrec_commit(log_of_parent));
}

/* The log stays locked for it, reading is free, and a log of its own is its own. */
static void child_has_its_own(void *unused)
{
    walrec_config_t config = config_small();
    walrec_t *log = NULL;
    (void)unused;
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(path("log"), &config, &log));
    CHECK(log == NULL);
    log_holds(path("log"), 1, last_of_parent);
    log = log_open(path("of-child"), &config);
    append_range(log, 1, 9000);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("of-child"), 1, 9000);
}

/* Ends by exit(): no handler of the library may touch the parent's files. */
static void child_exits(void *unused)
{
    (void)unused;
    exit(0);
}

/* This program again: in a process that was executed, no descriptor of the log is open. */
static void exec_entry(const char *dir, const char *name, void *user)
{
    char full[8192], target[8192];
    ssize_t n;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    n = readlink(full, target, sizeof target - 1);
    if (n < 0)
        return;
    target[n] = '\0';
    if (strstr(target, "walrec.") != NULL || strstr(target, "/FS.") != NULL ||
        strstr(target, (const char *)user) != NULL)
        check_fail(__FILE__, __LINE__, "descriptor %s is open after exec: %s", name, target);
}

static void child_executes(void *unused)
{
    (void)unused;
    execl("/proc/self/exe", "fork", check_work, "executed", path("log"), (char *)NULL);
    _exit(126);
}

static void locked_and_intact(walrec_t *log)
{
    walrec_t *second = NULL;
    walrec_config_t config = config_small();
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(path("log"), &config, &second));
    append_range(log, last_of_parent + 1, last_of_parent + 700);
    last_of_parent += 700;
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_U64(last_of_parent, walrec_durable_event_id(log));
    log_holds(path("log"), 1, last_of_parent);
}

static void children_of_a_live_parent(void)
{
    static void (*const bodies[])(void *) = {child_calls, child_closes, child_closes_after_calls,
                                             child_has_its_own, child_exits, child_executes};
    walrec_config_t config = config_small();
    walrec_event_t *slot = NULL;
    unsigned i;

    log_of_parent = log_open(path("log"), &config);
    /* Forked before the first append, too. */
    CHECK_CHILD(child_closes_after_calls, NULL);
    append_range(log_of_parent, 1, 1000);
    last_of_parent = 1000;
    locked_and_intact(log_of_parent);
    for (i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        CHECK_CHILD(bodies[i], NULL);
        locked_and_intact(log_of_parent);
    }
    REQUIRE_STATUS(WALREC_OK, walrec_reserve(log_of_parent, &slot));
    event_fill(slot, last_of_parent + 1);
    CHECK_CHILD(child_commits, NULL);
    CHECK_U64(last_of_parent, walrec_last_event_id(log_of_parent));
    CHECK_STATUS(WALREC_OK, walrec_commit(log_of_parent));
    last_of_parent++;
    locked_and_intact(log_of_parent);

    /* A child that holds its copies while the parent closes does not hold the log. */
    {
        struct shared *shared = shared_memory(sizeof *shared);
        pid_t pid;
        fflush(stdout);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            alarm(60);
            while (!__atomic_load_n(&shared->survivor_may_go, __ATOMIC_ACQUIRE))
                pause_us(1000);
            _exit(0);
        }
        CHECK_STATUS(WALREC_OK, walrec_close(log_of_parent));
        log_of_parent = log_open(path("log"), &config);
        CHECK_U64(last_of_parent, walrec_last_event_id(log_of_parent));
        __atomic_store_n(&shared->survivor_may_go, 1, __ATOMIC_RELEASE);
        CHECK(wait_child(pid) == 0);
    }
    locked_and_intact(log_of_parent);
    CHECK_STATUS(WALREC_OK, walrec_close(log_of_parent));
    log_holds(path("log"), 1, last_of_parent);
}

#define SURVIVED_EVENTS 5000

/* Opens, appends, forks a grandchild that stays, and is killed. */
static void parent_that_dies(void *argument)
{
    struct shared *shared = argument;
    walrec_config_t config = config_small();
    pid_t pid;
    log_of_parent = log_open(path("orphaned"), &config);
    append_range(log_of_parent, 1, SURVIVED_EVENTS);
    last_of_parent = SURVIVED_EVENTS;
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        alarm(60);
        check_failed = 0;
        __atomic_store_n(&shared->survivor_is_ready, 1, __ATOMIC_RELEASE);
        while (!__atomic_load_n(&shared->survivor_may_go, __ATOMIC_ACQUIRE))
            pause_us(1000);
        all_forked(log_of_parent);
        walrec_close(log_of_parent);
        __atomic_store_n(&shared->survivor_checks_failed, (int)check_failed, __ATOMIC_RELEASE);
        __atomic_store_n(&shared->survivor_is_ready, 2, __ATOMIC_RELEASE);
        fflush(stdout);
        _exit(0);
    }
    while (!__atomic_load_n(&shared->survivor_is_ready, __ATOMIC_ACQUIRE))
        pause_us(100);
    raise(SIGKILL);
}

static void child_of_a_killed_parent(void)
{
    struct shared *shared = shared_memory(sizeof *shared);
    walrec_config_t config = config_small();
    walrec_t *log;
    uint64_t begin;
    int status = wait_child(start_child(parent_that_dies, shared));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(shared->survivor_is_ready == 1);

    /* Its child is alive, and the log can be opened, with every event. */
    log = log_open(path("orphaned"), &config);
    CHECK_U64(SURVIVED_EVENTS, walrec_last_event_id(log));
    append_range(log, SURVIVED_EVENTS + 1, SURVIVED_EVENTS + 5000);

    /* What the orphan does then with its old handle does not reach the new recorder. */
    __atomic_store_n(&shared->survivor_may_go, 1, __ATOMIC_RELEASE);
    begin = now_ns();
    while (__atomic_load_n(&shared->survivor_is_ready, __ATOMIC_ACQUIRE) != 2) {
        REQUIRE(now_ns() - begin < 20 * SECOND_NS);
        pause_us(1000);
    }
    CHECK_U64(0, (uint64_t)shared->survivor_checks_failed);
    append_range(log, SURVIVED_EVENTS + 5001, SURVIVED_EVENTS + 10000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("orphaned"), 1, SURVIVED_EVENTS + 10000);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    if (argc > 3) {
        for_each_entry("/proc/self/fd", exec_entry, argv[3]);
        return check_end();
    }
    children_of_a_live_parent();
    child_of_a_killed_parent();
    return check_end();
}
