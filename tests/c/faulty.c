/* Faults on purpose, for the tools that are to find them in the library: `faulty WORK_DIRECTORY KIND`. */
#include "check.h"

static walrec_t *shared_log;

/* Two append threads at once, against the rule. */
static void *append_some(void *argument)
{
    uint64_t id;
    for (id = 1; id <= 100; id++) {
        walrec_event_t event = event_of(2 * id + *(uint64_t *)argument);
        walrec_append(shared_log, &event);
    }
    return NULL;
}

static void race(void)
{
    walrec_config_t config = config_small();
    uint64_t one = 0, other = 1;
    pthread_t thread;
    shared_log = log_open(path("log"), &config);
    REQUIRE(pthread_create(&thread, NULL, append_some, &one) == 0);
    append_some(&other);
    REQUIRE(pthread_join(thread, NULL) == 0);
    walrec_close(shared_log);
}

/* An event of which the last 8 bytes are not the caller's. */
static void overflow(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("log"), &config);
    walrec_event_t whole = event_of(1), *event = malloc(sizeof whole - 8);
    REQUIRE(event != NULL);
    memcpy((void *)event, &whole, sizeof whole - 8);
    walrec_append(log, event);
    walrec_close(log);
    free(event);
}

/* A reader that is not closed, and forgotten. */
static void leak(void)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("log"), &config);
    walrec_reader_t *reader = NULL;
    append_range(log, 1, 100);
    walrec_close(log);
    CHECK_STATUS(WALREC_OK, walrec_reader_open(path("log"), 0, 0, &reader));
    reader = NULL;
    CHECK(reader == NULL);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 60);
    REQUIRE(argc > 2);
    if (strcmp(argv[2], "race") == 0)
        race();
    else if (strcmp(argv[2], "overflow") == 0)
        overflow();
    else
        leak();
    return check_end();
}
