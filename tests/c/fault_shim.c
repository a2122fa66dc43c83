/*
 * A preload library that stands between libwalrec.so and the C library, and lets one call meet a fault.
 *
 *   WALREC_FAULT="CALL NAME N WHEN WHAT"
 *     the N-th CALL on the file NAME meets the fault; WHEN is `once`, or `ever`: from there on each CALL, whatever its file.
 *     WHAT is an errno's name, or
 *       KILL, KILLED   the process dies (SIGKILL) before the call, or after it
 *       SHORT          a read or a write of half the bytes, whole sectors where it can be
 *       LIE            the call says that it succeeded, and did nothing
 *   WALREC_FAULT_ROOT=DIR      names are told from here; a stage's directory, wherever it is, is called `stage`
 *   WALREC_FAULT_RECORD=FILE   every call is written there: `CALL NAME N`, and `changes` if it changes something
 *   WALREC_FAULT_WORDS=FILE    see fault.h
 *   WALREC_FAULT_BUFFERED=1    no file is opened with O_DIRECT
 *   WALREC_FAULT_PLAIN_RENAME=1    the file system knows no RENAME_NOREPLACE
 *
 * Only calls that come out of libwalrec.so count, on files below DIR or in a stage. An interruption is never for ever: no
 * kernel does that. EINTR comes a thousand times in a row at the most.
 */
#include "fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define SECTOR 512u
#define MOST_INTERRUPTIONS 1000u
#define CALLER __builtin_return_address(0)

enum what { PASSES, FAILS, KILLED, SHORT, LIES };
enum { READS, CHANGES };

static struct {
    char call[32], name[256], what[16];
    uint64_t n;
    int ever, error, on;
} fault;

static struct {
    char site[320];
    uint64_t n;
} counters[4096];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault_words *words, no_words;
static const char *root;
static int record = -1, buffered, plain_rename;
static uint64_t changed, fired;

static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } all[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR},
               {"EAGAIN", EAGAIN}, {"EROFS", EROFS},   {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].number;
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("WALREC_FAULT"), *file = getenv("WALREC_FAULT_RECORD");
    char when[8];
    unsigned long long n;
    root = getenv("WALREC_FAULT_ROOT");
    buffered = getenv("WALREC_FAULT_BUFFERED") != NULL;
    plain_rename = getenv("WALREC_FAULT_PLAIN_RENAME") != NULL;
    words = fault_words();
    if (words == NULL)
        words = &no_words;
    if (file != NULL)
        record = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (text == NULL)
        return;
    if (sscanf(text, "%31s %255s %llu %7s %15s", fault.call, fault.name, &n, when, fault.what) != 5) {
        fprintf(stderr, "fault_shim: cannot read WALREC_FAULT=%s\n", text);
        _exit(2);
    }
    fault.n = n;
    fault.ever = strcmp(when, "ever") == 0;
    fault.error = number_of(fault.what);
    fault.on = 1;
}

/* ---- which call this is ---------------------------------------------------- */

static int from_library(void *caller)
{
    Dl_info info;
    const char *base;
    if (dladdr(caller, &info) == 0 || info.dli_fname == NULL)
        return 0;
    base = strrchr(info.dli_fname, '/');
    return strncmp(base == NULL ? info.dli_fname : base + 1, "libwalrec.so", 12) == 0;
}

/* "walrec-" and the 32 digits of a log's identity, at `at`. */
static int is_stage(const char *at)
{
    return strncmp(at, "/walrec-", 8) == 0 && strspn(at + 8, "0123456789abcdef") == 32;
}

/* A path as the fault names it; 0 for one that is none of ours. */
static int name_of(char *path, char *name, size_t n)
{
    size_t length = root == NULL ? 0 : strlen(root), used = 0;
    char *deleted = strstr(path, " (deleted)");
    if (deleted != NULL)
        *deleted = '\0';
    if (length > 0 && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0')) {
        path += length + (path[length] == '/');
    } else {
        while (path != NULL && !is_stage(path))
            path = strstr(path + 1, "/walrec-");
        if (path == NULL)
            return 0;
    }
    while (*path != '\0' && used + 8 < n) {
        if (is_stage(path)) {
            used += (size_t)snprintf(name + used, n - used, used == 0 ? "stage" : "/stage");
            path += 40;
        } else {
            name[used++] = *path++;
        }
    }
    snprintf(name + used, n - used, used == 0 ? "." : "");
    return 1;
}

static int path_of(int fd, char *path, size_t n)
{
    char link[32];
    ssize_t length;
    if (fd == AT_FDCWD)
        return getcwd(path, n) != NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, n - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return 1;
}

/* ---- whether it meets the fault -------------------------------------------- */

static uint64_t count(const char *call, const char *name)
{
    char site[320];
    size_t i;
    snprintf(site, sizeof site, "%s %.255s", call, name);
    for (i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        if (counters[i].site[0] == '\0')
            memcpy(counters[i].site, site, sizeof site);
        if (strcmp(counters[i].site, site) == 0)
            return ++counters[i].n;
    }
    return 0;
}

static void note(const char *call, const char *name, uint64_t n, int changes)
{
    char line[400];
    int length = snprintf(line, sizeof line, "%s %s %llu%s\n", call, name, (unsigned long long)n,
                          changes ? " changes" : "");
    if (write(record, line, (size_t)length) != length)
        _exit(2);
}

static enum what meet(const char *call, const char *name, int changes)
{
    enum what what = PASSES;
    uint64_t n;
    if (words->disarmed)
        return PASSES;
    pthread_mutex_lock(&lock);
    n = count(call, name);
    if (record >= 0)
        note(call, name, n, changes);
    if (fault.on && strcmp(call, fault.call) == 0) {
        int here = n == fault.n && strcmp(name, fault.name) == 0;
        int most = fault.error == EINTR ? fired < MOST_INTERRUPTIONS : 1;
        if (here || (fired > 0 && fault.ever && most)) {
            what = fault.error != 0 ? FAILS : fault.what[0] == 'S' ? SHORT : fault.what[0] == 'L' ? LIES : KILLED;
            fired++;
            words->changed_before = changed;
            words->fired = fired;
        }
    }
    changed += (uint64_t)changes;
    pthread_mutex_unlock(&lock);
    if (what == KILLED && strcmp(fault.what, "KILL") == 0)
        raise(SIGKILL);
    errno = fault.error;
    return what;
}

static enum what at_path(const char *call, int directory, const char *path, int changes, void *caller)
{
    char full[8192], name[256];
    size_t used = 0;
    if (!from_library(caller))
        return PASSES;
    full[0] = '\0';
    if (path[0] != '/') {
        if (!path_of(directory, full, sizeof full))
            return PASSES;
        used = strlen(full);
    }
    if (strcmp(path, ".") != 0)
        snprintf(full + used, sizeof full - used, "%s%s", path[0] == '/' ? "" : "/", path);
    return name_of(full, name, sizeof name) ? meet(call, name, changes) : PASSES;
}

static enum what at_fd(const char *call, int fd, int changes, void *caller)
{
    char full[8192], name[256];
    if (!from_library(caller) || !path_of(fd, full, sizeof full))
        return PASSES;
    return name_of(full, name, sizeof name) ? meet(call, name, changes) : PASSES;
}

/* A call with flags that the file system does not know. */
static enum what not_known(void)
{
    errno = EINVAL;
    return FAILS;
}

/* The end of a call that passed. */
static void leave(enum what what)
{
    if (what == KILLED)
        raise(SIGKILL);
}

static size_t half(size_t n)
{
    size_t half = n / 2;
    return half >= SECTOR ? half / SECTOR * SECTOR : n > 1 ? half : n;
}

/* ---- the calls ------------------------------------------------------------- */

#define REAL(type, name, arguments)                                                                                    \
    static type(*real) arguments;                                                                                      \
    if (real == NULL)                                                                                                  \
    *(void **)&real = dlsym(RTLD_NEXT, name)

/* A call on a descriptor or a path that gives an int, -1 for an error. */
#define INT_CALL(name, parameters, arguments, site)                                                                    \
    int name parameters                                                                                                \
    {                                                                                                                  \
        enum what what = site;                                                                                         \
        int result;                                                                                                    \
        REAL(int, #name, parameters);                                                                                  \
        if (what == FAILS)                                                                                             \
            return -1;                                                                                                 \
        if (what == LIES)                                                                                              \
            return 0;                                                                                                  \
        result = real arguments;                                                                                       \
        leave(what);                                                                                                   \
        return result;                                                                                                 \
    }

INT_CALL(fdatasync, (int fd), (fd), at_fd("fdatasync", fd, CHANGES, CALLER))
INT_CALL(fsync, (int fd), (fd), at_fd("fsync", fd, CHANGES, CALLER))
INT_CALL(ftruncate, (int fd, off_t n), (fd, n), at_fd("ftruncate", fd, CHANGES, CALLER))
INT_CALL(fallocate, (int fd, int mode, off_t from, off_t n), (fd, mode, from, n), at_fd("fallocate", fd, CHANGES, CALLER))
INT_CALL(mkdir, (const char *path, mode_t mode), (path, mode), at_path("mkdir", AT_FDCWD, path, CHANGES, CALLER))
INT_CALL(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at_path("mkdirat", at, path, CHANGES, CALLER))
INT_CALL(rmdir, (const char *path), (path), at_path("rmdir", AT_FDCWD, path, CHANGES, CALLER))
INT_CALL(unlinkat, (int at, const char *path, int flags), (at, path, flags), at_path("unlinkat", at, path, CHANGES, CALLER))
INT_CALL(linkat, (int at, const char *path, int to, const char *new, int flags), (at, path, to, new, flags),
         at_path("linkat", at, path, CHANGES, CALLER))
INT_CALL(renameat, (int at, const char *path, int to, const char *new), (at, path, to, new),
         at_path("renameat", at, path, CHANGES, CALLER))
INT_CALL(renameat2, (int at, const char *path, int to, const char *new, unsigned flags), (at, path, to, new, flags),
         plain_rename && flags != 0 && from_library(CALLER) ? not_known()
                                                            : at_path("renameat2", at, path, CHANGES, CALLER))
INT_CALL(flock, (int fd, int operation), (fd, operation),
         (operation & LOCK_UN) ? PASSES : at_fd("flock", fd, READS, CALLER))
INT_CALL(fstat, (int fd, struct stat *stat), (fd, stat), at_fd("fstat", fd, READS, CALLER))
INT_CALL(fstatfs, (int fd, struct statfs *stat), (fd, stat), at_fd("fstatfs", fd, READS, CALLER))

int openat(int at, const char *path, int flags, ...)
{
    int creates = (flags & O_CREAT) != 0, fd;
    enum what what = at_path(creates ? "create" : "openat", at, path, creates ? CHANGES : READS, CALLER);
    va_list arguments;
    mode_t mode;
    REAL(int, "openat", (int, const char *, int, ...));
    va_start(arguments, flags);
    mode = creates ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (buffered && (flags & O_DIRECT) != 0) {
        errno = EINVAL;
        return -1;
    }
    if (what == FAILS)
        return -1;
    fd = real(at, path, flags, mode);
    leave(what);
    return fd;
}

ssize_t pread(int fd, void *buffer, size_t n, off_t offset)
{
    enum what what = at_fd("pread", fd, READS, CALLER);
    REAL(ssize_t, "pread", (int, void *, size_t, off_t));
    return what == FAILS ? -1 : real(fd, buffer, what == SHORT ? half(n) : n, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    enum what what = at_fd("pwrite", fd, CHANGES, CALLER);
    ssize_t written;
    REAL(ssize_t, "pwrite", (int, const void *, size_t, off_t));
    if (what == FAILS)
        return -1;
    if (what == LIES)
        return (ssize_t)n;
    written = real(fd, bytes, what == SHORT ? half(n) : n, offset);
    leave(what);
    return written;
}

struct dirent64 *readdir64(DIR *stream)
{
    enum what what = at_fd("readdir", dirfd(stream), READS, CALLER);
    REAL(struct dirent64 *, "readdir64", (DIR *));
    if (what == FAILS)
        return NULL;
    /* The caller tells the end from an error by errno alone. */
    errno = 0;
    return real(stream);
}

void *mmap64(void *address, size_t n, int protection, int flags, int fd, off64_t offset)
{
    enum what what = fd < 0 ? PASSES : at_fd("mmap", fd, READS, CALLER);
    REAL(void *, "mmap64", (void *, size_t, int, int, int, off64_t));
    return what == FAILS ? MAP_FAILED : real(address, n, protection, flags, fd, offset);
}
