/*
 * pause: the first process of a pod's sandbox.
 *
 * It keeps the namespaces that a pod's containers share open while they come and go. As PID 1 it is also the
 * parent of every process that lost its own, and has to reap them. It ends on SIGTERM and SIGINT.
 *
 * SPDX-License-Identifier: MIT
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    sigset_t awaited;

    if (argc > 1 && strcmp(argv[1], "-v") == 0) {
        puts("pause " VERSION);
        return 0;
    }

    /*
     * The signals stay blocked for good and are taken one by one: no handler, and no moment between looking and
     * sleeping in which one is lost. The kernel drops signals that PID 1 has no handler for, but not blocked ones.
     */
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &awaited, NULL) != 0) {
        perror("pause: sigprocmask");
        return 1;
    }
    if (getpid() != 1)
        fputs("pause: warning: not PID 1, so orphans of this pod will not be reaped here\n", stderr);

    for (;;) {
        /* One SIGCHLD may stand for several children, and some may have ended before it was blocked. */
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
        switch (sigwaitinfo(&awaited, NULL)) {
        case SIGINT:
        case SIGTERM:
            return 0;
        }
    }
}
