/* The same by dlopen of the SONAME. */
#include <walrec.h>

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void *handle;

static void resolve(const char *name, void *function)
{
    void *found = dlsym(handle, name);
    memcpy(function, &found, sizeof found);
}

int main(int argc, char **argv)
{
    char dir[4096];
    walrec_status_t (*open_log)(const char *, const walrec_config_t *, walrec_t **);
    walrec_status_t (*append)(walrec_t *, const walrec_event_t *);
    walrec_status_t (*close_log)(walrec_t *);
    uint32_t (*abi)(void);
    walrec_t *log = NULL;
    walrec_event_t event = {0};
    if (argc != 2 || snprintf(dir, sizeof dir, "%s/dl.log", argv[1]) >= (int)sizeof dir)
        return 2;
    handle = dlopen("libwalrec.so.0", RTLD_NOW);
    if (handle == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    resolve("walrec_open", &open_log);
    resolve("walrec_append", &append);
    resolve("walrec_close", &close_log);
    resolve("walrec_abi_version", &abi);
    if (open_log == NULL || append == NULL || close_log == NULL || abi == NULL || abi() != WALREC_ABI_VERSION)
        return 1;
    event.event_id = 1;
    if (open_log(dir, NULL, &log) != WALREC_OK || append(log, &event) != WALREC_OK || close_log(log) != WALREC_OK)
        return 1;
    printf("loaded\n");
    return 0;
}
