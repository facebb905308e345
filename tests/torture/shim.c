/* Calls that fail as on a bad disk, for files under one folder, in a process that asks for it.

   Preloaded with LD_PRELOAD; inactive until fault_arm. Of the calls on files under the folder, the
   one with number `nth` fails, and with `lasting` all after it too. `error` is what they set errno
   to; 0 means that writes are short instead: half of the bytes. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long seen, nth;
static int armed, error, lasting;

void fault_arm(const char *where, long number, int code, int on)
{
    strncpy(folder, where, sizeof folder - 1);
    seen = 0, nth = number, error = code, lasting = on, armed = 1;
}

long fault_seen(void) { return seen; }

static int strikes(int fd)
{
    char link[64], path[PATH_MAX];
    if (!armed)
        return 0;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)))
        return 0;
    seen++;
    return seen == nth || (lasting && seen > nth);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITES(name, parameters, call)                  \
    ssize_t name parameters                             \
    {                                                   \
        REAL(name);                                     \
        if (strikes(fd)) {                              \
            if (error) {                                \
                errno = error;                          \
                return -1;                              \
            }                                           \
            size = size > 1 ? size / 2 : size;          \
        }                                               \
        return real call;                               \
    }

#define SYNCS(name, parameters, call)                   \
    int name parameters                                 \
    {                                                   \
        REAL(name);                                     \
        if (strikes(fd) && error) {                     \
            errno = error;                              \
            return -1;                                  \
        }                                               \
        return real call;                               \
    }

WRITES(write, (int fd, const void *data, size_t size), (fd, data, size))
WRITES(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRITES(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
SYNCS(fsync, (int fd), (fd))
SYNCS(fdatasync, (int fd), (fd))
SYNCS(ftruncate, (int fd, off_t size), (fd, size))
SYNCS(ftruncate64, (int fd, off64_t size), (fd, size))
