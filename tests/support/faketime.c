/* Preloaded before libfaketime, whose clock_nanosleep(2) turns an absolute monotonic sleep, all that Python's time.sleep()
 * does, into a time before now: EINVAL. This is the kernel's own; with the monotonic clock left alone it is the right one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left)
{
    return syscall(SYS_clock_nanosleep, clock, flags, until, left) == 0 ? 0 : errno;
}
