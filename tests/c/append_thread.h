/*
 * What the append thread must not do, and how it is caught doing it.
 *
 *   allocations   malloc and its family, mmap and munmap are defined here, take precedence over the C library's, and
 *                 count what a thread does that set `counting`. Needs -rdynamic, and -fno-builtin.
 *   system calls  forbid_system_calls installs a filter without a single permitted call: the first one is written
 *                 down in `caught` and ends the process. The thread speaks to others through memory alone from then on,
 *                 and cannot end but with the process.
 *
 * For one file of a program: it defines functions.
 */
#ifndef WALREC_TESTS_APPEND_THREAD_H
#define WALREC_TESTS_APPEND_THREAD_H

#include "check.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

/* ---- allocations, counted ------------------------------------------------ */

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *old, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *old);

static __thread int counting;
static __thread uint64_t allocations;

static void count_one(void)
{
    if (counting)
        allocations++;
}

void *malloc(size_t bytes)
{
    count_one();
    return __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    count_one();
    return __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    count_one();
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes)
{
    count_one();
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    count_one();
    return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count_one();
    *out = __libc_memalign(alignment, bytes);
    return *out == NULL ? ENOMEM : 0;
}

void free(void *old)
{
    count_one();
    __libc_free(old);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    count_one();
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return mmap(at, bytes, protection, flags, fd, offset);
}

int munmap(void *at, size_t bytes)
{
    count_one();
    return (int)syscall(SYS_munmap, at, bytes);
}

int madvise(void *at, size_t bytes, int advice)
{
    count_one();
    return (int)syscall(SYS_madvise, at, bytes, advice);
}

/* ---- page faults, counted ------------------------------------------------- */

/* Minor and major ones, of any thread of any process: one under the filter below cannot ask for its own. */
static inline uint64_t faults_of(pid_t process, pid_t thread)
{
    char name[64], line[4096], *at;
    unsigned long minor = 0, major = 0;
    FILE *file;
    snprintf(name, sizeof name, "/proc/%d/task/%d/stat", (int)process, (int)thread);
    file = fopen(name, "r");
    REQUIRE(file != NULL && fgets(line, sizeof line, file) != NULL);
    fclose(file);
    at = strrchr(line, ')');
    REQUIRE(at != NULL && sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %lu %*u %lu", &minor, &major) == 2);
    return (uint64_t)minor + major;
}

/* ---- system calls, forbidden ---------------------------------------------- */

/* In memory that the parent shares, which prints it after the child's end. */
struct caught {
    int64_t call; /* number of the system call that the filter stopped, -1 = none */
    uint64_t at;
    int armed;
};
static struct caught *caught;

/* Runs on the append thread, where every system call is stopped: one more of them ends the process at once. */
static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    caught->call = info->si_syscall;
    caught->at = (uint64_t)(uintptr_t)info->si_call_addr;
    syscall(SYS_getpid);
}

/* From here on the calling thread has no system call at all. */
static void forbid_system_calls(void)
{
    struct sock_filter program[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)};
    struct sock_fprog filter;
    filter.len = 1;
    filter.filter = program;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
        check_fail(__FILE__, __LINE__, "seccomp: %s", strerror(errno));
        check_give_up();
    }
    caught->armed = 1;
}

/* In the process of the append thread, before it is started. */
static void catch_system_calls(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_trap;
    action.sa_flags = SA_SIGINFO;
    REQUIRE(sigaction(SIGSYS, &action, NULL) == 0);
    caught->call = -1;
    caught->armed = 0;
}

/* In the parent. */
static void check_no_system_call(const char *name)
{
    if (caught->call >= 0)
        check_fail(__FILE__, __LINE__, "%s: system call %" PRId64 " on the append thread, at %#" PRIx64, name,
                   caught->call, caught->at);
}

#endif
