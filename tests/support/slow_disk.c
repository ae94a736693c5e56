/* Preloaded into a process: fsync(2) and fdatasync(2) take long for as long as the file that SLOW_DISK names is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void take_long(void)
{
    const char *mark = getenv("SLOW_DISK");
    struct timespec pause = {1, 500000000};
    if (mark != NULL && access(mark, F_OK) == 0)
        nanosleep(&pause, NULL);
}

static int after_a_while(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    take_long();
    return real(fd);
}

int fsync(int fd) { return after_a_while("fsync", fd); }
int fdatasync(int fd) { return after_a_while("fdatasync", fd); }
