/* A wall clock that a test may move: preloaded into a process, it adds an offset to it.

   The offset, in nanoseconds, is the first 64 bits of the file that MYNAMO_CLOCK names;
   whoever writes to the file moves the clock at once. As with a real step of the clock,
   monotonic clocks stay as they are, and a wait that ends at a time of the wall clock goes by
   the moved one. Other than with a real step, waits under way keep the end that they had. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000L
#define THIS_CENTURY 1000000000 /* a time of the wall clock, in seconds */

static const volatile int64_t none = 0;
static const volatile int64_t *offset = &none;
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MYNAMO_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *found = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) offset = found;
        close(file);
    }
    real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

static struct timespec moved(struct timespec when, int64_t by) {
    int64_t rest = when.tv_nsec + by % SECOND;
    when.tv_sec += by / SECOND + (rest >= SECOND) - (rest < 0);
    when.tv_nsec = rest + (rest < 0 ? SECOND : 0) - (rest >= SECOND ? SECOND : 0);
    return when;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    /* Other libraries ask before `begin` has run. */
    int failed = real_clock ? real_clock(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        *now = moved(*now, *offset);
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, now) ? base : 0;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict end) {
    /* The condition knows its clock, but where differs from glibc to glibc. The end tells it as
       well: a monotonic clock shows the time since the machine was started. */
    struct timespec real = moved(*end, -*offset);
    if (end->tv_sec < THIS_CENTURY)
        return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, end);
    return pthread_cond_clockwait(condition, mutex, CLOCK_REALTIME, &real);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict end) {
    struct timespec real = moved(*end, -*offset);
    return pthread_mutex_clocklock(mutex, CLOCK_REALTIME, &real);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict end) {
    struct timespec real = moved(*end, -*offset);
    return sem_clockwait(semaphore, CLOCK_REALTIME, &real);
}
