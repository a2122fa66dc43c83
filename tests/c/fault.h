/* What a program under fault_shim.c shares with it: one page of a file that WALREC_FAULT_WORDS names. */
#ifndef WALREC_TESTS_FAULT_H
#define WALREC_TESTS_FAULT_H

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct fault_words {
    uint64_t fired;          /* calls that met the fault */
    uint64_t disarmed;       /* the program has seen enough: no fault from here on */
    uint64_t changed_before; /* calls that change something and had passed when the fault came last */
};

/* The page; NULL without the variable. */
static inline struct fault_words *fault_words(void)
{
    const char *name = getenv("WALREC_FAULT_WORDS");
    int fd = name == NULL ? -1 : open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *page = MAP_FAILED;
    if (fd >= 0) {
        if (ftruncate(fd, 4096) == 0)
            page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    return page == MAP_FAILED ? NULL : page;
}

#endif
