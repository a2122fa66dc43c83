/* A log and several processes: openers at the same moment, daemons, an exec, forks beside opens; and several threads at its end. */
#include "check.h"

#include <sys/file.h>
#include <sys/syscall.h>

#define OPENERS 4
#define ROUNDS 60
#define EVENTS_A_ROUND 300

/* ---- openers at the same moment ------------------------------------------- */

struct race {
    unsigned round, tried, released;
    unsigned won[ROUNDS], locked[ROUNDS], other[ROUNDS];
    uint64_t last;
};

static unsigned load(unsigned *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void wait_for(unsigned *word, unsigned value)
{
    while (load(word) < value)
        pause_us(20);
}

/* The winner appends once everyone has tried, and ends by a close, by leaving, or is killed, in turn. */
static void open_in_round(struct race *race, unsigned round)
{
    walrec_config_t config = config_small();
    walrec_t *log = NULL;
    walrec_status_t status;
    wait_for(&race->round, round + 1);
    status = walrec_open(path("raced"), &config, &log);
    if (status == WALREC_OK)
        __atomic_add_fetch(&race->won[round], 1, __ATOMIC_SEQ_CST);
    else if (status == WALREC_E_LOCKED)
        __atomic_add_fetch(&race->locked[round], 1, __ATOMIC_SEQ_CST);
    else
        __atomic_add_fetch(&race->other[round], 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&race->tried, 1, __ATOMIC_SEQ_CST);
    wait_for(&race->tried, (round + 1) * OPENERS);
    if (log == NULL)
        return;
    CHECK_U64(race->last, walrec_last_event_id(log));
    append_range(log, race->last + 1, race->last + EVENTS_A_ROUND);
    race->last += EVENTS_A_ROUND;
    if (round % 3 == 0)
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    else if (round % 3 == 1)
        raise(SIGKILL);
}

struct opener {
    struct race *race;
    unsigned round;
};

static void opener_body(void *argument)
{
    struct opener *opener = argument;
    open_in_round(opener->race, opener->round);
}

static void openers(void)
{
    struct race *race = shared_memory(sizeof *race);
    struct opener opener;
    unsigned round, i;
    for (round = 0; round < ROUNDS; round++) {
        pid_t children[OPENERS];
        opener.race = race;
        opener.round = round;
        for (i = 0; i < OPENERS; i++)
            children[i] = start_child(opener_body, &opener);
        __atomic_store_n(&race->round, round + 1, __ATOMIC_SEQ_CST);
        for (i = 0; i < OPENERS; i++) {
            int status = wait_child(children[i]);
            CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
                  (round % 3 == 1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
        }
        CHECK_U64(1, race->won[round]);
        CHECK_U64(OPENERS - 1, race->locked[round]);
        CHECK_U64(0, race->other[round]);
    }
    {
        walrec_config_t config = config_small();
        walrec_t *log = log_open(path("raced"), &config);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    }
    log_holds(path("raced"), 1, race->last);
    printf("FIGURE openers: %u rounds of %u processes, one winner in each\n", ROUNDS, OPENERS);
}

/* The same from threads of one process. */
struct thread_race {
    const char *dir;
    unsigned go;
    walrec_t *log[OPENERS];
    walrec_status_t status[OPENERS];
    unsigned next;
};

static void *open_on_thread(void *argument)
{
    struct thread_race *race = argument;
    walrec_config_t config = config_small();
    unsigned mine = __atomic_fetch_add(&race->next, 1, __ATOMIC_SEQ_CST);
    wait_for(&race->go, 1);
    race->status[mine] = walrec_open(race->dir, &config, &race->log[mine]);
    return NULL;
}

static void openers_of_one_process(void)
{
    unsigned round, i;
    for (round = 0; round < 20; round++) {
        struct thread_race race;
        pthread_t threads[OPENERS];
        unsigned won = 0;
        memset(&race, 0, sizeof race);
        race.dir = path("raced-threads");
        for (i = 0; i < OPENERS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, open_on_thread, &race) == 0);
        __atomic_store_n(&race.go, 1, __ATOMIC_SEQ_CST);
        for (i = 0; i < OPENERS; i++)
            REQUIRE(pthread_join(threads[i], NULL) == 0);
        for (i = 0; i < OPENERS; i++) {
            if (race.status[i] == WALREC_OK) {
                won++;
                append_range(race.log[i], round * 10 + 1, round * 10 + 10);
                CHECK_STATUS(WALREC_OK, walrec_close(race.log[i]));
            } else {
                CHECK_STATUS(WALREC_E_LOCKED, race.status[i]);
                CHECK(race.log[i] == NULL);
            }
        }
        CHECK_U64(1, won);
    }
    log_holds(path("raced-threads"), 1, 200);
}

/* ---- a fork while the log is being locked ----------------------------------- */

struct beside {
    unsigned asked, forked;
    int end[2];
};

static struct beside *beside_now;

/* Stands before the C library's: right after the lock was taken, another thread forks, if it can. Where it has to wait until the log is
 * open, this gives up after a while. */
int flock(int descriptor, int operation)
{
    int result = (int)syscall(SYS_flock, descriptor, operation);
    unsigned waited;
    if (result == 0 && beside_now != NULL && (operation & LOCK_EX) != 0) {
        __atomic_add_fetch(&beside_now->asked, 1, __ATOMIC_SEQ_CST);
        for (waited = 0; waited < 200 && load(&beside_now->forked) < load(&beside_now->asked); waited++)
            pause_us(1000);
    }
    return result;
}

/* Its children stay until the test is over. */
static void *fork_when_asked(void *unused)
{
    unsigned done;
    (void)unused;
    /* One that had to wait may be behind by more than one: it is asked again at once. */
    for (done = 0;; done++) {
        pid_t pid;
        wait_for(&beside_now->asked, done + 1);
        pid = fork();
        if (pid < 0)
            return NULL;
        if (pid == 0) {
            char byte;
            close(beside_now->end[1]);
            __atomic_add_fetch(&beside_now->forked, 1, __ATOMIC_SEQ_CST);
            while (read(beside_now->end[0], &byte, 1) > 0) {
            }
            _exit(0);
        }
        wait_for(&beside_now->forked, done + 1);
    }
}

static void open_beside_forks(void *argument)
{
    walrec_config_t config = config_small();
    pthread_t thread;
    walrec_t *log;
    beside_now = argument;
    close(beside_now->end[1]);
    REQUIRE(pthread_create(&thread, NULL, fork_when_asked, NULL) == 0);
    log = log_open(path("beside"), &config);
    append_range(log, 1, 1000);
    /* The last child may still be on its way. */
    while (load(&beside_now->forked) < load(&beside_now->asked))
        pause_us(1000);
    raise(SIGKILL);
}

/* A child forked in that moment, whose parent is then killed, does not keep the log locked. */
static void forks_beside_opens(void)
{
    struct beside *beside = shared_memory(sizeof *beside);
    walrec_config_t config = config_small();
    walrec_t *log;
    int status;
    REQUIRE(pipe(beside->end) == 0);
    status = wait_child(start_child(open_beside_forks, beside));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(beside->forked > 0);
    log = log_open(path("beside"), &config);
    CHECK_U64(1000, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    close(beside->end[0]);
    close(beside->end[1]);
    printf("FIGURE forks while a log is locked: %u children outlived their parent, none kept a lock\n", beside->forked);
}

/* ---- a daemon ------------------------------------------------------------- */

struct daemon {
    int done;
    pid_t pid;
};

/* As an engine that puts itself into the background: two forks, then the log. */
static void daemonize(void *argument)
{
    struct daemon *shared = argument;
    walrec_config_t config = config_small();
    walrec_t *log;
    if (fork() != 0)
        _exit(0);
    REQUIRE(setsid() >= 0);
    if (fork() != 0)
        _exit(0);
    alarm(60);
    check_failed = 0;
    log = log_open(path("daemon"), &config);
    append_range(log, 1, 9000);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    shared->pid = getpid();
    __atomic_store_n(&shared->done, check_failed == 0 ? 1 : 2, __ATOMIC_RELEASE);
    fflush(stdout);
    _exit(0);
}

/* One that has had a log open and closed before it goes into the background. */
static void daemonize_after_use(void *argument)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("daemon"), &config);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    daemonize(argument);
}

static void daemons(void)
{
    static void (*const bodies[])(void *) = {daemonize, daemonize_after_use};
    unsigned i;
    for (i = 0; i < 2; i++) {
        struct daemon *shared = shared_memory(sizeof *shared);
        uint64_t begin = now_ns();
        CHECK_CHILD(bodies[i], shared);
        while (__atomic_load_n(&shared->done, __ATOMIC_ACQUIRE) == 0) {
            REQUIRE(now_ns() - begin < 40 * SECOND_NS);
            pause_us(1000);
        }
        CHECK_U64(1, (uint64_t)shared->done);
        log_holds(path("daemon"), 1, 9000);
        REQUIRE(rename(path("daemon"), path("daemon-was-%u", i)) == 0);
    }
}

/* ---- exec ------------------------------------------------------------------ */

/* The engine itself becomes another program, which opens the log at once. */
static void become_another(void *unused)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("executed"), &config);
    (void)unused;
    append_range(log, 1, 5000);
    execl("/proc/self/exe", "processes", check_work, "executed", (char *)NULL);
    _exit(126);
}

static int executed(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("executed"), &config);
    CHECK_U64(5000, walrec_last_event_id(log));
    append_range(log, 5001, 6000);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("executed"), 1, 6000);
    return check_end();
}

/* ---- syncs beside a shutdown ------------------------------------------------ */

struct syncer {
    walrec_t *log;
    unsigned *go, ok;
    uint64_t closed, wrong;
};

static void *sync_until_closed(void *argument)
{
    struct syncer *s = argument;
    wait_for(s->go, 1);
    for (;;) {
        uint64_t last = walrec_last_event_id(s->log);
        walrec_status_t status = walrec_sync(s->log, s->ok % 2 == 0 ? last : 0, NO_LIMIT);
        if (status == WALREC_OK && walrec_durable_event_id(s->log) >= last)
            __atomic_add_fetch(&s->ok, 1, __ATOMIC_SEQ_CST);
        else if (status == WALREC_E_CLOSED)
            s->closed++;
        else
            s->wrong++;
        if (status != WALREC_OK || last == 2000)
            return NULL;
        pause_us(20);
    }
}

static void syncs_beside_a_shutdown(void)
{
    unsigned round, i;
    uint64_t ok = 0, closed = 0;
    for (round = 0; round < 15; round++) {
        const char *dir = path("shut%u", round);
        walrec_config_t config = config_small();
        struct syncer syncers[4];
        pthread_t threads[4];
        unsigned go = 0;
        walrec_t *log = log_open(dir, &config);
        memset(syncers, 0, sizeof syncers);
        append_range(log, 1, 1000);
        for (i = 0; i < 4; i++) {
            syncers[i].log = log;
            syncers[i].go = &go;
            REQUIRE(pthread_create(&threads[i], NULL, sync_until_closed, &syncers[i]) == 0);
        }
        __atomic_store_n(&go, 1, __ATOMIC_SEQ_CST);
        append_range(log, 1001, 1999);
        for (i = 0; i < 4; i++)
            wait_for(&syncers[i].ok, 1);
        append_range(log, 2000, 2000);
        CHECK_STATUS(WALREC_OK, walrec_shutdown(log));
        for (i = 0; i < 4; i++) {
            REQUIRE(pthread_join(threads[i], NULL) == 0);
            CHECK_U64(0, syncers[i].wrong);
            ok += syncers[i].ok;
            closed += syncers[i].closed;
        }
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        log_holds(dir, 1, 2000);
    }
    printf("FIGURE syncs beside a shutdown: %" PRIu64 " durable, %" PRIu64 " closed\n", ok, closed);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 280);
    if (argc > 2)
        return executed();
    openers();
    openers_of_one_process();
    forks_beside_opens();
    daemons();
    CHECK_CHILD(become_another, NULL);
    syncs_beside_a_shutdown();
    return check_end();
}
