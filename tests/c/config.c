/* walrec_config_init, the struct_size rules, and every field out of its range. */
#include "check.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

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

/* Refused before anything is made. */
static void no_such_processor(void)
{
    if (sysconf(_SC_NPROCESSORS_CONF) >= 1000) {
        printf("SKIP config: NOT tried with a CPU that is not there, this machine has 1000\n");
        return;
    }
    REFUSED(cpu_prepare, 1000);
    REFUSED(cpu_flush, 1000);
    CHECK_MESSAGE("cpu_flush is 1000: no such CPU for this process (1 to ");
    REFUSED(cpu_maintain, 1024);
    REFUSED(cpu_meta, 1024);
}

static int is_in_memory(const char *name)
{
    struct statfs stat;
    REQUIRE(statfs(name, &stat) == 0);
    return stat.f_type == 0x01021994;
}

static void insists_on_memory(void)
{
    walrec_config_t config = config_small();
    config.stage_dir = path("on-disk");
    REQUIRE(mkdir(config.stage_dir, 0700) == 0);
    if (is_in_memory(config.stage_dir)) {
        printf("SKIP config: NOT tried to insist on memory, the work directory lies in it\n");
        return;
    }
    config.flags = WALREC_FLAG_REQUIRE_SHM;
    CHECK_STATUS(WALREC_E_INVALID, try_open(&config));
    CHECK_MESSAGE("does not lie in memory");
    CHECK(for_each_entry(config.stage_dir, NULL, NULL) == 0);
    config.flags = 0;
    CHECK_STATUS(WALREC_OK, try_open(&config));
    CHECK(for_each_entry(config.stage_dir, NULL, NULL) == 0);
}

/* Two terabytes of stage: found to be too much before a byte is allocated. The limit is for a library that begins all the
 * same: its first slot fails then, where it would have filled the memory of the machine. */
static void a_stage_beyond_all_memory(void *unused)
{
    struct rlimit limit = {1u << 30, 1u << 30};
    struct statvfs shm;
    walrec_config_t config = config_small();
    unsigned explicit_place;
    (void)unused;
    REQUIRE(signal(SIGXFSZ, SIG_IGN) != SIG_ERR && setrlimit(RLIMIT_FSIZE, &limit) == 0);
    if (statvfs("/dev/shm", &shm) != 0 || shm.f_blocks == 0 || shm.f_bavail * shm.f_frsize > (uint64_t)1 << 41) {
        printf("SKIP config: NOT tried with a stage larger than /dev/shm, which has no end\n");
        return;
    }
    config.num_blocks = 131072;
    config.stage_slots = 1024;
    for (explicit_place = 0; explicit_place < 2; explicit_place++) {
        const char *dir = path("large%u", explicit_place);
        char id[40] = "", stage[128];
        walrec_t *log = NULL;
        FILE *file;
        config.flags = explicit_place ? 0 : WALREC_FLAG_REQUIRE_SHM;
        config.stage_dir = explicit_place ? "/dev/shm" : NULL;
        CHECK_STATUS(WALREC_E_NOSPACE, walrec_open(dir, &config, &log));
        CHECK(log == NULL);
        CHECK_MESSAGE("/dev/shm/walrec-");
        CHECK_MESSAGE("the slots need 2207621578752 bytes");
        CHECK_MESSAGE(" are free");
        file = fopen(path("large%u/walrec.id", explicit_place), "r");
        REQUIRE(file != NULL && fgets(id, sizeof id, file) != NULL);
        fclose(file);
        id[strcspn(id, "\n")] = '\0';
        snprintf(stage, sizeof stage, "/dev/shm/walrec-%s", id);
        CHECK(strlen(id) == 32 && !exists(stage));
    }
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    init();
    no_such_processor();
    insists_on_memory();
    CHECK_CHILD(a_stage_beyond_all_memory, NULL);
    struct_size();
    ranges();
    pinned();
    return check_end();
}
