/*
 * Nothing becomes durable any more once the recorder is poisoned, also not by a sync that was under way in another thread and then succeeds.
 *
 * The program's own syncs come before those of the C library: the flusher's waits for a word, everybody else's fails.
 */
#include "check.h"

#include <sys/syscall.h>

static int others_fail, hold, held;

static int own_sync(long call, int descriptor)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    if (strcmp(name, "walrec-flush") == 0) {
        while (__atomic_load_n(&hold, __ATOMIC_ACQUIRE)) {
            __atomic_store_n(&held, 1, __ATOMIC_RELEASE);
            pause_us(100);
        }
    } else if (__atomic_load_n(&others_fail, __ATOMIC_ACQUIRE)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, descriptor);
}

int fdatasync(int descriptor)
{
    return own_sync(SYS_fdatasync, descriptor);
}

int fsync(int descriptor)
{
    return own_sync(SYS_fsync, descriptor);
}

int main(int argc, char **argv)
{
    char dir[4096];
    walrec_config_t config = config_small();
    walrec_t *log;
    walrec_event_t event;
    walrec_status_t status;
    uint64_t id = 100, begin = now_ns();
    check_begin(argc, argv, 60);
    snprintf(dir, sizeof dir, "%s/log", check_work);
    log = log_open(dir, &config);
    append_range(log, 1, id);
    REQUIRE_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));

    __atomic_store_n(&hold, 1, __ATOMIC_RELEASE);
    append_range(log, id + 1, id + 50);
    while (!__atomic_load_n(&held, __ATOMIC_ACQUIRE))
        pause_us(100);
    /* The meta state is to be written once a second, and at each rotation. */
    __atomic_store_n(&others_fail, 1, __ATOMIC_RELEASE);
    id += 50;
    do {
        event = event_of(id + 1);
        status = walrec_append(log, &event);
        id += status == WALREC_OK;
        pause_us(1000);
        REQUIRE(now_ns() - begin < 20 * SECOND_NS);
    } while (status == WALREC_OK);
    CHECK_STATUS(WALREC_E_FAILED, status);
    CHECK_U64(100, walrec_durable_event_id(log));

    __atomic_store_n(&hold, 0, __ATOMIC_RELEASE);
    CHECK_STATUS(WALREC_E_FAILED, walrec_shutdown(log));
    CHECK_U64(100, walrec_durable_event_id(log));
    CHECK_STATUS(WALREC_E_FAILED, walrec_sync(log, 150, NO_LIMIT));

    __atomic_store_n(&others_fail, 0, __ATOMIC_RELEASE);
    walrec_close(log);
    log = log_open(dir, &config);
    CHECK_U64(id, walrec_last_event_id(log));
    REQUIRE_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, id);
    return check_end();
}
