/* Preloaded into a process: its wall clock is off by the nanoseconds (int64) that the file WRONG_CLOCK holds.
 *
 * CLOCK_BOOTTIME and CLOCK_MONOTONIC are those of the machine, and so are the times that the kernel gives to frames.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static int (*real_gettime)(clockid_t, struct timespec *);
static const volatile int64_t *offset_ns;

static void look_up(void)
{
    int fd;
    void *page;
    if (real_gettime != NULL)
        return;
    fd = open(getenv("WRONG_CLOCK"), O_RDONLY | O_CLOEXEC);
    page = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        abort();
    offset_ns = page;
    real_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

static struct timespec wrong_now(void)
{
    struct timespec now;
    int64_t ns;
    look_up();
    real_gettime(CLOCK_REALTIME, &now);
    ns = now.tv_sec * SECOND + now.tv_nsec + *offset_ns;
    now.tv_sec = ns / SECOND;
    now.tv_nsec = ns % SECOND;
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    look_up();
    if (clock != CLOCK_REALTIME)
        return real_gettime(clock, now);
    *now = wrong_now();
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec wrong = wrong_now();
    now->tv_sec = wrong.tv_sec;
    now->tv_usec = wrong.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    time_t wrong = wrong_now().tv_sec;
    if (now != NULL)
        *now = wrong;
    return wrong;
}
