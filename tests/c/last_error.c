/* walrec_last_error: one text for each thread, copied to any room. */
#include "check.h"

static void *fresh_thread(void *unused)
{
    char text[64];
    (void)unused;
    /* No call failed on this thread yet, whatever failed elsewhere. */
    memset(text, 'x', sizeof text);
    CHECK_U64(1, walrec_last_error(text, sizeof text));
    CHECK(text[0] == '\0' && text[1] == 'x');
    CHECK_U64(1, walrec_last_error(NULL, 0));
    CHECK_STATUS(WALREC_E_INVALID, walrec_config_init(NULL, 8));
    CHECK(walrec_last_error(NULL, 0) > 1);
    CHECK_MESSAGE("config");
    return NULL;
}

int main(int argc, char **argv)
{
    char whole[4096], part[4096];
    size_t needed, n;
    walrec_t *log = NULL, *second = NULL;
    walrec_config_t config;

    check_begin(argc, argv, 20);
    CHECK_U64(1, walrec_last_error(NULL, 0));
    CHECK_STATUS(WALREC_E_IO, walrec_open(path("no/such/parent"), NULL, &log));

    needed = walrec_last_error(NULL, 0);
    REQUIRE(needed > 20 && needed < sizeof whole);
    memset(whole, 'x', sizeof whole);
    CHECK_U64(needed, walrec_last_error(whole, sizeof whole));
    CHECK_U64(needed, strlen(whole) + 1);
    CHECK(whole[needed] == 'x');
    CHECK_MESSAGE("no/such");
    CHECK_MESSAGE(strerror(ENOENT));
    printf("message: %s\n", whole);

    /* Any room: a terminated beginning of it, and the length it needs. */
    for (n = 1; n <= needed + 3; n++) {
        memset(part, 'x', sizeof part);
        CHECK_U64(needed, walrec_last_error(part, n));
        CHECK(part[n < needed ? n - 1 : needed - 1] == '\0');
        CHECK(strncmp(part, whole, n - 1) == 0);
        CHECK(part[n < needed ? n : needed] == 'x');
    }
    memset(part, 'x', sizeof part);
    CHECK_U64(needed, walrec_last_error(part, 0));
    CHECK(part[0] == 'x');
    CHECK_U64(needed, walrec_last_error(NULL, 100));

    /* A call that succeeds leaves the text, and asking does, too. */
    config = config_small();
    log = log_open(path("log"), &config);
    append_range(log, 1, 10);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    CHECK_U64(needed, walrec_last_error(part, sizeof part));
    CHECK(strcmp(part, whole) == 0);

    on_other_thread(fresh_thread, NULL);
    CHECK_U64(needed, walrec_last_error(part, sizeof part));
    CHECK(strcmp(part, whole) == 0);

    /* The next failure replaces it. */
    CHECK_STATUS(WALREC_E_INVALID, walrec_sync(NULL, 0, 0));
    CHECK(walrec_last_error(part, sizeof part) > 1);
    CHECK(strcmp(part, whole) != 0);
    CHECK_STATUS(WALREC_E_LOCKED, walrec_open(path("log"), &config, &second));
    CHECK_MESSAGE(path("log"));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    return check_end();
}
