/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * minimal.c: record a few events, make them durable, read them back. C99; copy it and go on from here.
 *
 *   make library
 *   cc -std=c99 examples-c/minimal.c -Iinclude -Ltarget/release -lwalrec -Wl,-rpath,$PWD/target/release -pthread -o minimal
 *   ./minimal minimal.log
 *
 * Run it again, or kill it at any moment and run it again: the ids go on after the last appended event.
 */
#include <inttypes.h>
#include <stdio.h>

#include "walrec.h"

/* Says what failed and why. The text of walrec_last_error names the file and the operating system's words. */
static int failed(const char *what, walrec_status_t status)
{
    char text[512] = "";
    walrec_last_error(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", what, walrec_status_str(status), text);
    return 1;
}

static int record(walrec_t *log)
{
    const uint64_t last = walrec_last_event_id(log); /* 0 = the log is empty */
    for (uint64_t i = 1; i <= 5; i++) {
        walrec_event_t event = {0};
        event.event_id = last + i; /* strictly increasing, never 0 */
        event.price = 1000000 + 100 * (int64_t)i;
        event.quantity = 10;
        event.order_id = (uint32_t)event.event_id;

        /* OK = appended: it survives kill -9. BACKPRESSURE records nothing and may be tried again. */
        walrec_status_t status;
        while ((status = walrec_append(log, &event)) == WALREC_E_BACKPRESSURE) {
        }
        if (status != WALREC_OK) {
            return failed("walrec_append", status);
        }
    }
    const walrec_status_t status = walrec_sync(log, 0, UINT64_MAX); /* OK = durable: it survives power loss */
    return status == WALREC_OK ? 0 : failed("walrec_sync", status);
}

static int read_back(const char *dir)
{
    walrec_reader_t *reader;
    walrec_status_t status = walrec_reader_open(dir, 0, 0, &reader);
    if (status != WALREC_OK) {
        return failed("walrec_reader_open", status);
    }
    walrec_event_t event;
    while ((status = walrec_reader_next(reader, &event)) == WALREC_OK) {
        printf("event %" PRIu64 ": price %" PRId64 ", quantity %" PRId64 "\n", event.event_id, event.price,
               event.quantity);
    }
    const int result = status == WALREC_END ? 0 : failed("walrec_reader_next", status);
    walrec_reader_close(reader);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: minimal DIR    records five events in the log DIR and prints the whole log\n");
        return 2;
    }
    walrec_t *log;
    walrec_status_t status = walrec_open(argv[1], NULL, &log); /* NULL = the default configuration */
    if (status != WALREC_OK) {
        return failed("walrec_open", status);
    }
    int result = record(log);
    status = walrec_close(log); /* frees the handle, whatever it returns */
    if (status != WALREC_OK) {
        result = failed("walrec_close", status);
    }
    return result != 0 ? result : read_back(argv[1]);
}
