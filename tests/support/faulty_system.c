/* A file system that misbehaves, for one process: LD_PRELOAD=faulty_system.so FAULTS=CALL=FAULT,... FAULT_ROOT=FOLDER.

   FAULT is an error number, or one of the words that the functions below compare. Only files under FAULT_ROOT are
   concerned, so that Python itself starts. A call that is not in FAULTS does what it always does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The fault of a call as text, up to a comma; NULL where it has none. */
static const char *fault(const char *call) {
    const char *found = getenv("FAULTS");
    size_t length = strlen(call);
    for (; found && *found; found = strchr(found, ',') ? strchr(found, ',') + 1 : NULL)
        if (!strncmp(found, call, length) && found[length] == '=') return found + length + 1;
    return NULL;
}

static int is(const char *call, const char *word) {
    const char *found = fault(call);
    return found && !strncmp(found, word, strlen(word));
}

static int within(const char *path) {
    const char *root = getenv("FAULT_ROOT");
    return path && root && !strncmp(path, root, strlen(root));
}

static int path_of(int fd, char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int fd_within(int fd) {
    char path[PATH_MAX];
    return path_of(fd, path) && within(path);
}

/* The error number that a call on a path, or on a descriptor, is to fail with; 0 where it is not. */
static int number(const char *call) { return fault(call) ? atoi(fault(call)) : 0; }
static int at(const char *call, const char *path) { return within(path) ? number(call) : 0; }
static int on(const char *call, int fd) { return number(call) && fd_within(fd) ? number(call) : 0; }

static int is_open(const char *path) {
    char other[PATH_MAX];
    for (int fd = 3; fd < 256; fd++)
        if (path_of(fd, other) && !strcmp(other, path)) return 1;
    return 0;
}

#define REFUSE(code) do { int code_ = (code); if (code_) { errno = code_; return -1; } } while (0)

static int is_folder(int fd) {
    struct stat64 status;
    return !REAL(fstat64)(fd, &status) && S_ISDIR(status.st_mode);
}

int fsync(int fd) { REFUSE(on(is_folder(fd) ? "fsync-folder" : "fsync", fd)); return REAL(fsync)(fd); }
int fdatasync(int fd) { REFUSE(on("fdatasync", fd)); return REAL(fdatasync)(fd); }
int flock(int fd, int what) { REFUSE(on("flock", fd)); return REAL(flock)(fd, what); }
int ftruncate64(int fd, off64_t size) { REFUSE(on("ftruncate", fd)); return REAL(ftruncate64)(fd, size); }
int link(const char *from, const char *to) { REFUSE(at("link", from)); return REAL(link)(from, to); }
int chmod(const char *path, mode_t mode) { REFUSE(at("chmod", path)); return REAL(chmod)(path, mode); }
int posix_fadvise64(int fd, off64_t start, off64_t count, int advice) {
    int code = on("fadvise", fd);
    return code ? code : REAL(posix_fadvise64)(fd, start, count, advice);
}

int rename(const char *from, const char *to) {
    REFUSE(at("rename", from));
    if (fault("rename-open") && is_open(from)) REFUSE(at("rename-open", from));
    return REAL(rename)(from, to);
}

int utimensat(int fd, const char *path, const struct timespec times[2], int flags) {
    REFUSE(at("utime", path));
    return REAL(utimensat)(fd, path, times, flags);
}

int statvfs64(const char *path, struct statvfs64 *status) {
    REFUSE(at("statvfs", path));
    int code = REAL(statvfs64)(path, status);
    if (is("statvfs", "zero") && within(path)) memset(status, 0, sizeof *status);
    return code;
}

void *mmap64(void *start, size_t length, int mode, int flags, int fd, off64_t offset) {
    if (fd >= 0 && on("mmap", fd)) { errno = number("mmap"); return MAP_FAILED; }
    return REAL(mmap64)(start, length, mode, flags, fd, offset);
}
void *mmap(void *start, size_t length, int mode, int flags, int fd, off_t offset) {
    return mmap64(start, length, mode, flags, fd, offset);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (flags & O_NOFOLLOW) REFUSE(at("open-nofollow", path));
    if (flags & O_CREAT) REFUSE(at("open-create", path));
    int fd = REAL(open64)(path, flags, mode);
    if (fd >= 0 && fault("open-folder") && within(path) && is_folder(fd)) {
        close(fd);
        REFUSE(number("open-folder"));
    }
    return fd;
}

/* A call that moves bytes: fewer at a time, interrupted every other time, or only until FAULT_AFTER bytes have gone. */
static size_t moved;
static int count_for(const char *call, int fd, size_t *count) {
    if (!fault(call) || !fd_within(fd)) return 0;
    static int turn;
    if (is(call, "short")) *count = *count > 1 ? *count / 2 + *count % 2 : *count;
    if (is(call, "interrupted")) return turn++ % 2 ? 0 : EINTR;
    if (!number(call)) return 0;
    size_t most = getenv("FAULT_AFTER") ? (size_t)atol(getenv("FAULT_AFTER")) : 0;
    if (moved >= most) return number(call);
    moved += *count;
    return 0;
}

ssize_t write(int fd, const void *data, size_t count) {
    REFUSE(count_for("write", fd, &count));
    return REAL(write)(fd, data, count);
}
ssize_t read(int fd, void *data, size_t count) {
    REFUSE(count_for("read", fd, &count));
    return REAL(read)(fd, data, count);
}
ssize_t pread64(int fd, void *data, size_t count, off64_t start) {
    REFUSE(count_for("pread", fd, &count));
    return REAL(pread64)(fd, data, count, start);
}
ssize_t sendfile64(int out, int in, off64_t *start, size_t count) {
    REFUSE(count_for("sendfile", in, &count));
    return REAL(sendfile64)(out, in, start, count);
}
ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags) {
    REFUSE(count_for("copy_file_range", in, &count));
    if (is("copy_file_range", "zeros") && fd_within(in)) {
        /* It moves both files on, and copies nothing. */
        off64_t end = lseek64(in, 0, SEEK_END), begin = lseek64(out, 0, SEEK_END);
        return begin >= end ? 0 : ftruncate(out, end) ? -1 : lseek64(out, 0, SEEK_END) - begin;
    }
    return REAL(copy_file_range)(in, in_at, out, out_at, count, flags);
}

/* What stat says of a file: inode=0, inode=changing (each time another one), mtime=coarse (even seconds, as FAT). */
static int seen(int code, struct stat64 *status, int concerned) {
    static ino_t next = 1;
    if (!code && concerned) {
        if (is("inode", "0")) status->st_ino = 0;
        if (is("inode", "changing")) status->st_ino = next++;
        if (is("mtime", "coarse")) { status->st_mtim.tv_sec &= ~1L; status->st_mtim.tv_nsec = 0; }
    }
    return code;
}
#define STAT_FAULTS (fault("inode") || fault("mtime"))
int fstat64(int fd, struct stat64 *s) { return seen(REAL(fstat64)(fd, s), s, STAT_FAULTS && fd_within(fd)); }
int stat64(const char *path, struct stat64 *s) { return seen(REAL(stat64)(path, s), s, within(path)); }
int lstat64(const char *path, struct stat64 *s) { return seen(REAL(lstat64)(path, s), s, within(path)); }
int fstatat64(int fd, const char *path, struct stat64 *s, int flags) {
    return seen(REAL(fstatat64)(fd, path, s, flags), s, within(path));
}

/* clock=jumping: every look at the wall clock is an hour off, to one side or the other. */
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int turn;
    int code = REAL(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME && is("clock", "jumping")) now->tv_sec += turn++ % 2 ? 3600 : -3600;
    return code;
}

char *getcwd(char *path, size_t size) {
    if (number("getcwd")) { errno = number("getcwd"); return NULL; }
    return REAL(getcwd)(path, size);
}
