/* walrec_config_init, the struct_size rules, and every field out of its range. */
#include "check.h"

#include <sched.h>

static unsigned directories;

/* Opens a fresh directory with this configuration, and closes again. A refused
 * configuration must not have touched the disk. */
static walrec_status_t try_open(const walrec_config_t *config)
{
    const char *dir = path("log%u", directories++);
    walrec_t *log = (walrec_t *)(uintptr_t)8;
    walrec_status_t status = walrec_open(dir, config, &log);
    if (status == WALREC_OK) {
        CHECK(log != NULL);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
    } else {
        char text[1024];
        CHECK(log == NULL);
        CHECK(!exists(dir));
        CHECK(walrec_last_error(text, sizeof text) > 1);
    }
    return status;
}

static void init(void)
{
    unsigned char bytes[8192];
    walrec_config_t config;
    size_t i, size;

    CHECK_STATUS(WALREC_E_INVALID, walrec_config_init(NULL, sizeof config));
    memset(&config, 0xa5, sizeof config);
    CHECK_STATUS(WALREC_OK, walrec_config_init(&config, sizeof config));
    CHECK_U64(sizeof config, config.struct_size);
    memcpy(bytes, &config, sizeof config);
    for (i = 4; i < sizeof config; i++)
        CHECK(bytes[i] == 0);

    /* Any size that a past or future caller may have: zeroed so far, no further. */
    for (size = 8; size <= 4096; size += size < 256 ? 8 : 640) {
        memset(bytes, 0xa5, sizeof bytes);
        CHECK_STATUS(WALREC_OK, walrec_config_init((walrec_config_t *)(void *)bytes, size));
        CHECK(((walrec_config_t *)(void *)bytes)->struct_size == size);
        for (i = 4; i < size; i++)
            CHECK(bytes[i] == 0);
        for (; i < sizeof bytes; i++)
            CHECK(bytes[i] == 0xa5);
    }
    {
        static const size_t bad[] = {0, 1, 4, 7, 9, 143, 145, 4097, 4104, SIZE_MAX, SIZE_MAX - 7};
        for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            memset(bytes, 0xa5, sizeof bytes);
            CHECK_STATUS(WALREC_E_INVALID,
                         walrec_config_init((walrec_config_t *)(void *)bytes, bad[i]));
            CHECK(bytes[0] == 0xa5 && bytes[sizeof bytes - 1] == 0xa5);
        }
    }
}

static void struct_size(void)
{
    union {
        walrec_config_t config;
        unsigned char bytes[4096 + 64];
    } u;
    size_t i, size;

    /* An older caller ends before the fields that it does not know: what lies behind is not read. */
    for (size = 8; size < sizeof(walrec_config_t); size += 8) {
        memset(&u, 0xff, sizeof u);
        memset(&u, 0, size);
        u.config.struct_size = (uint32_t)size;
        if (size >= 16)
            u.config.num_blocks = 16;
        CHECK_STATUS(WALREC_OK, try_open(&u.config));
    }
    /* A newer caller that leaves its new fields 0 is served. */
    for (size = sizeof(walrec_config_t); size <= 4096; size = size < 160 ? size + 8 : size + 1968) {
        memset(&u, 0xff, sizeof u);
        memset(&u, 0, size);
        u.config.struct_size = (uint32_t)size;
        u.config.num_blocks = 16;
        CHECK_STATUS(WALREC_OK, try_open(&u.config));
    }
    /* One that sets them is not. */
    for (i = sizeof(walrec_config_t); i < sizeof(walrec_config_t) + 64; i += 21) {
        memset(&u, 0, sizeof u);
        u.config.struct_size = sizeof(walrec_config_t) + 64;
        u.config.num_blocks = 16;
        u.bytes[i] = 1;
        CHECK_STATUS(WALREC_E_ABI, try_open(&u.config));
        CHECK_MESSAGE("struct_size");
    }
    {
        static const uint32_t bad[] = {0, 1, 4, 7, 9, 143, 145};
        for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            u.config = config_default();
            u.config.struct_size = bad[i];
            CHECK_STATUS_EITHER(WALREC_E_INVALID, WALREC_E_ABI, try_open(&u.config));
            CHECK_MESSAGE("struct_size");
        }
    }
}

#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        walrec_config_t config = config_small();                                                   \
        config.field = (value);                                                                    \
        CHECK_STATUS(WALREC_E_INVALID, try_open(&config));                                         \
        CHECK_MESSAGE(#field);                                                                     \
    } while (0)

#define ACCEPTED(field, value)                                                                     \
    do {                                                                                           \
        walrec_config_t config = config_small();                                                   \
        config.field = (value);                                                                    \
        CHECK_STATUS(WALREC_OK, try_open(&config));                                                \
    } while (0)

static void ranges(void)
{
    REFUSED(num_blocks, 1);
    REFUSED(num_blocks, 15);
    REFUSED(num_blocks, 131073);
    REFUSED(num_blocks, UINT32_MAX);
    ACCEPTED(num_blocks, 16);
    ACCEPTED(num_blocks, 17);
    ACCEPTED(num_blocks, 0);
    REFUSED(max_segments, 1);
    ACCEPTED(max_segments, 2);
    ACCEPTED(max_segments, 0);
    ACCEPTED(max_compressed_segments, 1);
    ACCEPTED(max_compressed_segments, 0);
    REFUSED(stage_slots, 1);
    REFUSED(stage_slots, 2);
    REFUSED(stage_slots, UINT32_MAX);
    ACCEPTED(stage_slots, 3);
    ACCEPTED(stage_slots, 0);
    ACCEPTED(flush_interval_us, 1);
    ACCEPTED(flush_interval_us, 0);
    REFUSED(full_policy, 2);
    REFUSED(full_policy, UINT32_MAX);
    ACCEPTED(full_policy, WALREC_FULL_FAIL);
    ACCEPTED(wait_limit_us, 1);
    ACCEPTED(wait_limit_us, UINT32_MAX);
    ACCEPTED(append_sample, 1);
    ACCEPTED(append_sample, 1000);
    ACCEPTED(append_sample, UINT32_MAX);
    REFUSED(cpu_prepare, -1);
    REFUSED(cpu_flush, -1);
    REFUSED(cpu_maintain, -1);
    REFUSED(cpu_meta, -1);
    REFUSED(cpu_prepare, INT32_MAX);
    REFUSED(cpu_flush, INT32_MAX);
    REFUSED(cpu_maintain, INT32_MIN);
    REFUSED(cpu_meta, INT32_MAX);
    REFUSED(flags, 8);
    REFUSED(flags, UINT32_C(1) << 31);
    REFUSED(flags, UINT32_MAX);
    ACCEPTED(flags, WALREC_FLAG_NO_COMPRESS);
    ACCEPTED(retention_floor, 1);
    ACCEPTED(retention_floor, UINT64_MAX);
    {
        int i;
        for (i = 0; i < 7; i++) {
            walrec_config_t config = config_small();
            config.reserved[i] = i % 2 == 0 ? 1 : UINT64_MAX;
            CHECK_STATUS(WALREC_E_INVALID, try_open(&config));
            CHECK_MESSAGE("reserved");
        }
    }
}

static const char *const thread_names[4] = {"walrec-prepare", "walrec-flush", "walrec-maint", "walrec-meta"};

static void count_pinned(const char *dir, const char *task, void *user)
{
    int *found = user;
    char name[8192], comm[64] = "";
    cpu_set_t set;
    FILE *file;
    int i;
    snprintf(name, sizeof name, "%s/%s/comm", dir, task);
    file = fopen(name, "r");
    if (file == NULL)
        return;
    if (fgets(comm, sizeof comm, file) != NULL)
        comm[strcspn(comm, "\n")] = '\0';
    fclose(file);
    CPU_ZERO(&set);
    for (i = 0; i < 4; i++)
        if (strcmp(comm, thread_names[i]) == 0 && sched_getaffinity(atoi(task), sizeof set, &set) == 0 &&
            CPU_COUNT(&set) == 1 && CPU_ISSET(0, &set))
            found[i]++;
}

/* The threads carry their names and stand where the configuration pins them; each sees to that itself, once it runs. */
static void pinned(void)
{
    walrec_config_t config = config_small();
    uint64_t begin = now_ns();
    int found[4], i;
    walrec_t *log;
    config.cpu_prepare = config.cpu_flush = config.cpu_maintain = config.cpu_meta = 1;
    log = log_open(path("pinned"), &config);
    do {
        memset(found, 0, sizeof found);
        for_each_entry("/proc/self/task", count_pinned, found);
        pause_us(1000);
    } while ((found[0] != 1 || found[1] != 1 || found[2] != 1 || found[3] != 1) && now_ns() - begin < 10 * SECOND_NS);
    for (i = 0; i < 4; i++)
        if (found[i] != 1)
            check_fail(__FILE__, __LINE__, "threads named %s and pinned to CPU 0: %d", thread_names[i], found[i]);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    init();
    struct_size();
    ranges();
    pinned();
    return check_end();
}
