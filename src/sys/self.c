/* sys/self.c: see self.h. */
#include "sys/self.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DIR_VARIABLE "TARE_PROGRAM_DIR"
enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static bool fd_is_protected(int fd)
{
    struct statvfs v;
    if (fstatvfs(fd, &v) == 0 && (v.f_flag & ST_RDONLY)) {
        return true;
    }
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & ALL_SEALS) == ALL_SEALS;
}

bool self_is_protected(const char *exe)
{
    CLEANUP_FD int fd = open(exe, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && fd_is_protected(fd);
}

/* A clone of the one file's mount; the host's own mount is not touched. */
static int clone_readonly(int *ret_fd)
{
    struct mount_attr a = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV };
    CLEANUP_FD int fd = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &a, sizeof(a)) < 0) {
        return -errno;
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

static int copy_sealed(int self, int *ret_fd)
{
    struct stat st;
    CLEANUP_FD int fd = memfd_create("tare", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || fstat(self, &st) < 0) {
        return -errno;
    }
    for (off_t at = 0; at < st.st_size;) {
        if (sendfile(fd, self, &at, (size_t)(st.st_size - at)) <= 0) {
            return errno ? -errno : -EIO;
        }
    }
    if (fchmod(fd, 0500) < 0 || fcntl(fd, F_ADD_SEALS, ALL_SEALS) < 0) {
        return -errno;
    }
    *ret_fd = fd_steal(&fd);
    return 0;
}

/* A file of a detached mount has no folder: "/" or a name without one. */
static char *dir_of_exe(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(path, '/');
    return slash && slash > path ? strndup(path, (size_t)(slash - path)) : NULL;
}

char *self_dir(void)
{
    char *dir = dir_of_exe();
    const char *handed = dir ? NULL : secure_getenv(DIR_VARIABLE);
    return handed ? strdup(handed) : dir;
}

int self_protect(char *const *argv, struct err *e)
{
    struct statvfs v;
    if (statvfs("/proc/self/exe", &v) == 0 && (v.f_flag & ST_RDONLY)) {
        return 0;
    }
    CLEANUP_FD int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CLEANUP_FD int fd = -1;
    if (self < 0) {
        return err_sys(e, errno, "open our own program");
    }
    if (fd_is_protected(self)) {
        return 0;
    }
    int r = clone_readonly(&fd);
    if (r < 0 && geteuid() != 0 && faccessat(AT_FDCWD, "/proc/self/exe", W_OK, AT_EACCESS) < 0) {
        return 0; /* somebody else's file: what runs as us cannot write it anyway */
    }
    if (r < 0) {
        r = copy_sealed(self, &fd);
    }
    if (r < 0) {
        return err_sys(e, -r, "protect our own program");
    }
    CLEANUP_FREE char *dir = dir_of_exe();
    if (dir && setenv(DIR_VARIABLE, dir, 1) < 0) {
        return err_oom(e);
    }
    execveat(fd, "", argv, environ, AT_EMPTY_PATH);
    return err_sys(e, errno, "execute our own program again");
}
