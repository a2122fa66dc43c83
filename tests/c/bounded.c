/*
 * A log stays within its limits, and keeping it there leaves no trace on the append thread.
 *
 * WALREC_TEST_EVENTS events in all (default 2,000,000) go through segments of 64 blocks, with 8 kept hot and 16 cold, in
 * WALREC_TEST_ROUNDS sessions of one log (default 2). The append thread appends at full speed, on a CPU that the rest of
 * the test keeps off. Each session has a twin, in a log of its own, with WALREC_FLAG_NO_COMPRESS: the same flow without
 * freezing. After each session:
 *
 *   limits        This process, not the recorder's, listed the directory each 10 ms, from before the open to after the close:
 *                 never more than 8 + stage_slots `.wal` and 16 + 1 `.wal.lz4`, and no gap. Controls: made-up
 *                 directories, and sessions that keep all.
 *   what is left  is read back: gapless, every event right. `lz4 -t` accepts each `.wal.lz4`. Control: it refuses a damaged one.
 *   append thread No system call, no page fault, no allocation, as in append_thread.h; no shootdown of its pages, and no call
 *                 of the process that could cause one, as in interrupts.h. Controls: fresh pages are counted, and so are
 *                 shootdowns by a munmap on another thread. The row TLB of /proc/interrupts is printed with both rates.
 *
 * A process of its own records each session. Needs -rdynamic and -fno-builtin.
 */
#include "append_thread.h"
#include "interrupts.h"
#include "listings.h"
#include "lz4_tool.h"

enum { HOT = 8, COLD = 16, SLOTS = 6, BLOCKS = 64 };
#define SEGMENT_EVENTS ((uint64_t)BLOCKS * EVENTS_PER_BLOCK)
#define SAMPLE_NS UINT64_C(10000000)
/* Appended before anything is counted: code that was never run is not in memory yet. */
#define WARM_UP (2 * SEGMENT_EVENTS)

/* Most calls by which a session may ask for memory: its threads' heaps and the freezer's buffers. */
enum { BUFFERS = 12 };

/* ---- the limits ------------------------------------------------------------- */

static const struct limits promised = {HOT + SLOTS, COLD + 1};

static void judging_control(void)
{
    CHECK_U64(0, judge_made_up(0, 0, 0, promised).over);
    CHECK_U64(0, judge_made_up(COLD + 1, HOT + SLOTS, 0, promised).over);
    CHECK_U64(1, judge_made_up(COLD + 1, HOT + SLOTS + 1, 0, promised).over);
    CHECK_U64(1, judge_made_up(COLD + 2, HOT + SLOTS, 0, promised).over);
    CHECK_U64(0, judge_made_up(COLD, HOT, 0, promised).gaps);
    CHECK_U64(1, judge_made_up(COLD, HOT, 1, promised).gaps);
}

/* ---- a session: the recorder's process ---------------------------------------- */

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

/* ---- a session: the process that looks on -------------------------------------- */

/* Counters at one moment; -1 = cannot be read here. */
struct reading {
    int64_t row, shootdowns;
    uint64_t faults, taking, giving;
};

struct outcome {
    struct seen seen;
    struct segment_scan left;
    int64_t row, shootdowns, row_control, shootdown_control;
    uint64_t nanoseconds, faults, taking, giving;
    unsigned disturbed;
};

static struct reading read_counters(pid_t process, int counter)
{
    struct reading reading;
    reading.row = append_cpu < 0 ? -1 : tlb_interrupts(append_cpu);
    reading.shootdowns = shootdowns(counter);
    reading.faults = faults_of(process, shared->append_thread);
    reading.taking = __atomic_load_n(&shared->calls.taking, __ATOMIC_RELAXED);
    reading.giving = __atomic_load_n(&shared->calls.giving, __ATOMIC_RELAXED);
    return reading;
}

static int64_t since(int64_t before, int64_t after)
{
    return before < 0 || after < 0 ? -1 : after - before;
}

/* Answers the recorder, if it waits for a word. */
static void answer(struct outcome *outcome, pid_t process, int *counter, struct reading *last)
{
    struct reading now;
    switch (phase_now()) {
    case READY:
        *counter = count_shootdowns(shared->append_thread);
        *last = read_counters(process, *counter);
        enter(DISTURB);
        break;
    case DISTURBED:
        now = read_counters(process, *counter);
        outcome->row_control = since(last->row, now.row);
        outcome->shootdown_control = since(last->shootdowns, now.shootdowns);
        if (shared->calls.watched)
            CHECK(now.taking - last->taking >= DISTURBANCES && now.giving - last->giving >= DISTURBANCES);
        /* Another process may have had the CPU. */
        if (outcome->shootdown_control == 0 && outcome->disturbed++ < 100) {
            enter(DISTURB);
            break;
        }
        *last = now;
        enter(GO);
        break;
    case APPENDED:
        now = read_counters(process, *counter);
        outcome->row = since(last->row, now.row);
        outcome->shootdowns = since(last->shootdowns, now.shootdowns);
        outcome->faults = now.faults - last->faults;
        outcome->taking = now.taking - last->taking;
        outcome->giving = now.giving - last->giving;
        enter(CLOSE);
        break;
    default:
        break;
    }
}

static struct outcome run(struct session *session)
{
    struct outcome outcome;
    struct reading last;
    struct timespec next;
    int counter = -1, status = 0;
    pid_t process;

    memset(&outcome, 0, sizeof outcome);
    memset(&last, 0, sizeof last);
    memset(shared, 0, sizeof *shared);
    process = start_child(start_recorder, session);
    clock_gettime(CLOCK_MONOTONIC, &next);
    do {
        sample(&outcome.seen, session->dir, session->limits);
        answer(&outcome, process, &counter, &last);
        next.tv_nsec += (long)SAMPLE_NS;
        if (next.tv_nsec >= (long)SECOND_NS) {
            next.tv_nsec -= (long)SECOND_NS;
            next.tv_sec++;
        }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
    } while (waitpid(process, &status, WNOHANG) == 0);
    if (counter >= 0)
        close(counter);
    sample(&outcome.seen, session->dir, session->limits);
    check_no_system_call(session->name);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(caught->armed);
    CHECK_U64(CLOSE, phase_now());
    CHECK_U64(0, outcome.seen.gaps);
    outcome.left = scan_segments(session->dir);
    outcome.nanoseconds = shared->nanoseconds;
    return outcome;
}

/* ---- what is left ---------------------------------------------------------------- */

static void check_left(const struct session *session, const struct outcome *outcome)
{
    struct lz4_files files;
    /* Every segment is full, over all sessions. */
    log_holds(session->dir, outcome->left.lowest * SEGMENT_EVENTS + 1, session->last);
    if (lz4_test("/dev/null") == NO_TOOL) {
        printf("SKIP bounded: the frozen files were NOT tested with lz4 -t: there is no lz4 (Debian package lz4)\n");
        return;
    }
    memset(&files, 0, sizeof files);
    for_each_entry(session->dir, test_frozen, &files);
    CHECK_U64(outcome->left.frozen, files.tested);
    if (files.tested > 0)
        lz4_control(files.one);
}

/* ---- all of it ------------------------------------------------------------------- */

/* A session that keeps all, hot or cold, is found to break the limits, by the same looking on. */
static void keep_all_control(const char *name, int hot)
{
    struct session session = session_of(name, 0);
    struct outcome outcome;
    *(hot ? &session.max_segments : &session.max_compressed_segments) = WALREC_KEEP_ALL;
    session.limits = promised;
    session.last = (hot ? HOT + SLOTS + 10 : HOT + SLOTS + COLD + 10) * SEGMENT_EVENTS;
    outcome = run(&session);
    CHECK(outcome.seen.over > 0);
    CHECK((hot ? outcome.seen.most_hot : outcome.seen.most_cold) > (hot ? promised.hot : promised.cold));
    printf("FIGURE bounded, control %s: at most %" PRIu64 " hot and %" PRIu64 " cold, %" PRIu64 " of %" PRIu64
           " listings over the limits\n", name, outcome.seen.most_hot, outcome.seen.most_cold, outcome.seen.over,
           outcome.seen.samples);
    for_each_entry(session.dir, remove_entry, NULL);
}

/* Over all sessions of one kind. */
struct total {
    struct seen seen;
    int64_t row, shootdowns;
    uint64_t events, nanoseconds, faults, allocations, taking, giving;
};

static void add(struct total *total, const struct session *session, const struct outcome *outcome)
{
    uint64_t events = session->last - session->first + 1 - WARM_UP;
    const struct seen *seen = &outcome->seen;
    CHECK_U64(0, outcome->faults);
    CHECK_U64(0, shared->allocations);
    CHECK(shared->fault_control >= 64);
    if (outcome->shootdown_control >= 0)
        CHECK(outcome->shootdown_control > 0);
    total->row = outcome->row < 0 ? -1 : total->row + outcome->row;
    total->shootdowns = outcome->shootdowns < 0 ? -1 : total->shootdowns + outcome->shootdowns;
    total->events += events;
    total->nanoseconds += outcome->nanoseconds;
    total->faults += outcome->faults;
    total->allocations += shared->allocations;
    total->taking += outcome->taking;
    total->giving += outcome->giving;
    total->seen.samples += seen->samples;
    total->seen.over += seen->over;
    if (seen->most_hot > total->seen.most_hot)
        total->seen.most_hot = seen->most_hot;
    if (seen->most_cold > total->seen.most_cold)
        total->seen.most_cold = seen->most_cold;
    if (seen->longest_pause_ns > total->seen.longest_pause_ns)
        total->seen.longest_pause_ns = seen->longest_pause_ns;
    printf("%s: %" PRIu64 " events, %.0f a second; %" PRId64 " TLB interrupts of CPU %d (control: %" PRId64 "), %" PRId64
           " shootdowns of the append thread (control: %" PRId64 "), %" PRIu64 " calls that take memory away, %" PRIu64
           " that give some\n", session->name, events, (double)events * 1e9 / (double)outcome->nanoseconds, outcome->row,
           append_cpu, outcome->row_control, outcome->shootdowns, outcome->shootdown_control, outcome->taking,
           outcome->giving);
}

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
    const char *given = getenv(variable);
    return given != NULL ? strtoull(given, NULL, 0) : otherwise;
}

static void pick_append_cpu(void)
{
    cpu_set_t cpus;
    int cpu;
    append_cpu = -1;
    REQUIRE(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    for (cpu = 0; CPU_COUNT(&cpus) > 1 && cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &cpus))
            append_cpu = cpu;
    run_on(0);
}

static double per_second(double count, const struct total *total)
{
    return count * 1e9 / (double)total->nanoseconds;
}

static void print_interrupts(const char *of, const struct total *total)
{
    printf("FIGURE bounded, %s: %" PRIu64 " events, %.0f a second; %" PRId64 " TLB interrupts of the append thread's CPU, other "
           "processes' among them (%.1f a second); %" PRId64 " shootdowns of the append thread; %" PRIu64
           " calls that take memory away, %" PRIu64 " that give some\n", of, total->events, per_second((double)total->events, total),
           total->row, per_second((double)total->row, total), total->shootdowns, total->taking, total->giving);
}

static void print_figures(const struct total *freezing, const struct total *plain, struct segment_scan left)
{
    printf("FIGURE bounded: at most %" PRIu64 " hot (limit %" PRIu64 ") and %" PRIu64 " cold (limit %" PRIu64 ") in %" PRIu64
           " listings, the longest pause between two %.1f ms; %" PRIu64 " segments frozen, %" PRIu64 " deleted\n",
           freezing->seen.most_hot, promised.hot, freezing->seen.most_cold, promised.cold, freezing->seen.samples,
           (double)freezing->seen.longest_pause_ns / 1e6, left.lowest + left.frozen, left.lowest);
    printf("FIGURE bounded: %" PRIu64 " appends with 0 system calls, %" PRIu64 " page faults, %" PRIu64
           " allocations; the rate is %.2f of that with freezing off\n", freezing->events, freezing->faults,
           freezing->allocations,
           per_second((double)freezing->events, freezing) / per_second((double)plain->events, plain));
    print_interrupts("freezing", freezing);
    print_interrupts("freezing off", plain);
    if (append_cpu < 0)
        printf("SKIP bounded: interrupts were NOT read: there is one CPU, and nothing to interrupt it from\n");
    else if (freezing->row < 0)
        printf("SKIP bounded: interrupts were NOT read: no row TLB for CPU %d in /proc/interrupts\n", append_cpu);
    if (freezing->shootdowns < 0)
        printf("SKIP bounded: shootdowns of the append thread were NOT counted: the tracepoint tlb:tlb_flush needs root\n");
    if (!shared->calls.watched)
        printf("SKIP bounded: calls that take memory away were NOT counted: seccomp gives no listener here\n");
}

int main(int argc, char **argv)
{
    uint64_t events = number_from("WALREC_TEST_EVENTS", 2000000), rounds = number_from("WALREC_TEST_ROUNDS", 2);
    struct session sessions[2];
    struct total totals[2];
    struct outcome outcome;
    struct segment_scan left = {0, 0, 0, 0};
    uint64_t round;
    unsigned i;

    check_begin(argc, argv, 240 + (unsigned)(events / 25000));
    if (argc == 10) {
        struct session session = session_of(argv[2], (uint32_t)strtoul(argv[5], NULL, 10));
        append_cpu = atoi(argv[4]);
        session.max_segments = (uint32_t)strtoul(argv[6], NULL, 10);
        session.max_compressed_segments = (uint32_t)strtoul(argv[7], NULL, 10);
        session.first = strtoull(argv[8], NULL, 10);
        session.last = strtoull(argv[9], NULL, 10);
        map_shared(atoi(argv[3]));
        record(&session);
    }
    map_shared((int)syscall(SYS_memfd_create, "bounded", 0));
    pick_append_cpu();
    judging_control();
    keep_all_control("keeps-all-hot", 1);
    keep_all_control("keeps-all-cold", 0);

    memset(totals, 0, sizeof totals);
    sessions[0] = session_of("freezing", 0);
    sessions[1] = session_of("not-freezing", WALREC_FLAG_NO_COMPRESS);
    sessions[0].limits = promised;
    for (round = 0; round < rounds; round++)
        for (i = 0; i < 2; i++) {
            /* In turns, each first as often as the other. */
            unsigned which = (unsigned)((round + i) % 2);
            struct session *session = &sessions[which];
            session->first = round * (events / rounds) + 1;
            session->last = (round + 1) * (events / rounds);
            outcome = run(session);
            add(&totals[which], session, &outcome);
            if (which == 0) {
                CHECK_U64(0, outcome.seen.over);
                CHECK(outcome.seen.most_hot >= HOT && outcome.seen.most_cold >= COLD);
                CHECK(outcome.left.lowest > left.lowest);
                left = outcome.left;
                check_left(session, &outcome);
            }
        }
    CHECK_U64(0, totals[0].taking);
    /* Buffers are made once; a heap that grows with the segments asks for more and more. */
    for (i = 0; i < 2; i++)
        CHECK(totals[i].giving <= rounds * BUFFERS);
    /* A cause in freezing would show with each segment; a page that is copied at the first store to it shows once a process. */
    CHECK(totals[0].shootdowns * 10 <= (int64_t)(left.lowest + left.frozen));
    print_figures(&totals[0], &totals[1], left);
    for (i = 0; i < 2; i++)
        for_each_entry(sessions[i].dir, remove_entry, NULL);
    return check_end();
}
