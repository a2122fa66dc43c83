/* The glutton: a process that keeps the file system of the work directory full, up to the last byte and, where they are few, inode. */
#ifndef WALREC_TESTS_GLUTTON_H
#define WALREC_TESTS_GLUTTON_H

#include "check.h"

#include <sys/statvfs.h>

struct glutton {
    pid_t pid;
    /* Asked for by the parent: 1 = eat and stay full, 0 = give everything back. */
    uint32_t wanted;
    /* The last `wanted` that came true, and how often the disk was found full to the last byte. */
    uint32_t reached;
    uint64_t found_full;
};

static struct glutton *glutton;

static inline int eat_bytes(int fd, off_t *size)
{
    off_t step;
    int ate = 0;
    for (step = 4 << 20; step >= 4096; step /= 2)
        while (fallocate(fd, 0, *size, step) == 0) {
            *size += step;
            ate = 1;
        }
    return ate;
}

/* Where inodes are few, all of them; elsewhere a few files too small for a block of their own. */
static inline int eat_names(unsigned *count)
{
    static const char crumb[1024];
    struct statvfs space;
    int few = statvfs(check_work, &space) == 0 && space.f_favail < 1000;
    int ate = 0;
    while (*count < 4000) {
        const char *name = path("filler/%u", *count);
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        ssize_t put;
        if (fd < 0)
            break;
        put = few ? 0 : write(fd, crumb, sizeof crumb);
        close(fd);
        if (put < 0) {
            unlink(name);
            break;
        }
        ++*count;
        ate = 1;
    }
    return ate;
}

static inline void remove_entry(const char *dir, const char *name, void *user)
{
    char full[8192];
    (void)user;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    unlink(full);
}

static inline void be_the_glutton(void *unused)
{
    off_t size = 0;
    unsigned count = 0;
    int fd = -1;
    (void)unused;
    alarm(0);
    for (;;) {
        uint32_t wanted = __atomic_load_n(&glutton->wanted, __ATOMIC_ACQUIRE);
        if (wanted) {
            if (fd < 0)
                fd = open(path("filler/large"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (!((fd >= 0 && eat_bytes(fd, &size)) | eat_names(&count))) {
                __atomic_add_fetch(&glutton->found_full, 1, __ATOMIC_RELEASE);
                __atomic_store_n(&glutton->reached, 1, __ATOMIC_RELEASE);
            }
        } else if (__atomic_load_n(&glutton->reached, __ATOMIC_ACQUIRE) != 0) {
            if (fd >= 0)
                close(fd);
            fd = -1;
            size = 0;
            count = 0;
            for_each_entry(path("filler"), remove_entry, NULL);
            __atomic_store_n(&glutton->reached, 0, __ATOMIC_RELEASE);
        }
        pause_us(100);
    }
}

static inline void set_full(uint32_t wanted)
{
    __atomic_store_n(&glutton->wanted, wanted, __ATOMIC_RELEASE);
    while (__atomic_load_n(&glutton->reached, __ATOMIC_ACQUIRE) != wanted)
        pause_us(100);
}

/* What a moment ago was given back has been eaten too. */
static inline void stays_full(void)
{
    uint64_t until = __atomic_load_n(&glutton->found_full, __ATOMIC_ACQUIRE) + 2;
    while (__atomic_load_n(&glutton->found_full, __ATOMIC_ACQUIRE) < until)
        pause_us(100);
}

#endif
