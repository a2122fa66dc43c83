/* What lz4, the tool, says of frozen files. */
#ifndef WALREC_TESTS_LZ4_TOOL_H
#define WALREC_TESTS_LZ4_TOOL_H

#include "check.h"

enum { NO_TOOL = 127 };

/* The exit status of `lz4 -t`. */
static inline int lz4_test(const char *file)
{
    int status;
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        execlp("lz4", "lz4", "-t", file, (char *)NULL);
        _exit(NO_TOOL);
    }
    status = wait_child(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct lz4_files {
    uint64_t tested, bytes;
    char one[8192];
};

static inline void test_frozen(const char *dir, const char *name, void *user)
{
    struct lz4_files *files = user;
    struct stat st;
    size_t length = strlen(name);
    int status;
    if (length < 4 || strcmp(name + length - 4, ".lz4") != 0)
        return;
    snprintf(files->one, sizeof files->one, "%s/%s", dir, name);
    status = lz4_test(files->one);
    if (status != 0)
        check_fail(__FILE__, __LINE__, "lz4 -t %s: %d", files->one, status);
    files->tested++;
    files->bytes += stat(files->one, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* A copy with other bytes in its middle: many, since one bit may turn a match into another one of the same bytes. */
static inline void lz4_control(const char *file)
{
    const char *copy = path("damaged.lz4");
    struct stat st;
    unsigned char *bytes;
    off_t i;
    int from = open(file, O_RDONLY | O_CLOEXEC), to = open(copy, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(from >= 0 && to >= 0 && fstat(from, &st) == 0);
    bytes = malloc((size_t)st.st_size);
    REQUIRE(bytes != NULL && read(from, bytes, (size_t)st.st_size) == st.st_size);
    for (i = 0; i < 64 && i < st.st_size / 2; i++)
        bytes[st.st_size / 2 + i] ^= 0xff;
    REQUIRE(write(to, bytes, (size_t)st.st_size) == st.st_size);
    free(bytes);
    close(from);
    close(to);
    CHECK(lz4_test(copy) != 0);
    unlink(copy);
}

#endif
