/* A program of somebody who has walrec installed: writes a log in the directory it is given, and reads it back. */
#include <walrec.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    char dir[4096];
    walrec_t *log = NULL;
    walrec_reader_t *reader = NULL;
    walrec_event_t event = {0};
    uint64_t id, read = 0;
    if (argc != 2 || snprintf(dir, sizeof dir, "%s/c.log", argv[1]) >= (int)sizeof dir)
        return 2;
    if (walrec_open(dir, NULL, &log) != WALREC_OK)
        return 1;
    for (id = 1; id <= 1000; id++) {
        event.event_id = id;
        if (walrec_append(log, &event) != WALREC_OK)
            return 1;
    }
    if (walrec_close(log) != WALREC_OK || walrec_reader_open(dir, 0, 0, &reader) != WALREC_OK)
        return 1;
    while (walrec_reader_next(reader, &event) == WALREC_OK)
        read += event.event_id == read + 1;
    walrec_reader_close(reader);
    printf("walrec %s: %lu events\n", walrec_version_string(), (unsigned long)read);
    return read == 1000 ? 0 : 1;
}
