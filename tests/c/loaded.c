/* An engine that loads the library by dlopen, and all the ways in which it may end: `loaded WORK_DIRECTORY LIBRARY`.
 *
 * This program is not linked with the library, so it checks for itself. Each end is a process of its own; after each the log is
 * opened and read in another one. */
#include "walrec.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS 5000u

static walrec_status_t (*open_log)(const char *, const walrec_config_t *, walrec_t **);
static walrec_status_t (*append)(walrec_t *, const walrec_event_t *);
static walrec_status_t (*sync_log)(walrec_t *, uint64_t, uint64_t);
static walrec_status_t (*close_log)(walrec_t *);
static uint64_t (*last_event_id)(const walrec_t *);
static walrec_status_t (*reader_open)(const char *, uint64_t, uint32_t, walrec_reader_t **);
static walrec_status_t (*reader_next)(walrec_reader_t *, walrec_event_t *);
static void (*reader_close)(walrec_reader_t *);

static const char *directory, *library;
static void *loaded;
static walrec_t *held;
static const char *end_of_this;

#define MUST(condition)                                                             \
    do {                                                                            \
        if (!(condition)) {                                                         \
            printf("%s:%d: %s: FAILED: %s\n", __FILE__, __LINE__, end_of_this, #condition); \
            fflush(stdout);                                                         \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

static void find(void *target, const char *name)
{
    void *symbol = dlsym(loaded, name);
    MUST(symbol != NULL);
    memcpy(target, &symbol, sizeof symbol);
}

static void load(void)
{
    loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (loaded == NULL)
        printf("%s\n", dlerror());
    MUST(loaded != NULL);
    find(&open_log, "walrec_open");
    find(&append, "walrec_append");
    find(&sync_log, "walrec_sync");
    find(&close_log, "walrec_close");
    find(&last_event_id, "walrec_last_event_id");
    find(&reader_open, "walrec_reader_open");
    find(&reader_next, "walrec_reader_next");
    find(&reader_close, "walrec_reader_close");
}

static void append_to(uint64_t last)
{
    uint64_t id;
    for (id = last_event_id(held) + 1; id <= last; id++) {
        walrec_event_t event;
        memset(&event, 0, sizeof event);
        event.event_id = id;
        event.quantity = (int64_t)id * 3;
        MUST(append(held, &event) == WALREC_OK);
    }
}

static void use(void)
{
    load();
    MUST(open_log(directory, NULL, &held) == WALREC_OK);
    append_to(EVENTS);
}

/* Another process: everything is there, and in its place. */
static void look(void)
{
    walrec_reader_t *reader;
    walrec_event_t event;
    uint64_t id = 0;
    load();
    MUST(open_log(directory, NULL, &held) == WALREC_OK);
    MUST(last_event_id(held) == EVENTS);
    MUST(close_log(held) == WALREC_OK);
    MUST(reader_open(directory, 0, 0, &reader) == WALREC_OK);
    while (reader_next(reader, &event) == WALREC_OK) {
        id++;
        MUST(event.event_id == id && event.quantity == (int64_t)id * 3);
    }
    reader_close(reader);
    MUST(id == EVENTS);
}

static void close_at_exit(void)
{
    MUST(close_log(held) == WALREC_OK);
    held = NULL;
}

static int close_in_destructor;

__attribute__((destructor)) static void at_the_very_end(void)
{
    if (close_in_destructor)
        close_at_exit();
}

static void end_by_exit(void)
{
    use();
    exit(0);
}

static void end_by_return(void)
{
    use();
}

static void end_by__exit(void)
{
    use();
    _exit(0);
}

static void end_by_quick_exit(void)
{
    use();
    quick_exit(0);
}

static void end_while_syncing(void)
{
    use();
    sync_log(held, 0, 0);
    exit(0);
}

static void close_in_early_handler(void)
{
    MUST(atexit(close_at_exit) == 0);
    use();
    exit(0);
}

static void close_in_late_handler(void)
{
    use();
    MUST(atexit(close_at_exit) == 0);
    exit(0);
}

static void close_in_a_destructor(void)
{
    use();
    close_in_destructor = 1;
    exit(0);
}

/* The library stays, and so do its threads: a handle is good after dlclose. */
static void dlclose_and_go_on(void)
{
    load();
    MUST(open_log(directory, NULL, &held) == WALREC_OK);
    append_to(EVENTS / 2);
    MUST(dlclose(loaded) == 0);
    MUST(dlopen(library, RTLD_NOW | RTLD_NOLOAD) != NULL);
    append_to(EVENTS);
    MUST(sync_log(held, 0, UINT64_MAX) == WALREC_OK);
    MUST(close_log(held) == WALREC_OK);
    load();
    MUST(dlclose(loaded) == 0);
}

static void dlclose_and_exit(void)
{
    use();
    MUST(dlclose(loaded) == 0);
    exit(0);
}

static void *leave(void *unused)
{
    (void)unused;
    exit(0);
}

/* Another thread ends the process, and the append thread is its pthread_join. */
static void exit_on_another_thread(void)
{
    pthread_t thread;
    use();
    MUST(pthread_create(&thread, NULL, leave, NULL) == 0);
    pthread_join(thread, NULL);
}

static void *use_on_a_thread(void *unused)
{
    (void)unused;
    use();
    return NULL;
}

/* The thread that appended is gone, its thread-local storage with it. */
static void append_thread_gone(void)
{
    pthread_t thread;
    MUST(pthread_create(&thread, NULL, use_on_a_thread, NULL) == 0);
    MUST(pthread_join(thread, NULL) == 0);
    MUST(close_log(held) == WALREC_OK);
}

static const struct {
    const char *name;
    void (*body)(void);
} ends[] = {
    {"exit without close", end_by_exit},
    {"return from main without close", end_by_return},
    {"_exit without close", end_by__exit},
    {"quick_exit without close", end_by_quick_exit},
    {"exit while the flusher is woken", end_while_syncing},
    {"close in a handler registered before the library", close_in_early_handler},
    {"close in a handler registered after the library", close_in_late_handler},
    {"close in a destructor of the program", close_in_a_destructor},
    {"dlclose and go on", dlclose_and_go_on},
    {"dlclose and exit without close", dlclose_and_exit},
    {"exit on another thread", exit_on_another_thread},
    {"append thread gone", append_thread_gone},
};

static int run(const char *program, const char *name, const char *work, int number)
{
    int status;
    pid_t pid;
    char text[16];
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        snprintf(text, sizeof text, "%d", number);
        execl(program, program, work, library, name, text, (char *)NULL);
        _exit(126);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return 1;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("%s: %s: %s %d\n", ends[number].name, name, WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char place[4096];
    int failed = 0, i, count = (int)(sizeof ends / sizeof ends[0]);
    if (argc < 3)
        return 2;
    alarm(120);
    library = argv[2];
    if (argc > 4) {
        i = atoi(argv[4]);
        end_of_this = ends[i].name;
        snprintf(place, sizeof place, "%s/log%d", argv[1], i);
        directory = place;
        if (strcmp(argv[3], "use") == 0)
            ends[i].body();
        else
            look();
        return 0;
    }
    for (i = 0; i < count; i++) {
        failed += run("/proc/self/exe", "use", argv[1], i);
        failed += run("/proc/self/exe", "look", argv[1], i);
    }
    printf("FIGURE loaded by dlopen: %d ways to end, %d failed\n", count, failed);
    return failed != 0;
}
