/*
 * Mounts a small disk for a program, and becomes that program: in a mount namespace of its own, so that the mounts end with it, however it
 * ends. Loop devices clear themselves with their mount. Exit status 77: it could not be done here, the reason is printed.
 *
 *   small_disk tmpfs  BYTES DISK PROGRAM [ARGUMENT...]        runs PROGRAM DISK ARGUMENT...; without root in a user namespace
 *   small_disk TYPE   IMAGE DISK PROGRAM [ARGUMENT...]        the same on the file system in IMAGE
 *   small_disk nested TYPE IMAGE OUTER BYTES MKFS DISK PROGRAM [ARGUMENT...]
 *       IMAGE is an ext4, mounted on OUTER; OUTER/image, of BYTES, is made by the words of MKFS into a TYPE, mounted on DISK. Then
 *       PROGRAM DISK disk OUTER ARGUMENT...: freezing OUTER hangs the device under DISK.
 *
 * Not by `mount -o loop`: that asks every loop device there is for its file, and hangs with any that hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_HERE 77

__attribute__((noreturn, format(printf, 1, 2))) static void not_here(const char *format, ...)
{
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf(": %s\n", strerror(error));
    fflush(stdout);
    _exit(NOT_HERE);
}

static void put(const char *name, const char *text)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        not_here("%s", name);
    close(fd);
}

static void enter_namespace(int may_be_user)
{
    uid_t user = geteuid();
    gid_t group = getegid();
    char map[64];
    if (unshare(CLONE_NEWNS) != 0) {
        if (!may_be_user || unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            not_here("no mount namespace can be made");
        put("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", (unsigned)user);
        put("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %u 1", (unsigned)group);
        put("/proc/self/gid_map", map);
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        not_here("the mounts cannot be made private");
}

/* Another process may take the free device first: then the next one. */
static int attach(const char *image, char *device, size_t n)
{
    struct loop_config config;
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int file = open(image, O_RDWR | O_CLOEXEC);
    if (control < 0 || file < 0)
        not_here("a loop device for %s", image);
    for (;;) {
        int number = ioctl(control, LOOP_CTL_GET_FREE), fd;
        if (number < 0)
            not_here("no free loop device");
        snprintf(device, n, "/dev/loop%d", number);
        fd = open(device, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            not_here("%s", device);
        memset(&config, 0, sizeof config);
        config.fd = (unsigned)file;
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            close(file);
            close(control);
            return fd;
        }
        if (errno != EBUSY)
            not_here("%s", device);
        close(fd);
    }
}

static void mount_image(const char *type, const char *image, const char *place)
{
    char device[32];
    int fd = attach(image, device, sizeof device);
    if (mount(device, place, type, MS_NOATIME, NULL) != 0)
        not_here("%s on %s", type, device);
    /* From here on the mount holds the device. */
    close(fd);
}

/* MKFS is words separated by blanks; the image is the last one. */
static void make_file_system(char *words, char *image)
{
    char *arguments[16], *word;
    int count = 0, status;
    pid_t pid = fork();
    if (pid == 0) {
        for (word = strtok(words, " "); word != NULL && count < 14; word = strtok(NULL, " "))
            arguments[count++] = word;
        arguments[count++] = image;
        arguments[count] = NULL;
        if (freopen("/dev/null", "w", stdout) != NULL)
            execvp(arguments[0], arguments);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        not_here("%s", words);
}

int main(int argc, char **argv)
{
    char image[4200], options[64];
    if (argc >= 9 && strcmp(argv[1], "nested") == 0) {
        char *outer = argv[4], *disk = argv[7], *program = argv[8];
        int fd;
        enter_namespace(0);
        mount_image("ext4", argv[3], outer);
        snprintf(image, sizeof image, "%s/image", outer);
        fd = open(image, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t)strtoull(argv[5], NULL, 10)) != 0)
            not_here("%s", image);
        close(fd);
        make_file_system(argv[6], image);
        mount_image(argv[2], image, disk);
        /* argv[5..8] are done with. */
        argv[5] = program;
        argv[6] = disk;
        argv[7] = "disk";
        argv[8] = outer;
        execv(program, argv + 5);
        not_here("%s", program);
    }
    if (argc < 5) {
        fprintf(stderr, "usage: see the comment in small_disk.c\n");
        return 2;
    }
    enter_namespace(strcmp(argv[1], "tmpfs") == 0);
    if (strcmp(argv[1], "tmpfs") == 0) {
        snprintf(options, sizeof options, "size=%s,mode=0700", argv[2]);
        if (mount("walrec-test", argv[3], "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
            not_here("tmpfs on %s", argv[3]);
    } else {
        mount_image(argv[1], argv[2], argv[3]);
    }
    {
        char *disk = argv[3];
        argv[3] = argv[4];
        argv[4] = disk;
        execv(argv[3], argv + 3);
    }
    not_here("%s", argv[3]);
}
