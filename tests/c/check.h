/*
 * What every subject shares: checks that name their place, events whose every
 * field derives from the id, and a few helpers for directories and children.
 *
 * A subject is one file with a main(): `subject WORK_DIRECTORY`. It ends with
 * status 0 when every check held. There is no framework; a check that fails is
 * printed and counted and the subject goes on, a REQUIRE that fails ends it.
 *
 * Everything here is `static inline`, so that a subject may leave some unused.
 * Compiled as C99 with _GNU_SOURCE.
 */
#ifndef WALREC_TESTS_CHECK_H
#define WALREC_TESTS_CHECK_H

#include "walrec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_BLOCK 256u
#define BLOCK_BYTES 16448u
#define HEADER_BYTES 64u
#define EVENT_BODY 60u /* the guard behind it belongs to the library */
#define SECOND_NS UINT64_C(1000000000)
#define NO_LIMIT UINT64_MAX

/* Threads of this process when no recorder is open: ThreadSanitizer has one of its own. */
#ifdef __SANITIZE_THREAD__
#define OWN_THREADS 2
#else
#define OWN_THREADS 1
#endif

static const char *check_work;
static unsigned long check_done;
static unsigned long check_failed;

/* Checks may stand in several threads. */
static inline void check_count(unsigned long *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* ---- checks ------------------------------------------------------------ */

__attribute__((format(printf, 3, 4))) static inline void
check_fail(const char *file, int line, const char *format, ...)
{
    va_list arguments;
    check_count(&check_failed);
    printf("%s:%d: FAILED: ", file, line);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
    if (check_failed > 200) {
        printf("more than 200 failures, giving up\n");
        fflush(stdout);
        _exit(1);
    }
}

static inline void check_give_up(void)
{
    printf("cannot go on without this\n");
    fflush(stdout);
    _exit(1);
}

#define CHECK(condition)                                                       \
    do {                                                                       \
        check_count(&check_done);                                                          \
        if (!(condition))                                                      \
            check_fail(__FILE__, __LINE__, "%s", #condition);                  \
    } while (0)

#define REQUIRE(condition)                                                     \
    do {                                                                       \
        check_count(&check_done);                                                          \
        if (!(condition)) {                                                    \
            check_fail(__FILE__, __LINE__, "%s (errno: %s)", #condition,       \
                       strerror(errno));                                       \
            check_give_up();                                                   \
        }                                                                      \
    } while (0)

static inline int check_u64(const char *file, int line, const char *text,
                            uint64_t expected, uint64_t actual)
{
    check_count(&check_done);
    if (expected == actual)
        return 1;
    check_fail(file, line, "%s: expected %" PRIu64 ", got %" PRIu64, text,
               expected, actual);
    return 0;
}

/* The message is printed only when a call failed: it stays after a success. */
static inline int check_status(const char *file, int line, const char *text,
                               walrec_status_t expected, walrec_status_t actual)
{
    char message[1024];
    check_count(&check_done);
    if (expected == actual)
        return 1;
    message[0] = '\0';
    if (actual < 0)
        walrec_last_error(message, sizeof message);
    check_fail(file, line, "%s: expected %d (%s), got %d (%s) \"%s\"", text,
               (int)expected, walrec_status_str(expected), (int)actual,
               walrec_status_str(actual), message);
    return 0;
}

#define CHECK_U64(expected, actual)                                            \
    check_u64(__FILE__, __LINE__, #actual, (expected), (actual))
#define CHECK_STATUS(expected, call)                                           \
    check_status(__FILE__, __LINE__, #call, (expected), (call))
#define REQUIRE_STATUS(expected, call)                                         \
    do {                                                                       \
        if (!check_status(__FILE__, __LINE__, #call, (expected), (call)))      \
            check_give_up();                                                   \
    } while (0)

/* For the few places where the contract leaves a choice of two. */
#define CHECK_STATUS_EITHER(one, other, call)                                  \
    do {                                                                       \
        walrec_status_t either_got = (call);                                   \
        if (either_got != (other))                                             \
            check_status(__FILE__, __LINE__, #call " (or " #other ")", (one),  \
                         either_got);                                          \
        else                                                                   \
            check_count(&check_done);                                                      \
    } while (0)

/* The calling thread's last message holds `part`. */
static inline void check_message(const char *file, int line, const char *part)
{
    char message[4096];
    size_t length = walrec_last_error(message, sizeof message);
    check_count(&check_done);
    if (length == 0 || strstr(message, part) == NULL)
        check_fail(file, line, "last_error does not hold \"%s\": \"%s\"", part,
                   message);
}
#define CHECK_MESSAGE(part) check_message(__FILE__, __LINE__, (part))

/* ---- begin and end ------------------------------------------------------ */

/* `seconds` bounds the subject: SIGALRM ends it, so nothing hangs for ever. WALREC_SLOWNESS is how often longer it may take. */
static inline void check_begin(int argc, char **argv, unsigned seconds)
{
    const char *slowness = getenv("WALREC_SLOWNESS");
    if (argc < 2) {
        fprintf(stderr, "usage: %s WORK_DIRECTORY\n", argv[0]);
        exit(2);
    }
    check_work = argv[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(slowness == NULL ? seconds : seconds * (unsigned)atoi(slowness));
}

static inline int check_end(void)
{
    printf("%lu checks, %lu failed\n", check_done, check_failed);
    fflush(stdout);
    return check_failed == 0 ? 0 : 1;
}

/* A path below the work directory. Sixteen of them are alive at a time. */
__attribute__((format(printf, 1, 2))) static inline const char *
path(const char *format, ...)
{
    static char ring[16][4096];
    static unsigned next;
    char *out = ring[next++ % 16];
    int used = snprintf(out, sizeof ring[0], "%s/", check_work);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out + used, sizeof ring[0] - (size_t)used, format, arguments);
    va_end(arguments);
    return out;
}

static inline uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static inline void pause_us(long us)
{
    struct timespec t;
    t.tv_sec = us / 1000000;
    t.tv_nsec = us % 1000000 * 1000;
    nanosleep(&t, NULL);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

/* ---- events ------------------------------------------------------------- */

/* splitmix64: every field is a different function of the id. */
static inline uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline void event_fill(walrec_event_t *event, uint64_t id)
{
    uint64_t a = mix(id), b = mix(a), c = mix(b);
    event->event_id = id;
    event->timestamp_ns = UINT64_C(1700000000000000000) + id * 1000;
    event->price = (int64_t)a;
    event->quantity = (int64_t)b;
    event->user_id = (uint32_t)c;
    event->order_id = (uint32_t)(c >> 32);
    event->type = (uint8_t)(a >> 8);
    event->order_type = (uint8_t)(b >> 8);
    event->side = (uint8_t)(c >> 8);
    memcpy(event->user_bytes, &a, 8);
    memcpy(event->user_bytes + 8, &b, 8);
    event->user_bytes[16] = (uint8_t)(c >> 16);
    event->guard = 0;
}

static inline walrec_event_t event_of(uint64_t id)
{
    walrec_event_t event;
    event_fill(&event, id);
    return event;
}

/* Bytes 0..60 are those that event_fill gives for the event's own id. */
static inline int event_is_right(const walrec_event_t *event, uint64_t id)
{
    walrec_event_t expected = event_of(id);
    return memcmp(event, &expected, EVENT_BODY) == 0;
}

/* ---- logs --------------------------------------------------------------- */

static inline walrec_config_t config_default(void)
{
    walrec_config_t config;
    if (walrec_config_init(&config, sizeof config) != WALREC_OK) {
        check_fail(__FILE__, __LINE__, "walrec_config_init failed");
        check_give_up();
    }
    return config;
}

/* Segments of 4,096 events in a small pool; nothing is frozen or deleted. */
static inline walrec_config_t config_small(void)
{
    walrec_config_t config = config_default();
    config.num_blocks = 16;
    config.stage_slots = 4;
    config.max_segments = WALREC_KEEP_ALL;
    config.max_compressed_segments = WALREC_KEEP_ALL;
    config.wait_limit_us = 20000000;
    return config;
}

static inline walrec_t *log_open_at(const char *file, int line, const char *dir,
                                    const walrec_config_t *config)
{
    walrec_t *log = NULL;
    if (!check_status(file, line, "walrec_open", WALREC_OK,
                      walrec_open(dir, config, &log)))
        check_give_up();
    if (log == NULL) {
        check_fail(file, line, "walrec_open gave OK and no handle");
        check_give_up();
    }
    return log;
}
#define log_open(dir, config) log_open_at(__FILE__, __LINE__, (dir), (config))

static inline void append_range_at(const char *file, int line, walrec_t *log,
                                   uint64_t first, uint64_t last)
{
    uint64_t id;
    for (id = first; id <= last; id++) {
        walrec_event_t event = event_of(id);
        walrec_status_t status = walrec_append(log, &event);
        if (status != WALREC_OK) {
            check_fail(file, line, "append of event %" PRIu64, id);
            check_status(file, line, "walrec_append", WALREC_OK, status);
            check_give_up();
        }
    }
    check_count(&check_done);
}
#define append_range(log, first, last)                                         \
    append_range_at(__FILE__, __LINE__, (log), (first), (last))

/* The whole log, read from its oldest event, is exactly first..last with the
 * right content, and then ends. first = last + 1: it holds nothing. */
static inline void log_holds_at(const char *file, int line, const char *dir,
                                uint64_t first, uint64_t last)
{
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    walrec_status_t status;
    uint64_t id = first;
    check_count(&check_done);
    status = walrec_reader_open(dir, 0, 0, &reader);
    if (!check_status(file, line, "walrec_reader_open", WALREC_OK, status))
        return;
    while ((status = walrec_reader_next(reader, &event)) == WALREC_OK) {
        if (event.event_id != id || !event_is_right(&event, id)) {
            check_fail(file, line,
                       "expected event %" PRIu64 ", read event %" PRIu64 "%s",
                       id, event.event_id,
                       event_is_right(&event, event.event_id)
                           ? ""
                           : " with wrong content");
            break;
        }
        id++;
    }
    if (status != WALREC_OK)
        check_status(file, line, "walrec_reader_next at the end", WALREC_END,
                     status);
    check_u64(file, line, "event after the last one read", last + 1, id);
    walrec_reader_close(reader);
}
#define log_holds(dir, first, last)                                            \
    log_holds_at(__FILE__, __LINE__, (dir), (first), (last))

/* ---- directories -------------------------------------------------------- */

/* Calls `each` for every entry but . and ..; returns how many, -1 if missing. */
static inline long for_each_entry(const char *dir,
                                  void (*each)(const char *dir,
                                               const char *name, void *user),
                                  void *user)
{
    DIR *handle = opendir(dir);
    struct dirent *entry;
    long count = 0;
    if (handle == NULL)
        return -1;
    while ((entry = readdir(handle)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (each != NULL)
            each(dir, entry->d_name, user);
    }
    closedir(handle);
    return count;
}

static inline int exists(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0;
}

/* FNV-1a over a file's bytes. */
static inline uint64_t file_digest(const char *name)
{
    unsigned char buffer[65536];
    uint64_t digest = UINT64_C(14695981039346656037);
    ssize_t got;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    while ((got = read(fd, buffer, sizeof buffer)) > 0) {
        ssize_t i;
        for (i = 0; i < got; i++)
            digest = (digest ^ buffer[i]) * UINT64_C(1099511628211);
    }
    close(fd);
    return digest;
}

static inline void digest_entry(const char *dir, const char *name, void *user)
{
    char full[8192];
    struct stat st;
    uint64_t own = 0;
    const char *c;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    if (lstat(full, &st) != 0)
        return;
    for (c = name; *c != '\0'; c++)
        own = mix(own ^ (uint64_t)(unsigned char)*c);
    own = mix(own ^ (uint64_t)st.st_size);
    own = mix(own ^ (uint64_t)st.st_mode);
    if (S_ISDIR(st.st_mode))
        for_each_entry(full, digest_entry, &own);
    else
        own = mix(own ^ file_digest(full));
    /* A sum, since the order of readdir means nothing. */
    *(uint64_t *)user += own;
}

/* Names, sizes, modes and contents of everything below `dir`. */
static inline uint64_t tree_digest(const char *dir)
{
    uint64_t digest = 1;
    for_each_entry(dir, digest_entry, &digest);
    return digest;
}

struct segment_scan {
    uint64_t lowest, highest, hot, frozen;
};

static inline void scan_entry(const char *dir, const char *name, void *user)
{
    struct segment_scan *scan = user;
    unsigned long long index;
    int used = 0;
    (void)dir;
    if (sscanf(name, "FS.%llu.wal%n", &index, &used) != 1 || used == 0)
        return;
    if (name[used] != '\0' && strcmp(name + used, ".lz4") != 0)
        return;
    if (index < scan->lowest)
        scan->lowest = index;
    if (index > scan->highest)
        scan->highest = index;
    if (name[used] == '\0')
        scan->hot++;
    else
        scan->frozen++;
}

static inline struct segment_scan scan_segments(const char *dir)
{
    struct segment_scan scan = {UINT64_MAX, 0, 0, 0};
    for_each_entry(dir, scan_entry, &scan);
    return scan;
}

/* The stage's directory, the last word of walrec.stage: absolute, or in the log directory; 0 when there is none. */
static inline int stage_path(const char *dir, char *out, size_t n)
{
    char name[8192], line[8192], *end, *word;
    FILE *file;
    out[0] = '\0';
    snprintf(name, sizeof name, "%s/walrec.stage", dir);
    file = fopen(name, "r");
    if (file == NULL)
        return 0;
    if (fgets(line, sizeof line, file) == NULL)
        line[0] = '\0';
    fclose(file);
    /* The record may be padded. */
    for (end = line + strlen(line); end > line && (end[-1] == '\n' || end[-1] == ' '); end--)
        end[-1] = '\0';
    word = strchr(line, '/');
    if (word != NULL) {
        snprintf(out, n, "%s", word);
        return 1;
    }
    word = strrchr(line, ' ');
    if (word == NULL)
        return 0;
    return snprintf(out, n, "%s/%s", dir, word + 1) > 0;
}

/* ---- children ----------------------------------------------------------- */

/* Memory that a forked child shares with its parent, zeroed. */
static inline void *shared_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    return memory;
}

/* Forks; the child runs `body`, and ends with the number of its failed checks.
 * It dies with its parent, so that an interrupted test leaves nothing behind. */
static inline pid_t start_child(void (*body)(void *), void *argument)
{
    pid_t parent = getpid(), pid;
    fflush(stdout);
    pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        alarm(600);
        check_failed = 0;
        body(argument);
        fflush(stdout);
        _exit(check_failed > 100 ? 100 : (int)check_failed);
    }
    return pid;
}

static inline int wait_child(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

#define CHECK_CHILD(body, argument)                                            \
    do {                                                                       \
        int child_status = wait_child(start_child((body), (argument)));        \
        check_count(&check_done);                                                          \
        if (!WIFEXITED(child_status) || WEXITSTATUS(child_status) != 0)        \
            check_fail(__FILE__, __LINE__,                                     \
                       "child " #body ": %s %d",                               \
                       WIFSIGNALED(child_status) ? "killed by signal"          \
                                                 : "failed checks:",           \
                       WIFSIGNALED(child_status) ? WTERMSIG(child_status)      \
                                                 : WEXITSTATUS(child_status)); \
    } while (0)

/* Runs `body` on another thread and waits for it. */
static inline void on_other_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, body, argument) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

#endif
