/*
 * sys/path.h: paths inside a root that somebody else controls. Nothing here ever follows a symlink out of the root: every step
 * is openat2() with RESOLVE_IN_ROOT, and what comes back is a descriptor to work on, never a name.
 */
#pragma once

#include "base/err.h"

#include <sys/types.h>

/* Opens path as if rootfd were "/": flags as for open(), O_CLOEXEC is added. Magic links are refused. Returns fd or -errno. */
int path_open_in_root(int rootfd, const char *path, int flags, mode_t mode);
/* As above, but the last component must not be a symlink, and ".." may not climb (RESOLVE_BENEATH); for trusted layouts. */
int path_open_beneath(int rootfd, const char *path, int flags, mode_t mode);
/*
 * mkdir -p inside the root, each step by descriptor. *ret_fd is an O_PATH descriptor of the folder. An existing file that is no
 * folder is -ENOTDIR.
 */
MUST_USE int path_make_dirs_in_root(int rootfd, const char *path, mode_t mode, int *ret_fd, struct err *e);
/*
 * The folder that holds the last component, made if need be, and that component's name (a pointer into path or "." ). For mknod,
 * symlink and unlink inside a root.
 */
MUST_USE int path_parent_in_root(int rootfd, const char *path, mode_t mode, int *ret_dirfd, const char **ret_name, struct err *e);
/* An O_PATH descriptor of the mount target: made as a folder or an empty file if it is missing. */
MUST_USE int path_mount_target(int rootfd, const char *path, bool want_dir, int *ret_fd, struct err *e);
/* f_type of the file system that fd is on, 0 on failure. */
long path_fs_type(int fd);
/* "/proc/self/fd/N" for calls that take only names; buf holds at least 32 bytes. Needs a real /proc (see sys/procfs). */
const char *path_of_fd(int fd, char buf[static 32]);
