/*
 * The hand that stops things: a process beside the subject that stops, on command, one thread of it, or the file system that its
 * disk is made of. It lets go on command, when the subject ends however it ends, and after half a minute in any case, so that nothing
 * stays stopped. Start it before any thread.
 *
 *   trace    one thread, by ptrace: anywhere where ptrace is allowed
 *   freezer  one thread, by the freezer of cgroups v1; `place` is a group of its own
 *   disk     every write and flush of a disk: `place` is on the file system that holds the disk's image, which is frozen (FIFREEZE)
 */
#ifndef WALREC_TESTS_HAND_H
#define WALREC_TESTS_HAND_H

#include "check.h"

#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>

enum hand_kind { HAND_TRACE, HAND_FREEZER, HAND_DISK };

struct hand {
    enum hand_kind kind;
    const char *place;
    pid_t pid;
    int wire, fd;
    int holds;
    pid_t thread;
};

struct hand_order {
    char what; /* s stop, g go, t tremble: stop and go in turns until the next order */
    pid_t thread;
};

#define HAND_LIMIT_S 30

static volatile sig_atomic_t hand_must_let_go;

static inline void hand_signalled(int number)
{
    (void)number;
    hand_must_let_go = 1;
}

static inline int hand_write(const char *dir, const char *name, const char *text)
{
    char full[4200];
    int fd, done;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    fd = open(full, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return done;
}

static inline int hand_freezer_is(const char *dir, const char *state)
{
    char full[4200], text[32] = "";
    int fd;
    snprintf(full, sizeof full, "%s/freezer.state", dir);
    fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    close(fd);
    return strncmp(text, state, strlen(state)) == 0;
}

static inline int hand_stop(struct hand *h, pid_t thread)
{
    char number[32];
    int status;
    if (h->holds)
        return 1;
    /* 0 would be the hand itself. */
    if (thread <= 0 && h->kind != HAND_DISK)
        return 0;
    h->thread = thread;
    switch (h->kind) {
    case HAND_TRACE:
        h->holds = ptrace(PTRACE_SEIZE, thread, NULL, NULL) == 0;
        return h->holds && ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0 &&
               waitpid(thread, &status, __WALL) == thread && WIFSTOPPED(status);
    case HAND_FREEZER:
        snprintf(number, sizeof number, "%d", (int)thread);
        if (!hand_write(h->place, "tasks", number) || !hand_write(h->place, "freezer.state", "FROZEN"))
            return 0;
        h->holds = 1;
        while (!hand_freezer_is(h->place, "FROZEN") && !hand_must_let_go)
            pause_us(200);
        return 1;
    default:
        h->holds = ioctl(h->fd, FIFREEZE, 0) == 0;
        return h->holds;
    }
}

static inline int hand_let_go(struct hand *h)
{
    char number[32];
    int done = 1;
    if (!h->holds)
        return 1;
    switch (h->kind) {
    case HAND_TRACE:
        done = ptrace(PTRACE_DETACH, h->thread, NULL, NULL) == 0;
        break;
    case HAND_FREEZER:
        snprintf(number, sizeof number, "%d", (int)h->thread);
        done = hand_write(h->place, "freezer.state", "THAWED");
        /* Back, so that the group can be removed; a thread that has ended is no longer in it. */
        hand_write(h->place, "../tasks", number);
        break;
    default:
        done = ioctl(h->fd, FITHAW, 0) == 0;
    }
    h->holds = !done;
    return done;
}

static inline void hand_tremble(struct hand *h, pid_t thread)
{
    struct pollfd wire = {h->wire, POLLIN, 0};
    while (!hand_must_let_go && hand_stop(h, thread) && poll(&wire, 1, 20) == 0) {
        hand_let_go(h);
        if (poll(&wire, 1, 2) != 0)
            break;
    }
    hand_let_go(h);
}

static inline void hand_main(struct hand *h)
{
    struct sigaction action;
    struct hand_order order;
    memset(&action, 0, sizeof action);
    action.sa_handler = hand_signalled;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (!hand_must_let_go && read(h->wire, &order, sizeof order) == (ssize_t)sizeof order) {
        char answer = 1;
        alarm(HAND_LIMIT_S);
        if (order.what == 's')
            answer = (char)hand_stop(h, order.thread);
        else if (order.what == 'g')
            answer = (char)hand_let_go(h);
        if (write(h->wire, &answer, 1) != 1)
            break;
        if (order.what == 't')
            hand_tremble(h, order.thread);
        if (!h->holds)
            alarm(0);
    }
    hand_let_go(h);
    if (h->kind == HAND_FREEZER)
        rmdir(h->place);
    _exit(0);
}

static inline void hand_start(struct hand *h, const char *kind, const char *place)
{
    int wires[2];
    pid_t subject = getpid();
    memset(h, 0, sizeof *h);
    h->place = place;
    h->fd = -1;
    h->kind = strcmp(kind, "trace") == 0 ? HAND_TRACE : strcmp(kind, "freezer") == 0 ? HAND_FREEZER : HAND_DISK;
    if (h->kind == HAND_FREEZER)
        REQUIRE(mkdir(place, 0700) == 0);
    if (h->kind == HAND_DISK)
        REQUIRE((h->fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires) == 0);
    fflush(stdout);
    h->pid = fork();
    REQUIRE(h->pid >= 0);
    if (h->pid == 0) {
        close(wires[0]);
        h->wire = wires[1];
        if (getppid() == subject)
            hand_main(h);
        _exit(1);
    }
    close(wires[1]);
    h->wire = wires[0];
#ifdef PR_SET_PTRACER
    prctl(PR_SET_PTRACER, h->pid);
#endif
}

/* 0 when it could not be done. */
static inline int hand_order(struct hand *h, char what, pid_t thread)
{
    struct hand_order order;
    char answer = 0;
    memset(&order, 0, sizeof order);
    order.what = what;
    order.thread = thread;
    return write(h->wire, &order, sizeof order) == (ssize_t)sizeof order && read(h->wire, &answer, 1) == 1 && answer;
}

static inline void hand_end(struct hand *h)
{
    close(h->wire);
    wait_child(h->pid);
}

/* The thread of this process that has this name. */
static inline void hand_match(const char *dir, const char *name, void *user)
{
    char full[64], comm[32] = "";
    struct {
        const char *name;
        pid_t thread;
    } *wanted = user;
    FILE *file;
    snprintf(full, sizeof full, "%s/%.20s/comm", dir, name);
    file = fopen(full, "r");
    if (file == NULL)
        return;
    if (fgets(comm, sizeof comm, file) != NULL && strncmp(comm, wanted->name, strlen(wanted->name)) == 0)
        wanted->thread = (pid_t)atoi(name);
    fclose(file);
}

static inline pid_t thread_named(const char *name)
{
    struct {
        const char *name;
        pid_t thread;
    } wanted = {name, 0};
    /* A thread gives itself its name, a moment after it began. */
    while (wanted.thread == 0)
        for_each_entry("/proc/self/task", hand_match, &wanted);
    return wanted.thread;
}

#endif
