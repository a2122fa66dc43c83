/*
 * A session of bounded.c, the recorder's process: what the process that looks on (bounded.c) has in common with it, and what it does.
 *
 * The two take turns by the phases below. The recorder begins anew from its program, so that no page is shared with its parent.
 */
#ifndef WALREC_TESTS_BOUNDED_SESSION_H
#define WALREC_TESTS_BOUNDED_SESSION_H

#include "append_thread.h"
#include "interrupts.h"
#include "listings.h"

enum { HOT = 8, COLD = 16, SLOTS = 6, BLOCKS = 64 };
#define SEGMENT_EVENTS ((uint64_t)BLOCKS * EVENTS_PER_BLOCK)
#define SAMPLE_NS UINT64_C(10000000)
/* Appended before anything is counted: code that was never run is not in memory yet. */
#define WARM_UP (2 * SEGMENT_EVENTS)

/* In turn: each side waits for the other's word. */
enum phase { OPENING, READY, DISTURB, DISTURBED, GO, APPENDED, CLOSE };

/* Shared by both processes. */
struct shared {
    unsigned phase;
    pid_t append_thread;
    walrec_status_t status;
    uint64_t nanoseconds, allocations, fault_control;
    struct map_calls calls;
    struct caught caught;
};
static struct shared *shared;
static int shared_fd;

static void map_shared(int fd)
{
    shared_fd = fd;
    REQUIRE(ftruncate(fd, sizeof *shared) == 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(shared != MAP_FAILED);
    caught = &shared->caught;
}

static int append_cpu; /* -1 = there is but one */

struct session {
    const char *name, *dir;
    uint32_t flags, max_segments, max_compressed_segments;
    struct limits limits;
    uint64_t first, last;
};

static struct session session_of(const char *name, uint32_t flags)
{
    struct session session = {name, NULL, flags, HOT, COLD, {UINT64_MAX, UINT64_MAX}, 1, 0};
    session.dir = strdup(path("%s", name));
    REQUIRE(session.dir != NULL);
    return session;
}

static void enter(enum phase phase)
{
    __atomic_store_n(&shared->phase, phase, __ATOMIC_RELEASE);
}

static unsigned phase_now(void)
{
    return __atomic_load_n(&shared->phase, __ATOMIC_ACQUIRE);
}

/* The CPU that the append thread has to itself, or all but that one. */
static void run_on(int on_append_cpu)
{
    cpu_set_t cpus;
    if (append_cpu < 0)
        return;
    REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    if (on_append_cpu) {
        CPU_ZERO(&cpus);
        CPU_SET(append_cpu, &cpus);
    } else {
        CPU_CLR(append_cpu, &cpus);
    }
    REQUIRE(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
}

struct appender {
    walrec_t *log;
    const struct session *session;
};

static walrec_status_t append_all(walrec_t *log, uint64_t first, uint64_t last)
{
    walrec_event_t event;
    walrec_status_t status = WALREC_OK;
    for (; first <= last && status == WALREC_OK; first++) {
        event_fill(&event, first);
        status = walrec_append(log, &event);
    }
    return status;
}

static void *append_thread(void *argument)
{
    enum { PAGES = 64 };
    const struct appender *appender = argument;
    const struct session *session = appender->session;
    volatile char *fresh;
    pid_t self = (pid_t)syscall(SYS_gettid);
    uint64_t before;
    int i;

    run_on(1);
    shared->append_thread = self;
    fresh = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    before = faults_of(getpid(), self);
    for (i = 0; i < PAGES; i++)
        fresh[i * 4096] = 1;
    shared->fault_control = faults_of(getpid(), self) - before;

    shared->status = walrec_attach_thread(appender->log);
    if (shared->status == WALREC_OK)
        shared->status = append_all(appender->log, session->first, session->first + WARM_UP - 1);
    forbid_system_calls();
    counting = 1;
    enter(READY);
    while (phase_now() != GO)
        relax();
    if (shared->status == WALREC_OK)
        shared->status = append_all(appender->log, session->first + WARM_UP, session->last);
    shared->allocations = allocations;
    enter(APPENDED);
    for (;;)
        relax();
    return NULL;
}

static void await(enum phase phase)
{
    while (phase_now() < phase)
        pause_us(200);
}

enum { DISTURBANCES = 100 };

/* The recorder's main thread does what no thread of the library does: each munmap of a touched page is a shootdown, if the
 * append thread has its CPU at that moment. */
static void disturb(void)
{
    int i;
    for (i = 0; i < DISTURBANCES; i++) {
        volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(page != MAP_FAILED);
        page[0] = 1;
        REQUIRE(munmap((void *)(uintptr_t)page, 4096) == 0);
    }
}

static void record(const struct session *session)
{
    struct appender appender;
    walrec_config_t config = config_default();
    walrec_open_report_t report;
    pthread_t thread;
    uint64_t begin;

    alarm(60 + (unsigned)((session->last - session->first) / 100000));
    config.num_blocks = BLOCKS;
    config.stage_slots = SLOTS;
    config.flags = session->flags;
    config.max_segments = session->max_segments;
    config.max_compressed_segments = session->max_compressed_segments;
    config.wait_limit_us = 60000000;
    appender.session = session;
    appender.log = log_open(session->dir, &config);
    CHECK_U64(session->first - 1, walrec_last_event_id(appender.log));
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_STATUS(WALREC_OK, walrec_open_report(appender.log, &report));
    if ((report.flags & WALREC_OPEN_STAGE_ON_DISK) != 0)
        check_fail(__FILE__, __LINE__, "the stage is not in shared memory, nothing can be proved here");

    catch_system_calls();
    watch_map_calls(&shared->calls);
    REQUIRE(pthread_create(&thread, NULL, append_thread, &appender) == 0);
    for (await(DISTURB); phase_now() < GO; pause_us(200))
        if (phase_now() == DISTURB) {
            disturb();
            enter(DISTURBED);
        }
    begin = now_ns();
    await(APPENDED);
    shared->nanoseconds = now_ns() - begin;
    REQUIRE_STATUS(WALREC_OK, shared->status);
    await(CLOSE);
    CHECK_U64(session->last, walrec_last_event_id(appender.log));
    CHECK_STATUS(WALREC_OK, walrec_close(appender.log));
    /* The filtered thread cannot even end: it spins until the process does. */
    fflush(stdout);
    _exit(check_failed > 100 ? 100 : (int)check_failed);
}

/* The recorder's process begins anew from this program: in a forked one the first store to each page that its parent still
 * has is a shootdown too. */
static void start_recorder(void *argument)
{
    const struct session *session = argument;
    char numbers[7][32];
    snprintf(numbers[0], sizeof numbers[0], "%d", shared_fd);
    snprintf(numbers[1], sizeof numbers[1], "%d", append_cpu);
    snprintf(numbers[2], sizeof numbers[2], "%" PRIu32, session->flags);
    snprintf(numbers[3], sizeof numbers[3], "%" PRIu32, session->max_segments);
    snprintf(numbers[4], sizeof numbers[4], "%" PRIu32, session->max_compressed_segments);
    snprintf(numbers[5], sizeof numbers[5], "%" PRIu64, session->first);
    snprintf(numbers[6], sizeof numbers[6], "%" PRIu64, session->last);
    execl("/proc/self/exe", "bounded", check_work, session->name, numbers[0], numbers[1], numbers[2], numbers[3],
          numbers[4], numbers[5], numbers[6], (char *)NULL);
    REQUIRE(!"the program could not be started again");
}

#endif
