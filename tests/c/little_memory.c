/* A process with little memory: walrec_open has enough, or gives WALREC_E_NOMEM; it never ends the process. A recorder that was opened goes
 * on, through freezing and to its close. */
#include "heard.h"

#include <sys/resource.h>

#define SEGMENT_EVENTS 4096u
#define STEP (512l << 10)
#define MOST (48l << 20)

static struct counts {
    unsigned opened, refused;
} * counts;

static long address_space(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    REQUIRE(file != NULL && fscanf(file, "%ld", &pages) == 1);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

static void live(void *room)
{
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    const char *dir = path("log");
    walrec_t *log = NULL;
    walrec_telemetry_t t;
    walrec_status_t status;
    struct rlimit limit;
    uint64_t begin = now_ns();

    config.max_segments = 2;
    REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = (rlim_t)(address_space() + *(long *)room);
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    status = walrec_open(dir, &config, &log);
    if (status != WALREC_OK) {
        CHECK_STATUS(WALREC_E_NOMEM, status);
        counts->refused++;
        return;
    }
    counts->opened++;
    append_range(log, walrec_last_event_id(log) + 1, walrec_last_event_id(log) + 4 * SEGMENT_EVENTS);
    do {
        memset(&t, 0, sizeof t);
        t.struct_size = (uint32_t)sizeof t;
        CHECK_STATUS(WALREC_OK, walrec_telemetry(log, &t));
        pause_us(500);
    } while (t.segments_frozen == 0 && !t.poisoned && now_ns() - begin < 20 * SECOND_NS);
    CHECK(t.segments_frozen > 0);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

int main(int argc, char **argv)
{
    long room;
    walrec_t *log;
    uint64_t last;
    walrec_config_t config;

    check_begin(argc, argv, 200);
    counts = shared_memory(sizeof *counts);
    for (room = 0; room <= MOST; room += STEP)
        CHECK_CHILD(live, &room);
    CHECK(counts->opened > 0 && counts->refused > 0);
    config = config_small();
    log = log_open(path("log"), &config);
    last = walrec_last_event_id(log);
    CHECK_U64(counts->opened * 4 * (uint64_t)SEGMENT_EVENTS, last);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(path("log"), 1, last);
    printf("FIGURE little memory: %u opens with up to %ld MiB more, %u of them refused\n",
           counts->opened + counts->refused, MOST >> 20, counts->refused);
    return check_end();
}
