/*
 * Between a process and its disk, by LD_PRELOAD: writes down what is written and synced, and makes the disk fail.
 *
 * FIELDWATCH_DISK_FOLDER  absolute path; files below it are watched, all others are left alone
 * FIELDWATCH_DISK_LOG     where every operation goes, in the order in which it took effect; "" = nowhere
 * FIELDWATCH_DISK_FAULTS  a page (struct faults) that the test changes while the process runs; "" = none
 *
 * A record of the log, little endian: u8 operation, u16 octets of the path, u64 offset, u64 length; the path, relative
 * to the folder; for a write its octets, for a rename the new path. Writes through a mapping are not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, SYNC, CREATE, UNLINK, RENAME, SYNC_FOLDER };

struct faults {
    uint32_t sync_delay_ms;
    uint32_t write_errno;  /* of write, truncate, allocate and creation */
    uint32_t sync_errno;
    uint32_t syncs;        /* begun so far: told to the test */
};

#define MAX_FD 4096
static char *names[MAX_FD]; /* path below the folder of each watched descriptor */
static const char *folder;
static size_t folder_length;
static int log_fd = -1;
static struct faults nothing, *faults = &nothing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

__attribute__((constructor)) static void begin(void)
{
    const char *log = getenv("FIELDWATCH_DISK_LOG"), *page = getenv("FIELDWATCH_DISK_FAULTS");
    folder = getenv("FIELDWATCH_DISK_FOLDER");
    if (folder == NULL || *folder != '/')
        return;
    folder_length = strlen(folder);
    if (log != NULL && *log)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (page != NULL && *page) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC);
        void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (mapped == MAP_FAILED)
            abort();
        faults = mapped;
        close(fd);
    }
}

/* The path below the folder, or NULL for a path that is not watched. */
static const char *below(const char *path)
{
    if (folder == NULL || strncmp(path, folder, folder_length) != 0)
        return NULL;
    if (path[folder_length] == '\0')
        return path + folder_length;
    return path[folder_length] == '/' ? path + folder_length + 1 : NULL;
}

static const char *name_of(int fd)
{
    return fd >= 0 && fd < MAX_FD ? names[fd] : NULL;
}

static void put(const void *octets, size_t length)
{
    while (length > 0) {
        ssize_t done = syscall(SYS_write, log_fd, octets, length);
        if (done < 0)
            abort();
        octets = (const char *)octets + done;
        length -= (size_t)done;
    }
}

/* The caller holds the lock. */
static void note(uint8_t operation, const char *name, uint64_t offset, uint64_t length, const void *octets)
{
    uint8_t head[19];
    uint16_t name_length = (uint16_t)strlen(name);
    if (log_fd < 0)
        return;
    head[0] = operation;
    memcpy(head + 1, &name_length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &length, 8);
    put(head, sizeof head);
    put(name, name_length);
    if (octets != NULL)
        put(octets, length);
}

static int opened(const char *path, int flags, mode_t mode)
{
    const char *name = below(path);
    int created, fd;
    if (name == NULL)
        return REAL(open64)(path, flags, mode);
    pthread_mutex_lock(&lock);
    created = (flags & O_CREAT) != 0 && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    if (created && faults->write_errno) {
        errno = (int)faults->write_errno;
        fd = -1;
    } else {
        fd = REAL(open64)(path, flags, mode);
    }
    if (fd >= 0 && fd < MAX_FD) {
        free(names[fd]);
        names[fd] = strdup(name);
        if (created)
            note(CREATE, name, 0, 0, NULL);
        else if (flags & O_TRUNC)
            note(TRUNCATE, name, 0, 0, NULL);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(symbol)                                      \
    int symbol(const char *path, int flags, ...)          \
    {                                                     \
        mode_t mode = 0;                                  \
        if (flags & (O_CREAT | __O_TMPFILE)) {            \
            va_list more;                                 \
            va_start(more, flags);                        \
            mode = va_arg(more, mode_t);                  \
            va_end(more);                                 \
        }                                                 \
        return opened(path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)

int close(int fd)
{
    if (name_of(fd) != NULL) {
        pthread_mutex_lock(&lock);
        free(names[fd]);
        names[fd] = NULL;
        pthread_mutex_unlock(&lock);
    }
    return REAL(close)(fd);
}

static ssize_t written(int fd, const void *octets, size_t length, off64_t offset)
{
    ssize_t done;
    pthread_mutex_lock(&lock);
    if (faults->write_errno) {
        errno = (int)faults->write_errno;
        done = -1;
    } else {
        if (offset < 0) { /* write(2): where the descriptor stands, or at the end */
            done = (ssize_t)syscall(SYS_write, fd, octets, length);
            offset = lseek64(fd, 0, SEEK_CUR) - (done < 0 ? 0 : done);
        } else {
            done = REAL(pwrite64)(fd, octets, length, offset);
        }
        if (done > 0)
            note(WRITE, names[fd], (uint64_t)offset, (uint64_t)done, octets);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *octets, size_t length)
{
    return name_of(fd) == NULL ? REAL(write)(fd, octets, length) : written(fd, octets, length, -1);
}

ssize_t pwrite(int fd, const void *octets, size_t length, off_t offset)
{
    return name_of(fd) == NULL ? REAL(pwrite)(fd, octets, length, offset) : written(fd, octets, length, offset);
}

ssize_t pwrite64(int fd, const void *octets, size_t length, off64_t offset)
{
    return name_of(fd) == NULL ? REAL(pwrite64)(fd, octets, length, offset) : written(fd, octets, length, offset);
}

static int truncated(int fd, off64_t length)
{
    int result = -1;
    if (name_of(fd) == NULL)
        return REAL(ftruncate64)(fd, length);
    pthread_mutex_lock(&lock);
    if (faults->write_errno) {
        errno = (int)faults->write_errno;
    } else {
        result = REAL(ftruncate64)(fd, length);
        if (result == 0)
            note(TRUNCATE, names[fd], 0, (uint64_t)length, NULL);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

/* The room of an allocation is as durable as the size it gives: a truncation that extends. */
static int allocated(int fd, off64_t offset, off64_t length)
{
    int result;
    if (name_of(fd) == NULL)
        return REAL(posix_fallocate64)(fd, offset, length);
    pthread_mutex_lock(&lock);
    result = faults->write_errno ? (int)faults->write_errno : REAL(posix_fallocate64)(fd, offset, length);
    if (result == 0)
        note(TRUNCATE, names[fd], 0, (uint64_t)(offset + length), NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int posix_fallocate(int fd, off_t offset, off_t length) { return allocated(fd, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return allocated(fd, offset, length); }

/* A sync is durable when it has returned; others go on meanwhile. */
static int synced(int fd, int (*sync)(int))
{
    const char *name = name_of(fd);
    struct stat entry;
    char copy[512];
    uint32_t delay = faults->sync_delay_ms;
    int result;
    if (name == NULL)
        return sync(fd);
    snprintf(copy, sizeof copy, "%s", name);
    __atomic_add_fetch(&faults->syncs, 1, __ATOMIC_SEQ_CST);
    if (delay > 0) {
        struct timespec pause = {delay / 1000, (long)(delay % 1000) * 1000000};
        while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
            ;
    }
    if (faults->sync_errno) {
        errno = (int)faults->sync_errno;
        return -1;
    }
    pthread_mutex_lock(&lock);
    result = sync(fd);
    if (result == 0)
        note(fstat(fd, &entry) == 0 && S_ISDIR(entry.st_mode) ? SYNC_FOLDER : SYNC, copy, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int unlink(const char *path)
{
    const char *name = below(path);
    int result;
    if (name == NULL)
        return REAL(unlink)(path);
    pthread_mutex_lock(&lock);
    result = REAL(unlink)(path);
    if (result == 0)
        note(UNLINK, name, 0, 0, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    const char *old = below(from), *new = below(to);
    int result;
    if (old == NULL || new == NULL)
        return REAL(rename)(from, to);
    pthread_mutex_lock(&lock);
    result = REAL(rename)(from, to);
    if (result == 0)
        note(RENAME, old, 0, strlen(new), new);
    pthread_mutex_unlock(&lock);
    return result;
}
