/*
 * Whom the library trusts: modes whatever the umask, directories and files of others, links that lead somewhere else, second names,
 * descriptors that a child would inherit, FIFOs and devices that an open could hang on, files that shrink under a reader.
 *
 * As root most of it runs as the user 65534 in a child, for whom permissions count.
 */
#include "check.h"
#include "heard.h"

#include <grp.h>
#include <sys/sysmacros.h>

#define SEGMENT_EVENTS 4096u
#define NOBODY 65534

static int is_root;

static void become_nobody(void)
{
    if (is_root)
        REQUIRE(setgroups(0, NULL) == 0 && setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
}

/* A directory below the work directory that the user of the children owns. */
static const char *own_place(const char *name)
{
    const char *place = path("%s", name);
    REQUIRE(mkdir(place, 0700) == 0);
    if (is_root)
        REQUIRE(chown(place, NOBODY, NOBODY) == 0);
    return place;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static uint64_t append_and_close(const char *dir, uint64_t count)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(dir, &config);
    uint64_t last = walrec_last_event_id(log);
    append_range(log, last + 1, last + count);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    return last + count;
}

/* Refused, or an error of the system; no handle either way. Gives the status. */
static walrec_status_t not_opened(int line, const char *dir, const walrec_config_t *config)
{
    walrec_t *log = (walrec_t *)(uintptr_t)64;
    walrec_status_t status = walrec_open(dir, config, &log);
    check_done++;
    if (status >= 0 || log != NULL)
        check_fail(__FILE__, line, "%s: opened, status %d", dir, (int)status);
    return status;
}
#define NOT_OPENED(dir, config) not_opened(__LINE__, (dir), (config))

/* ---- modes ---------------------------------------------------------------- */

static void check_mode(const char *dir, const char *name, void *unused)
{
    char full[8192];
    struct stat st;
    mode_t mode, wanted;
    int looks = 0;
    (void)unused;
    snprintf(full, sizeof full, "%s/%s", dir, name);
    check_done++;
    for (;; pause_us(1000)) {
        if (lstat(full, &st) != 0)
            return;
        mode = st.st_mode & 0777;
        wanted = S_ISDIR(st.st_mode) ? 0700 : 0600;
        /* One that a worker is just making has fewer rights, by the mask, and never more. */
        if (mode == wanted || (mode & ~wanted) != 0 || ++looks == 1000)
            break;
    }
    if (mode != wanted)
        check_fail(__FILE__, __LINE__, "%s has mode %o", full, (unsigned)st.st_mode);
    if (S_ISDIR(st.st_mode))
        for_each_entry(full, check_mode, NULL);
}

static void with_umask(void *argument)
{
    mode_t mask = *(const mode_t *)argument;
    const char *dir = path("umasks/%04o", (unsigned)mask);
    walrec_config_t config = config_small();
    char stage[8192];
    walrec_t *log;
    become_nobody();
    umask(mask);
    config.max_segments = 2;
    log = log_open(dir, &config);
    append_range(log, 1, 5 * SEGMENT_EVENTS);
    CHECK_STATUS(WALREC_OK, walrec_sync(log, 0, NO_LIMIT));
    REQUIRE(stage_path(dir, stage, sizeof stage));
    check_mode(path("umasks"), dir + strlen(path("umasks")) + 1, NULL);
    check_mode("/", stage + 1, NULL);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    /* A damaged segment goes to the quarantine. */
    REQUIRE(truncate(path("umasks/%04o/FS.00000004.wal", (unsigned)mask), 100) == 0);
    config.flags = WALREC_FLAG_SALVAGE;
    log = log_open(dir, &config);
    CHECK(exists(path("umasks/%04o/quarantine", (unsigned)mask)));
    append_range(log, 10 * SEGMENT_EVENTS, 10 * SEGMENT_EVENTS + 5);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    check_mode(path("umasks"), dir + strlen(path("umasks")) + 1, NULL);
}

static void umasks(void)
{
    static mode_t masks[] = {0, 022, 077, 0177, 0277, 0777};
    unsigned i;
    own_place("umasks");
    for (i = 0; i < sizeof masks / sizeof masks[0]; i++)
        CHECK_CHILD(with_umask, &masks[i]);
}

/* ---- owners --------------------------------------------------------------- */

static void others_directories(void *unused)
{
    walrec_config_t config = config_small();
    struct heard *h = heard_new();
    char line[200] = "", name[8192], stage[8300], *id;
    const char *dir = path("owners/log");
    walrec_t *log;
    FILE *file;
    (void)unused;
    become_nobody();
    append_and_close(dir, 100);
    file = fopen(path("owners/log/walrec.id"), "r");
    REQUIRE(file != NULL && fgets(line, sizeof line, file) != NULL);
    fclose(file);
    id = line;
    id[strcspn(id, "\n")] = '\0';

    /* Where the stage is to go, somebody else's directory, or one that others may enter. */
    snprintf(name, sizeof name, "%s/walrec-%s", path("owners/stages"), id);
    config.stage_dir = path("owners/stages");
    REQUIRE(mkdir(name, 0700) == 0);
    {
        static const mode_t bad[] = {0755, 0770, 0702, 0710};
        unsigned i;
        for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            REQUIRE(chmod(name, bad[i]) == 0);
            CHECK_STATUS(WALREC_E_INVALID, NOT_OPENED(dir, &config));
            CHECK_MESSAGE("0700");
        }
    }
    REQUIRE(rmdir(name) == 0);
    /* A link to a fine directory is none. */
    REQUIRE(mkdir(path("owners/fine"), 0700) == 0 && symlink(path("owners/fine"), name) == 0);
    NOT_OPENED(dir, &config);
    CHECK(for_each_entry(path("owners/fine"), NULL, NULL) == 0);
    REQUIRE(unlink(name) == 0);
    /* A slot that is a link, a FIFO: neither followed nor waited for. */
    REQUIRE(mkdir(name, 0700) == 0);
    write_file(path("owners/precious"), "precious");
    snprintf(stage, sizeof stage, "%s/slot.000", name);
    REQUIRE(symlink(path("owners/precious"), stage) == 0);
    NOT_OPENED(dir, &config);
    REQUIRE(unlink(stage) == 0 && mkfifo(stage, 0600) == 0);
    NOT_OPENED(dir, &config);
    REQUIRE(unlink(stage) == 0);
    CHECK_U64(8, (uint64_t)lseek(open(path("owners/precious"), O_RDONLY | O_CLOEXEC), 0, SEEK_END));

    /* None of it harmed the log. The group may write: told. */
    REQUIRE(chmod(dir, 0770) == 0);
    config.log_cb = hear;
    config.log_user = h;
    log = log_open(dir, &config);
    CHECK_HEARD(h, "writable by its group", WALREC_LOG_WARNING);
    CHECK_U64(100, walrec_last_event_id(log));
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    REQUIRE(chmod(dir, 0700) == 0);

    /* The record of the stage: others may not write it. */
    REQUIRE(chmod(path("owners/log/walrec.stage"), 0666) == 0);
    CHECK_STATUS(WALREC_E_INVALID, NOT_OPENED(dir, &config));
    CHECK_MESSAGE("walrec.stage");
    REQUIRE(chmod(path("owners/log/walrec.stage"), 0600) == 0);
    append_and_close(dir, 100);
    log_holds(dir, 1, 200);
}

/* The stage of another user, and a record of another user: as the superuser, whom no permission stops. */
static void another_user(void)
{
    const char *dir = path("another");
    walrec_config_t config = config_small();
    struct heard *h = heard_new();
    char line[200] = "", name[8192];
    FILE *file;
    walrec_t *log;
    if (!is_root) {
        printf("SKIP trust: files of another user were NOT tested; it needs root, to make some\n");
        return;
    }
    append_and_close(dir, 100);
    file = fopen(path("another/walrec.id"), "r");
    REQUIRE(file != NULL && fgets(line, sizeof line, file) != NULL);
    fclose(file);
    line[strcspn(line, "\n")] = '\0';
    REQUIRE(mkdir(path("another-stages"), 0700) == 0);
    config.stage_dir = path("another-stages");
    snprintf(name, sizeof name, "%s/walrec-%s", config.stage_dir, line);
    REQUIRE(mkdir(name, 0700) == 0 && chown(name, NOBODY, NOBODY) == 0);
    CHECK_STATUS(WALREC_E_INVALID, NOT_OPENED(dir, &config));
    REQUIRE(rmdir(name) == 0);
    REQUIRE(chown(path("another/walrec.stage"), NOBODY, NOBODY) == 0);
    CHECK_STATUS(WALREC_E_INVALID, NOT_OPENED(dir, &config));
    CHECK_MESSAGE("walrec.stage");
    REQUIRE(chown(path("another/walrec.stage"), 0, 0) == 0);
    /* The directory itself is another's: he can change all that is in it. Told, since an administrator may mean it. */
    REQUIRE(chown(dir, NOBODY, NOBODY) == 0);
    config.log_cb = hear;
    config.log_user = h;
    log = log_open(dir, &config);
    CHECK_HEARD(h, "belongs to another user", WALREC_LOG_WARNING);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    log_holds(dir, 1, 100);
}

/* ---- links ---------------------------------------------------------------- */

/* Opens a log in which something that is no file has the name of one: damage is told with the name, else nothing is lost. */
static void held_in_its_place(const char *dir, const walrec_config_t *config, const char *name, int damage)
{
    walrec_t *log = NULL;
    walrec_status_t status = walrec_open(dir, config, &log);
    if (damage) {
        CHECK_STATUS_EITHER(WALREC_E_CORRUPT, WALREC_E_INVALID, status);
        CHECK_MESSAGE(name);
    } else {
        CHECK_STATUS(WALREC_OK, status);
        CHECK(walrec_last_event_id(log) > 0);
    }
    CHECK_STATUS(WALREC_OK, walrec_close(log));
}

/* A link under each name that the library writes to: what it leads to stays as it is. */
static void planted_links(void)
{
    static const char *const temporary[] = {"FS.00000001.new",     "FS.00000002.new",    "FS.00000000.lz4.tmp", "FS.00000000.del",
                                            "wal_meta.dat.tmp", "walrec.stage.tmp", "walrec.id.tmp"};
    static const char *const kept[] = {"FS.00000000.wal", "FS.00000001.wal", "wal_meta.dat", "walrec.stage", "walrec.id"};
    walrec_config_t config = config_small();
    /* `path` gives the same memory again after a while. */
    char precious[8192], dir[8192], old[8300];
    uint64_t digest;
    unsigned i, hard;
    snprintf(precious, sizeof precious, "%s", path("precious"));
    snprintf(dir, sizeof dir, "%s", path("links"));
    config.max_segments = 2;
    write_file(precious, "What is here was never the library's to write to.");
    digest = file_digest(precious);
    CHECK_U64(1000, append_and_close(dir, 1000));
    for (hard = 0; hard < 2; hard++)
        for (i = 0; i < sizeof temporary / sizeof temporary[0]; i++) {
            const char *name = path("links/%s", temporary[i]);
            walrec_t *log;
            uint64_t last;
            REQUIRE((hard ? link(precious, name) : symlink(precious, name)) == 0);
            log = log_open(dir, &config);
            last = walrec_last_event_id(log);
            append_range(log, last + 1, last + 3 * SEGMENT_EVENTS);
            CHECK_STATUS(WALREC_OK, walrec_close(log));
            CHECK_U64(digest, file_digest(precious));
        }
    /* Planted while it runs, under names that come next. */
    {
        walrec_t *log = log_open(dir, &config);
        uint64_t last = walrec_last_event_id(log), next = scan_segments(dir).highest + 3;
        REQUIRE(symlink(precious, path("links/FS.%08u.new", (unsigned)next)) == 0);
        /* One of these may be in use just now. */
        if (symlink(precious, path("links/wal_meta.dat.tmp")) != 0)
            CHECK(errno == EEXIST);
        append_range(log, last + 1, last + 6 * SEGMENT_EVENTS);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        CHECK_U64(digest, file_digest(precious));
    }
    /* In the place of what is there: not read, not written. What is no file is damage; but wal_meta.dat then says nothing, as if it were
     * missing. */
    for (i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        int damage = strcmp(kept[i], "wal_meta.dat") != 0;
        uint64_t events = i == 0 ? 2 * SEGMENT_EVENTS : 10;
        char name[8192];
        snprintf(name, sizeof name, "%s", path("kept/%s", kept[i]));
        append_and_close(path("kept"), events);
        snprintf(old, sizeof old, "%s.old", name);
        REQUIRE(rename(name, old) == 0 && symlink(precious, name) == 0);
        held_in_its_place(path("kept"), &config, kept[i], damage);
        CHECK_U64(digest, file_digest(precious));
        REQUIRE(unlink(name) == 0 && mkfifo(name, 0600) == 0);
        held_in_its_place(path("kept"), &config, kept[i], damage);
        REQUIRE(unlink(name) == 0);
        if (is_root && mknod(name, S_IFCHR | 0600, makedev(1, 5)) == 0) {
            held_in_its_place(path("kept"), &config, kept[i], damage);
            REQUIRE(unlink(name) == 0);
        }
        REQUIRE(rename(old, name) == 0);
    }
    log_holds(path("kept"), 1, 2 * SEGMENT_EVENTS + 40);
}

/* A quarantine that leads elsewhere is no place to move anything to. */
static void planted_quarantine(void)
{
    const char *dir = path("moved");
    walrec_config_t config = config_small();
    append_and_close(dir, 2 * SEGMENT_EVENTS);
    REQUIRE(mkdir(path("elsewhere"), 0700) == 0 && symlink(path("elsewhere"), path("moved/quarantine")) == 0);
    REQUIRE(truncate(path("moved/FS.00000001.wal"), 100) == 0);
    config.flags = WALREC_FLAG_SALVAGE;
    NOT_OPENED(dir, &config);
    CHECK(for_each_entry(path("elsewhere"), NULL, NULL) == 0);
    CHECK(exists(path("moved/FS.00000001.wal")));
}

/* ---- second names --------------------------------------------------------- */

static void link_entry(const char *dir, const char *name, void *to)
{
    char from[8192], into[8192];
    struct stat st;
    snprintf(from, sizeof from, "%s/%s", dir, name);
    snprintf(into, sizeof into, "%s/%s", (const char *)to, name);
    REQUIRE(lstat(from, &st) == 0);
    if (S_ISREG(st.st_mode))
        REQUIRE(link(from, into) == 0);
}

static void append_and_die(void *unused)
{
    walrec_config_t config = config_small();
    walrec_t *log = log_open(path("backed-up"), &config);
    uint64_t last = walrec_last_event_id(log);
    (void)unused;
    append_range(log, last + 1, last + 100);
    raise(SIGKILL);
}

/* A backup by hard links of a closed log: it stays as it was, whatever the log does, and the log goes on, kills included. */
static void backup_by_links(void)
{
    const char *dir = path("backed-up"), *backup = path("backup");
    struct heard *h = heard_new();
    walrec_config_t config = config_heard(h);
    uint64_t digest, last;
    walrec_t *log;
    int status;
    append_and_close(dir, SEGMENT_EVENTS + 1000);
    REQUIRE(mkdir(backup, 0700) == 0);
    for_each_entry(dir, link_entry, (void *)(uintptr_t)backup);
    digest = tree_digest(backup);
    log = log_open(dir, &config);
    CHECK_HEARD(h, "a backup by hard link", WALREC_LOG_WARNING);
    last = walrec_last_event_id(log);
    append_range(log, last + 1, last + 100);
    CHECK_STATUS(WALREC_OK, walrec_close(log));
    CHECK_U64(digest, tree_digest(backup));
    status = wait_child(start_child(append_and_die, NULL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    last = append_and_close(dir, 100);
    CHECK_U64(SEGMENT_EVENTS + 1300, last);
    log_holds(dir, 1, last);
    CHECK_U64(digest, tree_digest(backup));
    log_holds(backup, 1, SEGMENT_EVENTS + 1000);
}

/* An unsealed segment with a second name: somebody else could write to it. */
static void second_name_of_an_open_segment(void)
{
    const char *dir = path("backed-up");
    walrec_config_t config = config_small();
    uint64_t index;
    int status = wait_child(start_child(append_and_die, NULL));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* The last with events; empty ones are above it. */
    for (index = scan_segments(dir).highest; index > 0; index--) {
        const char *name = path("backed-up/FS.%08u.wal", (unsigned)index);
        REQUIRE(link(name, path("second")) == 0);
        CHECK_STATUS(WALREC_E_INVALID, NOT_OPENED(dir, &config));
        CHECK_MESSAGE("link");
        REQUIRE(unlink(path("second")) == 0);
        break;
    }
    append_and_close(dir, 100);
}

/* ---- descriptors ---------------------------------------------------------- */

struct inherited {
    long count;
};

static void count_inheritable(const char *dir, const char *name, void *user)
{
    struct inherited *found = user;
    int fd = atoi(name), flags;
    (void)dir;
    if (fd <= 2)
        return;
    flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0)
        found->count++;
}

static long inheritable(void)
{
    struct inherited found = {0};
    for_each_entry("/proc/self/fd", count_inheritable, &found);
    return found.count;
}

struct busy {
    walrec_t *log;
    uint32_t stop;
};

static void *keep_busy(void *argument)
{
    struct busy *b = argument;
    uint64_t id = 0;
    REQUIRE_STATUS(WALREC_OK, walrec_attach_thread(b->log));
    while (!__atomic_load_n(&b->stop, __ATOMIC_ACQUIRE)) {
        append_range(b->log, id + 1, id + 1000);
        id += 1000;
    }
    return NULL;
}

/* Looked at again and again while segments are made, frozen and deleted, and a reader reads. */
static void descriptors(void)
{
    walrec_config_t config = config_small();
    const char *dir = path("descriptors");
    struct busy b = {NULL, 0};
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    pthread_t thread;
    long before = inheritable();
    unsigned i;
    config.max_segments = 2;
    config.max_compressed_segments = 3;
    b.log = log_open(dir, &config);
    REQUIRE(pthread_create(&thread, NULL, keep_busy, &b) == 0);
    for (i = 0; i < 300; i++) {
        CHECK(inheritable() == before);
        if (i % 20 == 0) {
            walrec_reader_close(reader);
            reader = NULL;
            CHECK_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
            walrec_reader_next(reader, &event);
        }
        pause_us(500);
    }
    __atomic_store_n(&b.stop, 1, __ATOMIC_RELEASE);
    REQUIRE(pthread_join(thread, NULL) == 0);
    {
        /* And seen from a program that was started meanwhile: nothing but its own directory stream. */
        pid_t pid = fork();
        if (pid == 0) {
            execl("/proc/self/exe", "trust", check_work, "inherited", (char *)NULL);
            _exit(126);
        }
        CHECK(wait_child(pid) == (int)(before > 100 ? 100 : before) << 8);
    }
    walrec_reader_close(reader);
    CHECK_STATUS(WALREC_OK, walrec_close(b.log));
}

/* ---- under a reader ------------------------------------------------------- */

static void shrinks_under_a_reader(void)
{
    const char *dir = path("shrinks");
    walrec_reader_t *reader = NULL;
    walrec_event_t event;
    walrec_status_t status;
    unsigned frozen;
    for (frozen = 0; frozen < 2; frozen++) {
        walrec_config_t config = config_small();
        const char *name;
        walrec_t *log;
        uint64_t last;
        config.max_segments = frozen ? 2 : WALREC_KEEP_ALL;
        log = log_open(dir, &config);
        last = walrec_last_event_id(log);
        append_range(log, last + 1, last + 6 * SEGMENT_EVENTS);
        CHECK_STATUS(WALREC_OK, walrec_close(log));
        REQUIRE_STATUS(WALREC_OK, walrec_reader_open(dir, 0, 0, &reader));
        REQUIRE_STATUS(WALREC_OK, walrec_reader_next(reader, &event));
        /* A frozen one is read a frame at a time: one that was not begun yet. */
        name = path(frozen ? "shrinks/FS.00000004.wal.lz4" : "shrinks/FS.00000001.wal");
        REQUIRE(exists(name));
        {
            char copy[9000], command[20000];
            snprintf(copy, sizeof copy, "%s.copy", path("shrunk"));
            snprintf(command, sizeof command, "cp '%s' '%s'", name, copy);
            REQUIRE(system(command) == 0);
            REQUIRE(walrec_reader_seek(reader, SEGMENT_EVENTS + 5) == WALREC_OK);
            REQUIRE(truncate(name, 3000) == 0);
            while ((status = walrec_reader_next(reader, &event)) == WALREC_OK) {
            }
            CHECK_STATUS(WALREC_E_CORRUPT, status);
            walrec_reader_close(reader);
            snprintf(command, sizeof command, "cp '%s' '%s'", copy, name);
            REQUIRE(system(command) == 0);
        }
    }
    log_holds(dir, 1, 12 * SEGMENT_EVENTS);
}

/* ---- the one path that is taken from a file -------------------------------- */

static void record_of_another_form(void)
{
    static const char *const forms[] = {"/etc", "../outside", "stage/", "stage/..", "", "/", "/dev/shm/walrec-0", "outside", "./stage"};
    const char *dir = path("record"), *name = path("record/walrec.stage");
    walrec_config_t config = config_small();
    char text[2048], line[600];
    unsigned i;
    FILE *file;
    append_and_close(dir, 100);
    file = fopen(name, "r");
    REQUIRE(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    REQUIRE(mkdir(path("outside"), 0700) == 0);
    write_file(path("outside/slot.000"), "not a slot");
    for (i = 0; i <= sizeof forms / sizeof forms[0]; i++) {
        int good = i == sizeof forms / sizeof forms[0];
        /* "closed", and two identities of 32 digits. */
        snprintf(line, sizeof line, "%.73s%s\n", text, good ? "stage" : forms[i]);
        file = fopen(name, "w");
        REQUIRE(file != NULL && fputs(line, file) >= 0 && fclose(file) == 0);
        if (good) {
            append_and_close(dir, 100);
        } else {
            CHECK_STATUS(WALREC_E_CORRUPT, NOT_OPENED(dir, &config));
            CHECK_MESSAGE("walrec.stage");
        }
    }
    CHECK(exists(path("outside/slot.000")));
    log_holds(dir, 1, 200);
}

int main(int argc, char **argv)
{
    check_begin(argc, argv, 120);
    if (argc > 2)
        return (int)inheritable();
    is_root = geteuid() == 0;
    REQUIRE(chmod(check_work, 0755) == 0);
    umasks();
    own_place("owners");
    REQUIRE(mkdir(path("owners/stages"), 0700) == 0 && (!is_root || chown(path("owners/stages"), NOBODY, NOBODY) == 0));
    CHECK_CHILD(others_directories, NULL);
    another_user();
    planted_links();
    planted_quarantine();
    backup_by_links();
    second_name_of_an_open_segment();
    descriptors();
    shrinks_under_a_reader();
    record_of_another_form();
    return check_end();
}
