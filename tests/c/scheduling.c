/* Where and how the library's threads run: not under the real-time policy of the thread that opens, and a word when that is kept to one CPU. */
#include "heard.h"

#include <sched.h>

static struct tally {
    int ordinary, others;
} tally;

static void look_at(const char *dir, const char *name, void *unused)
{
    char full[512], comm[64] = "";
    FILE *file;
    (void)unused;
    snprintf(full, sizeof full, "%s/%s/comm", dir, name);
    file = fopen(full, "r");
    if (file == NULL)
        return;
    if (fgets(comm, sizeof comm, file) != NULL && strncmp(comm, "walrec-", 7) == 0) {
        if (sched_getscheduler(atoi(name)) == SCHED_OTHER)
            tally.ordinary++;
        else
            tally.others++;
    }
    fclose(file);
}

static void real_time(void *unused)
{
    static const int policies[] = {SCHED_FIFO, SCHED_RR};
    unsigned i;
    (void)unused;
    for (i = 0; i < 2; i++) {
        struct sched_param parameters;
        walrec_config_t config = config_small();
        uint64_t begin = now_ns();
        walrec_t *log;
        memset(&parameters, 0, sizeof parameters);
        parameters.sched_priority = 1;
        if (sched_setscheduler(0, policies[i], &parameters) != 0) {
            printf("SKIP scheduling: real-time policies NOT tried: %s\n", strerror(errno));
            return;
        }
        log = log_open(path("real-time"), &config);
        /* A thread sets it for itself, as the first thing it does. */
        do {
            tally.ordinary = tally.others = 0;
            for_each_entry("/proc/self/task", look_at, NULL);
            pause_us(1000);
        } while (tally.ordinary < 4 && now_ns() - begin < 20 * SECOND_NS);
        CHECK_U64(4, (uint64_t)tally.ordinary);
        CHECK_U64(0, (uint64_t)tally.others);
        CHECK(sched_getscheduler(0) == policies[i]);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    }
}

static int warned(const walrec_config_t *given)
{
    struct heard *h = heard_new();
    walrec_config_t config = *given;
    walrec_t *log;
    config.log_cb = hear;
    config.log_user = h;
    log = log_open(path("one-cpu"), &config);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    return strstr(h->text, "is kept to CPU ") != NULL;
}

static void one_cpu(void *unused)
{
    walrec_config_t config = config_small();
    cpu_set_t set, one;
    int cpu = 0;
    (void)unused;
    REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    if (CPU_COUNT(&set) < 2) {
        printf("SKIP scheduling: a thread kept to one CPU NOT tried: there is no other\n");
        return;
    }
    CHECK(!warned(&config));
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(warned(&config));
    config.cpu_prepare = config.cpu_flush = config.cpu_maintain = cpu + 1;
    CHECK(warned(&config));
    config.cpu_meta = cpu + 1;
    CHECK(!warned(&config));
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    CHECK_CHILD(real_time, NULL);
    CHECK_CHILD(one_cpu, NULL);
    return check_end();
}
