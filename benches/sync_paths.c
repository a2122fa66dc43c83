/*
 * Ways to make a write durable, side by side: which one the flusher should take.
 *
 *   cc -std=c99 -D_GNU_SOURCE -O2 benches/sync_paths.c -o sync_paths
 *   ./sync_paths [DIRECTORY [ROUNDS]]      a file of 8 MiB is made there, and removed at the end (default: . 400)
 *
 * Each way writes the next range of its own file, which was written with zeros before, by O_DIRECT from aligned memory. The ways take
 * turns, so that whatever else the machine does meets all of them. Printed: p50, p90, p99 of one durable write, and the median ratio to
 * the first way.
 *
 *   pwrite, fdatasync      what the flusher does
 *   pwritev2 RWF_DSYNC     one call; where the device has FUA, one command too
 *   io_uring write+fsync   both linked in one io_uring_enter, which waits for both
 *   io_uring, polled       the same, the kernel's thread polls for submissions (SQPOLL)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES (8u << 20)
#define MOST_ROUNDS 100000
#define WAYS 4

static const char *const NAMES[WAYS] = {"pwrite, fdatasync", "pwritev2 RWF_DSYNC", "io_uring write+fsync", "io_uring, polled"};

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- io_uring, by its system calls ---------------------------------------- */

struct ring {
    int fd, polled;
    unsigned *sq_tail, *sq_flags, *sq_mask, *sq_array;
    unsigned *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static int ring_open(struct ring *ring, unsigned flags)
{
    struct io_uring_params p;
    char *sq, *cq;
    memset(&p, 0, sizeof p);
    p.flags = flags;
    p.sq_thread_idle = 1000;
    ring->polled = (flags & IORING_SETUP_SQPOLL) != 0;
    ring->fd = (int)syscall(SYS_io_uring_setup, 8, &p);
    if (ring->fd < 0)
        return 0;
    sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
              IORING_OFF_SQ_RING);
    cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
              ring->fd, IORING_OFF_CQ_RING);
    ring->sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                      IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqes == MAP_FAILED)
        fail("mmap of the rings");
    ring->sq_tail = (unsigned *)(void *)(sq + p.sq_off.tail);
    ring->sq_flags = (unsigned *)(void *)(sq + p.sq_off.flags);
    ring->sq_mask = (unsigned *)(void *)(sq + p.sq_off.ring_mask);
    ring->sq_array = (unsigned *)(void *)(sq + p.sq_off.array);
    ring->cq_head = (unsigned *)(void *)(cq + p.cq_off.head);
    ring->cq_tail = (unsigned *)(void *)(cq + p.cq_off.tail);
    ring->cq_mask = (unsigned *)(void *)(cq + p.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(void *)(cq + p.cq_off.cqes);
    return 1;
}

static struct io_uring_sqe *ring_push(struct ring *ring, unsigned place)
{
    unsigned index = (*ring->sq_tail + place) & *ring->sq_mask;
    ring->sq_array[index] = index;
    memset(&ring->sqes[index], 0, sizeof ring->sqes[index]);
    return &ring->sqes[index];
}

/* A write, and a sync of data that begins when the write has ended well. */
static void ring_write(struct ring *ring, int fd, const void *bytes, unsigned n, uint64_t offset)
{
    unsigned done = 0, flags = IORING_ENTER_GETEVENTS;
    struct io_uring_sqe *sqe = ring_push(ring, 0);
    sqe->opcode = IORING_OP_WRITE;
    sqe->flags = IOSQE_IO_LINK;
    sqe->fd = fd;
    sqe->addr = (uint64_t)(uintptr_t)bytes;
    sqe->len = n;
    sqe->off = offset;
    sqe = ring_push(ring, 1);
    sqe->opcode = IORING_OP_FSYNC;
    sqe->fd = fd;
    sqe->fsync_flags = IORING_FSYNC_DATASYNC;
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + 2, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->polled && __atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & IORING_SQ_NEED_WAKEUP)
        flags |= IORING_ENTER_SQ_WAKEUP;
    if (syscall(SYS_io_uring_enter, ring->fd, ring->polled ? 0 : 2, 2, flags, NULL, 0) < 0)
        fail("io_uring_enter");
    while (done < 2) {
        unsigned head = *ring->cq_head;
        if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
            if (syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
                fail("io_uring_enter");
            continue;
        }
        if (ring->cqes[head & *ring->cq_mask].res < 0) {
            errno = -ring->cqes[head & *ring->cq_mask].res;
            fail("a completion");
        }
        __atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
        done++;
    }
}

/* ---- the ways -------------------------------------------------------------- */

static struct ring rings[WAYS];

static void write_durably(int way, int fd, const void *bytes, unsigned n, uint64_t offset)
{
    struct iovec part;
    part.iov_base = (void *)(uintptr_t)bytes;
    part.iov_len = n;
    switch (way) {
    case 0:
        if (pwrite(fd, bytes, n, (off_t)offset) != (ssize_t)n || fdatasync(fd) != 0)
            fail("pwrite, fdatasync");
        return;
    case 1:
        if (pwritev2(fd, &part, 1, (off_t)offset, RWF_DSYNC) != (ssize_t)n)
            fail("pwritev2");
        return;
    default:
        ring_write(&rings[way], fd, bytes, n, offset);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double times[WAYS][MOST_ROUNDS], ratios[WAYS][MOST_ROUNDS];

static void compare(const int *files, const int *usable, unsigned bytes, unsigned rounds, const void *memory)
{
    unsigned round;
    int way;
    for (round = 0; round < rounds; round++) {
        uint64_t offset = (uint64_t)round * bytes % (FILE_BYTES - bytes + 1) / 4096 * 4096;
        for (way = 0; way < WAYS; way++) {
            uint64_t begin = now_ns();
            if (!usable[way])
                continue;
            write_durably(way, files[way], memory, bytes, offset);
            times[way][round] = (double)(now_ns() - begin) / 1000;
            ratios[way][round] = times[way][round] / times[0][round];
        }
    }
    for (way = 0; way < WAYS; way++) {
        if (!usable[way]) {
            printf("| %6u KiB | %-22s | not here |\n", bytes >> 10, NAMES[way]);
            continue;
        }
        qsort(times[way], rounds, sizeof(double), by_size);
        qsort(ratios[way], rounds, sizeof(double), by_size);
        printf("| %6u KiB | %-22s | %7.0f | %7.0f | %7.0f | %5.2f |\n", bytes >> 10, NAMES[way], times[way][rounds / 2],
               times[way][rounds * 9 / 10], times[way][rounds * 99 / 100], ratios[way][rounds / 2]);
    }
}

int main(int argc, char **argv)
{
    static const unsigned SIZES[] = {4096, 16384, 65536, 262144, 1u << 20};
    const char *directory = argc > 1 ? argv[1] : ".";
    unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 400, size;
    int files[WAYS], usable[WAYS] = {1, 1, 0, 0}, way;
    char name[4096];
    char *memory = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED || rounds < 10 || rounds > MOST_ROUNDS)
        fail("mmap, or a number of rounds from 10 to 100000");
    for (way = 0; way < WAYS; way++) {
        snprintf(name, sizeof name, "%s/sync_paths.%d", directory, way);
        files[way] = open(name, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
        if (files[way] < 0)
            fail(name);
        unlink(name);
        if (pwrite(files[way], memory, FILE_BYTES, 0) != (ssize_t)FILE_BYTES || fsync(files[way]) != 0)
            fail("writing zeros");
    }
    memset(memory, 'w', FILE_BYTES);
    usable[2] = ring_open(&rings[2], 0);
    usable[3] = ring_open(&rings[3], IORING_SETUP_SQPOLL);
    printf("| one write  | way                    | p50, us | p90, us | p99, us | ratio |\n|---|---|---|---|---|---|\n");
    for (size = 0; size < sizeof SIZES / sizeof SIZES[0]; size++)
        compare(files, usable, SIZES[size], rounds, memory);
    return 0;
}
