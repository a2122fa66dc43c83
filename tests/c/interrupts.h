/*
 * What interrupts the append thread's core: page-table shootdowns, seen in three ways.
 *
 *   the row       TLB of /proc/interrupts, for one CPU. Whatever runs or ran on that CPU is in it: a process that was
 *                 there before can still be interrupted for, so on a shared machine it is read, and not judged.
 *   shootdowns    The tracepoint tlb:tlb_flush with the reason "remote shootdown", counted for one thread alone: the
 *                 thread was interrupted for its own process' sake. Needs root, or CAP_PERFMON.
 *   map calls     Calls by which any thread of the process changes its mappings, which is how it causes shootdowns. A
 *                 seccomp filter over all threads sends each one to a thread here, which counts it and lets it go on.
 */
#ifndef WALREC_TESTS_INTERRUPTS_H
#define WALREC_TESTS_INTERRUPTS_H

#include "check.h"

#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* ---- the row --------------------------------------------------------------- */

/* -1 when there is no such row, or the CPU has no column. */
static inline int64_t tlb_interrupts(int cpu)
{
    static char line[65536];
    FILE *file = fopen("/proc/interrupts", "r");
    char *at, *end, *save = NULL;
    int column = -1, i = 0;
    int64_t found = -1;
    if (file == NULL)
        return -1;
    if (fgets(line, sizeof line, file) != NULL)
        for (at = strtok_r(line, " \n", &save); at != NULL; at = strtok_r(NULL, " \n", &save), i++)
            if (strncmp(at, "CPU", 3) == 0 && atoi(at + 3) == cpu)
                column = i;
    while (column >= 0 && found < 0 && fgets(line, sizeof line, file) != NULL) {
        at = line + strspn(line, " ");
        if (strncmp(at, "TLB:", 4) != 0)
            continue;
        for (at += 4, i = 0; i <= column; i++, at = end) {
            found = strtoll(at, &end, 10);
            if (end == at) {
                found = -1;
                break;
            }
        }
        break;
    }
    fclose(file);
    return found;
}

/* ---- shootdowns ------------------------------------------------------------ */

enum { REMOTE_SHOOTDOWN = 1 };

static inline long number_in(const char *name)
{
    long number = -1;
    FILE *file = fopen(name, "r");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%ld", &number) != 1)
        number = -1;
    fclose(file);
    return number;
}

static inline void look_up_tracepoint(void *out)
{
    static const char id[] = "/sys/kernel/tracing/events/tlb/tlb_flush/id";
    *(long *)out = number_in(id);
    if (*(long *)out >= 0)
        return;
    /* Mounted for this process alone. */
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL) == 0)
        *(long *)out = number_in(id);
}

/* The tracepoint's number, -1 when it cannot be had. */
static inline long shootdown_tracepoint(void)
{
    static long *id;
    if (id == NULL) {
        id = shared_memory(sizeof *id);
        *id = -1;
        wait_child(start_child(look_up_tracepoint, id));
    }
    return *id;
}

/* A descriptor that counts the thread's, -1 when it cannot. */
static inline int count_shootdowns(pid_t thread)
{
    struct perf_event_attr attributes;
    char filter[32];
    int fd;
    if (shootdown_tracepoint() < 0)
        return -1;
    memset(&attributes, 0, sizeof attributes);
    attributes.type = PERF_TYPE_TRACEPOINT;
    attributes.size = sizeof attributes;
    attributes.config = (uint64_t)shootdown_tracepoint();
    fd = (int)syscall(SYS_perf_event_open, &attributes, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
    snprintf(filter, sizeof filter, "reason == %d", REMOTE_SHOOTDOWN);
    if (fd >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, filter) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static inline int64_t shootdowns(int fd)
{
    int64_t count;
    return fd >= 0 && read(fd, &count, sizeof count) == (ssize_t)sizeof count ? count : -1;
}

/* ---- map calls -------------------------------------------------------------- */

enum { MAP_CALLS = 6 };
static const int map_calls[MAP_CALLS] = {SYS_mmap, SYS_brk, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap};

/* In memory that the parent shares. */
struct map_calls {
    uint64_t taking, giving;
    int watched; /* the filter is there */
};

struct map_call_watch {
    struct map_calls *calls;
    uint64_t heap_end;
    int listener; /* -1 = not yet */
};

/* A call that only gives memory, as malloc does when its heap grows, interrupts nobody. */
static inline int takes_away(struct map_call_watch *watch, const struct seccomp_data *call)
{
    uint64_t heap_end = watch->heap_end;
    switch (call->nr) {
    case SYS_mmap:
        return (call->args[3] & MAP_FIXED) != 0;
    case SYS_mprotect:
        return (call->args[2] & PROT_WRITE) == 0;
    case SYS_brk:
        watch->heap_end = call->args[0] != 0 ? call->args[0] : heap_end;
        return watch->heap_end < heap_end;
    default:
        return 1;
    }
}

/* Makes none of these calls itself: nobody would let it go on. */
static inline void *watch_map_calls_thread(void *argument)
{
    struct map_call_watch *watch = argument;
    struct seccomp_notif call;
    struct seccomp_notif_resp answer;
    int fd;
    while ((fd = __atomic_load_n(&watch->listener, __ATOMIC_ACQUIRE)) == -1)
        pause_us(100);
    while (fd >= 0) {
        memset(&call, 0, sizeof call);
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
            continue;
        __atomic_fetch_add(takes_away(watch, &call.data) ? &watch->calls->taking : &watch->calls->giving, 1,
                           __ATOMIC_RELAXED);
        memset(&answer, 0, sizeof answer);
        answer.id = call.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return NULL;
}

/* Every thread of the process, also one started later, is watched to the process' end. Where there is no listener, nothing is
 * counted and `watched` stays 0. */
static inline void watch_map_calls(struct map_calls *calls)
{
    static struct map_call_watch watch;
    struct sock_filter program[MAP_CALLS + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog filter = {MAP_CALLS + 3, program};
    const unsigned long flags =
        SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
    pthread_t thread;
    int i, listener;
    for (i = 0; i < MAP_CALLS; i++)
        program[1 + i] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)map_calls[i], (uint8_t)(MAP_CALLS - i), 0);
    program[MAP_CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program[MAP_CALLS + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    watch.calls = calls;
    watch.heap_end = (uint64_t)(uintptr_t)sbrk(0);
    watch.listener = -1;
    REQUIRE(pthread_create(&thread, NULL, watch_map_calls_thread, &watch) == 0);
    REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    calls->watched = listener >= 0;
    __atomic_store_n(&watch.listener, listener >= 0 ? listener : -2, __ATOMIC_RELEASE);
}

#endif
