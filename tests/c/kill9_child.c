/*
 * The child that tests/kill9.rs kills, and the one that looks at what is left.
 *
 *   kill9_child run   DIR CONTROL BASE SEED CYCLE TARGET   opens, appends after the last event or BASE, until killed
 *   kill9_child check DIR CONTROL BASE SEED CYCLE END      opens, reads everything back, verifies; END: close | crash
 *   kill9_child selftest                                   shows that the verifier catches what it is for
 *
 * CONTROL is a file that both sides share: the child maps it, the parent reads it. Every event's fields derive from
 * its id. TARGET is what the parent means to interrupt: opening, appending, rotating, syncing, closing, replaying.
 */
#include "check.h"
#include "verdict.h"
#include "walrec_inline.h"

enum { STARTING, OPENING, APPENDING, ROTATING, SYNCING, CLOSING, REPLAYING, DONE };

/* In the order in which kill9.rs reads it: 64-bit words. */
struct control {
    uint64_t phase;
    uint64_t reported; /* id of the last event whose append returned */
    uint64_t opened_first, opened_last, events_from_stage, open_flags, recovery_ns;
    uint64_t first, last, wrong, lost, extra; /* of a check */
    uint64_t failed;                          /* a call gave what it should not */
    uint64_t opens;
    uint64_t quarantined;
};
static struct control *control;

static void phase(uint64_t value)
{
    __atomic_store_n(&control->phase, value, __ATOMIC_RELEASE);
}

static void fail(const char *what, walrec_status_t status)
{
    char text[1024] = "";
    walrec_last_error(text, sizeof text);
    fprintf(stderr, "kill9_child: %s: %d (%s) %s\n", what, (int)status, walrec_status_str(status), text);
    control->failed = 1;
    _exit(3);
}

static void expect_ok(const char *what, walrec_status_t status)
{
    if (status != WALREC_OK)
        fail(what, status);
}

/* ---- the verifier --------------------------------------------------------- */

static int next_of_reader(void *from, walrec_event_t *event)
{
    walrec_status_t status = walrec_reader_next(from, event);
    if (status != WALREC_OK && status != WALREC_END)
        fail("walrec_reader_next", status);
    return status == WALREC_OK;
}

/* Beside a recorder that may still delete: a segment that goes before the reader comes to it ends the replay. */
static int next_beside_retention(void *from, walrec_event_t *event)
{
    walrec_status_t status = walrec_reader_next(from, event);
    if (status != WALREC_OK && status != WALREC_END && status != WALREC_E_NOT_FOUND)
        fail("walrec_reader_next", status);
    return status == WALREC_OK;
}

struct list {
    walrec_event_t events[1000];
    size_t n, at;
};

static int next_of_list(void *from, walrec_event_t *event)
{
    struct list *list = from;
    if (list->at == list->n)
        return 0;
    *event = list->events[list->at++];
    return 1;
}

static void list_fill(struct list *list)
{
    list->at = 0;
    list->n = 1000;
    for (size_t i = 0; i < list->n; i++)
        list->events[i] = event_of(5001 + i);
}

static struct verdict verify_list(struct list *list, uint64_t reported)
{
    list->at = 0;
    return verify(next_of_list, list, 5000, reported);
}

#define CAUGHT(condition)                                                                          \
    do {                                                                                           \
        cases++;                                                                                   \
        if (!(condition)) {                                                                        \
            printf("kill9_child.c:%d: the verifier missed: %s\n", __LINE__, #condition);           \
            missed++;                                                                              \
        }                                                                                          \
    } while (0)

/* The negative control of the whole test. */
static int selftest(void)
{
    static struct list list;
    struct verdict v;
    unsigned cases = 0, missed = 0;
    size_t i;

    list_fill(&list);
    v = verify_list(&list, 6000);
    CAUGHT(v.first == 5001 && v.last == 6000 && v.wrong == 0 && v.lost == 0 && v.extra == 0);
    /* One more than reported is right, a second one is not. */
    v = verify_list(&list, 5999);
    CAUGHT(v.wrong == 0 && v.lost == 0 && v.extra == 0);
    v = verify_list(&list, 5998);
    CAUGHT(v.extra == 1);
    /* The last event lost. */
    list.n = 999;
    v = verify_list(&list, 6000);
    CAUGHT(v.lost == 1);
    /* All lost. */
    list.n = 0;
    v = verify_list(&list, 6000);
    CAUGHT(v.lost == 1000);
    /* One lost in the middle, one twice, two exchanged. */
    list_fill(&list);
    memmove(&list.events[500], &list.events[501], 499 * sizeof list.events[0]);
    list.n = 999;
    v = verify_list(&list, 6000);
    CAUGHT(v.wrong > 0);
    list_fill(&list);
    list.events[500] = list.events[499];
    v = verify_list(&list, 6000);
    CAUGHT(v.wrong > 0);
    list_fill(&list);
    list.events[500] = event_of(5502);
    list.events[501] = event_of(5501);
    v = verify_list(&list, 6000);
    CAUGHT(v.wrong > 0);
    /* Each byte of the body wrong; the guard is not looked at. */
    for (i = 0; i < sizeof(walrec_event_t); i++) {
        list_fill(&list);
        ((unsigned char *)&list.events[700])[i] ^= 1;
        v = verify_list(&list, 6000);
        CAUGHT((v.wrong > 0) == (i < EVENT_BODY));
    }
    /* Half an event: the rest zeros, as a torn copy would leave it. */
    list_fill(&list);
    memset((unsigned char *)&list.events[999] + 32, 0, 32);
    v = verify_list(&list, 6000);
    CAUGHT(v.wrong > 0);
    /* Events of before the log. */
    list_fill(&list);
    list.events[0] = event_of(5000);
    v = verify_list(&list, 6000);
    CAUGHT(v.wrong > 0);
    printf("selftest: %u cases, %u missed\n", cases, missed);
    return missed == 0 ? 0 : 1;
}

/* ---- running --------------------------------------------------------------- */

static uint64_t state;

static uint64_t pick(uint64_t below)
{
    state = mix(state);
    return state % below;
}

static walrec_t *open_log(const char *dir, uint64_t seed)
{
    walrec_config_t config = config_small();
    walrec_open_report_t report;
    walrec_t *log = NULL;
    state = seed;
    config.num_blocks = 16 + (uint32_t)pick(4) * 16;
    config.stage_slots = 3 + (uint32_t)pick(4);
    config.full_policy = pick(2) == 0 ? WALREC_FULL_WAIT : WALREC_FULL_FAIL;
    config.wait_limit_us = 30000000;
    /* In some, few segments are kept, and retention has work all the time; a seed is one directory's. */
    if (pick(2) == 0) {
        config.max_segments = 2 + (uint32_t)pick(3);
        config.max_compressed_segments = 1 + (uint32_t)pick(6);
    }
    phase(OPENING);
    expect_ok("walrec_open", walrec_open(dir, &config, &log));
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    expect_ok("walrec_open_report", walrec_open_report(log, &report));
    control->opened_first = report.first_event_id;
    control->opened_last = report.last_event_id;
    control->events_from_stage = report.events_from_stage;
    control->open_flags = report.flags;
    control->recovery_ns = report.recovery_ns;
    control->quarantined += report.quarantined;
    control->opens++;
    return log;
}

/* One event in one of three ways: copied, built in place, built in place with walrec_inline.h. The id is reported once the call returned. */
static void append(walrec_t *log, uint64_t id, unsigned way)
{
    walrec_cursor_t *cursor = walrec_inline_cursor(log);
    walrec_event_t event, *slot;
    walrec_status_t status;
    do {
        if (way > 0) {
            status = way == 1 ? walrec_reserve(log, &slot) : walrec_reserve_inline(log, cursor, &slot);
            if (status == WALREC_OK) {
                event_fill(slot, id);
                status = way == 1 ? walrec_commit(log) : walrec_commit_inline(log, cursor);
            }
        } else {
            event_fill(&event, id);
            status = walrec_append(log, &event);
        }
    } while (status == WALREC_E_BACKPRESSURE);
    expect_ok("append", status);
    __atomic_store_n(&control->reported, id, __ATOMIC_RELEASE);
}

static void replay(const char *dir, uint64_t base)
{
    walrec_reader_t *reader = NULL;
    struct verdict v;
    walrec_status_t status = walrec_reader_open(dir, 0, 0, &reader);
    expect_ok("walrec_reader_open", status);
    v = verify(next_beside_retention, reader, base, 0);
    if (v.wrong != 0)
        fail("replay read wrong events", 0);
    walrec_reader_close(reader);
}

static void run(const char *dir, uint64_t base, uint64_t seed, uint64_t cycle, const char *target)
{
    walrec_t *log = open_log(dir, seed);
    uint64_t id = walrec_last_event_id(log), i, n;
    if (id < base)
        id = base;
    state = mix(seed ^ cycle);
    phase(APPENDING);
    if (strcmp(target, "rotating") == 0) {
        for (;;) {
            n = 1 + pick(60);
            for (i = 0; i < n; i++)
                append(log, ++id, (unsigned)(i % 3));
            phase(ROTATING);
            {
                walrec_status_t status;
                while ((status = walrec_rotate(log)) == WALREC_E_BACKPRESSURE) {
                }
                expect_ok("walrec_rotate", status);
            }
            phase(APPENDING);
        }
    } else if (strcmp(target, "syncing") == 0) {
        for (;;) {
            n = 1 + pick(2000);
            for (i = 0; i < n; i++)
                append(log, ++id, (unsigned)(i % 3));
            phase(SYNCING);
            expect_ok("walrec_sync", walrec_sync(log, 0, NO_LIMIT));
            phase(APPENDING);
        }
    } else if (strcmp(target, "closing") == 0) {
        n = 1 + pick(60000);
        for (i = 0; i < n; i++)
            append(log, ++id, (unsigned)(i % 3));
        phase(CLOSING);
        expect_ok("walrec_close", walrec_close(log));
        phase(DONE);
    } else if (strcmp(target, "replaying") == 0) {
        n = 1 + pick(20000);
        for (i = 0; i < n; i++)
            append(log, ++id, (unsigned)(i % 3));
        phase(REPLAYING);
        for (;;)
            replay(dir, base);
    } else {
        /* At full speed, also when the parent meant to interrupt the opening and came late. */
        unsigned way = (unsigned)pick(3);
        for (;;)
            append(log, ++id, way);
    }
}

static void check(const char *dir, uint64_t base, uint64_t seed, const char *end)
{
    walrec_t *log = open_log(dir, seed);
    walrec_reader_t *reader = NULL;
    uint64_t last = walrec_last_event_id(log);
    struct verdict v;
    phase(REPLAYING);
    if (last != control->opened_last || last != walrec_durable_event_id(log))
        fail("last, durable and the report differ after open", 0);
    expect_ok("walrec_reader_open", walrec_reader_open(dir, 0, 0, &reader));
    v = verify(next_of_reader, reader, base, control->reported);
    walrec_reader_close(reader);
    if (v.last != (last == 0 ? base : last) || v.first != control->opened_first)
        fail("the reader found another range than the open report", 0);
    control->first = v.first;
    control->last = v.last;
    control->wrong = v.wrong;
    control->lost = v.lost;
    control->extra = v.extra;
    /* One unreported event may have survived: from here on it counts. */
    control->reported = v.last;
    if (strcmp(end, "crash") == 0) {
        phase(DONE);
        raise(SIGKILL);
    }
    expect_ok("walrec_close", walrec_close(log));
    phase(DONE);
}

int main(int argc, char **argv)
{
    int fd;
    if (argc == 2 && strcmp(argv[1], "selftest") == 0)
        return selftest();
    if (argc != 8) {
        fprintf(stderr, "usage: kill9_child run|check DIR CONTROL BASE SEED CYCLE TARGET | selftest\n");
        return 2;
    }
    /* Nothing outlives the test for long. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(60);
    fd = open(argv[3], O_RDWR | O_CLOEXEC);
    if (fd < 0 || (control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        perror(argv[3]);
        return 2;
    }
    {
        uint64_t base = strtoull(argv[4], NULL, 10), seed = strtoull(argv[5], NULL, 10);
        uint64_t cycle = strtoull(argv[6], NULL, 10);
        if (strcmp(argv[1], "run") == 0)
            run(argv[2], base, seed, cycle, argv[7]);
        else
            check(argv[2], base, seed, argv[7]);
    }
    return 0;
}
