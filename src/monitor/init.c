/* monitor/init.c: see init.h. It keeps no descriptor and touches hardly any memory. */
#include "monitor/init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

_Noreturn void init_main(void)
{
    sigset_t set;
    int signo;
    syscall(SYS_close_range, 0u, ~0u, 0u);
    prctl(PR_SET_NAME, "tare-init");
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_SETMASK, &set, NULL);
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG | __WALL) > 0) {
        }
        if (sigwait(&set, &signo) == 0 && signo != SIGCHLD) {
            _exit(0);
        }
    }
}
