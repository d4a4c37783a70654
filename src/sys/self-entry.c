/*
 * sys/self-entry.c: the read-only life of self.h, begun before the C library's. A program linked with `-e self_entry` starts here: if its
 * command is one that becomes a container's process and its file can be written, it executes itself through a read-only clone of the
 * file's mount at once. The first life then costs four system calls and the pages of this file, not the start of a whole static program
 * (relocation, IRELATIVE, TLS, heap). What does not work here is left to self_protect(), which main() calls as well.
 *
 * Nothing is relocated yet and there is no TLS: no globals, no library functions, no stack protector. Only amd64 and arm64 have it.
 */
#include "sys/self.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#if defined(__x86_64__) || defined(__aarch64__)

void self_entry(void);
__attribute__((used)) void self_entry_main(long *stack);

static inline long call5(long n, long a, long b, long c, long d, long f)
{
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = f;
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return r;
#else
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#endif
}

static inline bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

/* As makes_process() of tare-oci: a word anywhere is enough. The systemd driver has to look at its own path first: that is main()'s. */
static inline bool early(char **argv)
{
    bool found = false;
    for (; *argv; argv++) {
        if ((*argv)[0] == '-' && (*argv)[1] == '-' && (*argv)[2] == 's' && (*argv)[3] == 'y') {
            return false;
        }
        found |= same(*argv, "run") || same(*argv, "exec") || same(*argv, "create");
    }
    return found;
}

/* stack: what the kernel put there: argc, argv, NULL, environment, NULL. */
void self_entry_main(long *stack)
{
    char **argv = (char **)(stack + 1), **env = argv + stack[0] + 1;
    struct statfs fs;
    struct mount_attr a;
    if (stack[0] < 1 || !early(argv) || call5(SYS_statfs, (long)"/proc/self/exe", (long)&fs, 0, 0, 0) < 0 || (fs.f_flags & ST_RDONLY)) {
        return;
    }
    a.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV;
    a.attr_clr = a.propagation = a.userns_fd = 0;
    long fd = call5(SYS_open_tree, AT_FDCWD, (long)"/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, 0, 0);
    if (fd < 0) {
        return;
    }
    if (call5(SYS_mount_setattr, fd, (long)"", AT_EMPTY_PATH, (long)&a, sizeof(a)) == 0) {
        call5(SYS_execveat, fd, (long)"", (long)argv, (long)env, AT_EMPTY_PATH);
    }
    call5(SYS_close, fd, 0, 0, 0, 0);
}

#ifdef __x86_64__
__asm__(".text\n.globl self_entry\n.type self_entry,@function\nself_entry:\n"
        "    mov %rsp, %rdi\n    mov %rdx, %rbx\n    mov %rsp, %rbp\n    and $-16, %rsp\n    call self_entry_main\n"
        "    mov %rbp, %rsp\n    mov %rbx, %rdx\n    xor %ebp, %ebp\n    jmp _start\n");
#else
__asm__(".text\n.globl self_entry\n.type self_entry,%function\nself_entry:\n"
        "    mov x19, x0\n    mov x0, sp\n    bl self_entry_main\n    mov x0, x19\n    b _start\n");
#endif
#else
void self_entry(void);
#endif
