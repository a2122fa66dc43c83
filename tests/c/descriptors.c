/* A process that has no descriptor left for a while, and one that may have too few from the start. Nothing is poisoned, nothing is set
 * aside for it, and the recorder goes on by itself. */
#include "heard.h"

#include <sys/resource.h>

#define SEGMENT_EVENTS 4096u
#define SLOTS 4u
#define OTHERS 32u

static int holds(struct heard *h, const char *part)
{
    int found;
    pthread_mutex_lock(&h->lock);
    found = strstr(h->text, part) != NULL;
    pthread_mutex_unlock(&h->lock);
    return found;
}

static void limit_to(rlim_t descriptors)
{
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = descriptors;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static walrec_config_t config(struct heard *h)
{
    walrec_config_t config = config_heard(h);
    config.stage_slots = SLOTS;
    config.max_segments = 2;
    config.full_policy = WALREC_FULL_FAIL;
    return config;
}

static int taken[256];
static int taken_count;

/* Takes every descriptor there is; also those that the recorder has closed: it would use them again. */
static void take_all(void)
{
    int fd;
    while ((fd = dup(0)) >= 0) {
        REQUIRE(taken_count < 256);
        taken[taken_count++] = fd;
    }
    REQUIRE(errno == EMFILE);
}

/* Appends up to `last`; gives up after `seconds` of refusals, with the last one. */
static walrec_status_t append_to(walrec_t *log, uint64_t last, unsigned seconds)
{
    int taking = taken_count > 0;
    uint64_t id = walrec_last_event_id(log) + 1, begin = now_ns();
    while (id <= last) {
        walrec_event_t event = event_of(id);
        walrec_status_t status = walrec_append(log, &event);
        if (taking)
            take_all();
        if (status == WALREC_OK)
            id++;
        else if ((status != WALREC_E_BACKPRESSURE && status != WALREC_E_NOSPACE) ||
                 now_ns() - begin > seconds * SECOND_NS)
            return status;
        else
            pause_us(200);
    }
    return WALREC_OK;
}

/* Until the workers have done all there is to do. */
static void settle(walrec_t *log, uint64_t frozen)
{
    uint64_t begin = now_ns();
    walrec_telemetry_t t;
    do {
        REQUIRE(now_ns() - begin < 20 * SECOND_NS);
        pause_us(1000);
        memset(&t, 0, sizeof t);
        t.struct_size = (uint32_t)sizeof t;
        REQUIRE_STATUS(WALREC_OK, walrec_telemetry(log, &t));
    } while (t.prepared_now < SLOTS - 1 || t.segments_frozen < frozen);
}

static void none_left(const char *dir)
{
    struct heard *h = heard_new();
    walrec_config_t c = config(h);
    walrec_t *log;
    uint64_t last, begin;

    limit_to(128);
    log = log_open(dir, &c);
    CHECK_STATUS(WALREC_OK, append_to(log, 3 * SEGMENT_EVENTS + 100, 20));
    settle(log, 2);
    take_all();
    /* The stage fills: there is no file for another segment. */
    CHECK_STATUS(WALREC_E_NOSPACE, append_to(log, 200 * SEGMENT_EVENTS, 2));
    last = walrec_last_event_id(log);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));
    /* Which worker meets it first is not said: the preparer also waits for one that cannot freeze. */
    for (begin = now_ns(); !holds(h, ": Too many open files");) {
        if (now_ns() - begin > 20 * SECOND_NS) {
            check_fail(__FILE__, __LINE__, "it was not met; all that was said:\n%s", h->text);
            check_give_up();
        }
        take_all();
        pause_us(1000);
    }
    while (taken_count > 0)
        close(taken[--taken_count]);

    CHECK_STATUS(WALREC_OK, append_to(log, last + 8 * SEGMENT_EVENTS, 20));
    last = walrec_last_event_id(log);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, 20 * SECOND_NS));
    close_and_check(log, h);
    CHECK(!holds(h, "poisoned"));
    CHECK(!holds(h, "stays as it is"));
    CHECK(holds(h, "there is space again"));
    log_holds(dir, 1, last);
    /* Every segment beyond the two was frozen after all. */
    CHECK(scan_segments(dir).hot <= 2);
    printf("FIGURE descriptors: none left for a while: %" PRIu64 " events recorded\n", last);
}

static void too_few(const char *dir)
{
    struct heard *h = heard_new();
    walrec_config_t c = config(h);
    walrec_t *log = NULL;
    limit_to(2 * SLOTS + OTHERS - 1);
    CHECK_STATUS(WALREC_E_INVALID, walrec_open(dir, &c, &log));
    CHECK_MESSAGE("stage_slots is 4, which needs 40 file descriptors, and this process may have 39 (RLIMIT_NOFILE)");
    CHECK(!exists(dir));
    limit_to(2 * SLOTS + OTHERS);
    log = log_open(dir, &c);
    CHECK_STATUS(WALREC_OK, append_to(log, 12 * SEGMENT_EVENTS, 20));
    close_and_check(log, h);
    CHECK(!holds(h, "Too many open files"));
    log_holds(dir, 1, 12 * SEGMENT_EVENTS);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 120);
    none_left(path("none-left"));
    too_few(path("too-few"));
    return check_end();
}
