/*
 * Says all that its process was given, on one line: fields of NAME=VALUE with a byte 1 before each. As a
 * program it does so once; as a helper (`probe helper`) for each line that it reads. It asks for nothing that
 * changes what it says, and never writes but in one piece.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

static char line[65536];
static size_t used;

static void put(const char *text)
{
    for (; *text && used < sizeof(line) - 2; text++)
        line[used++] = *text == '\n' ? ' ' : *text;
}

static void say(const char *kind, const char *name, const char *value)
{
    put("\001");
    put(kind);
    put(name);
    put("=");
    put(value);
}

static void say_number(const char *name, long value)
{
    char text[32];

    snprintf(text, sizeof(text), "%ld", value);
    say("", name, text);
}

/* Each line of a file in /proc/self; what stands before SEPARATOR is its name. */
static void say_file(const char *kind, const char *path, const char *separator)
{
    char row[4096];
    FILE *in = fopen(path, "re");

    while (in && fgets(row, sizeof(row), in)) {
        char *value = strstr(row, separator);
        row[strcspn(row, "\n")] = '\0';
        if (!value)
            continue;
        *value = '\0';
        say(kind, row, value + strlen(separator));
    }
    if (in)
        fclose(in);
}

static void say_descriptors(void)
{
    char link[320], target[512];
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    while (directory && (entry = readdir(directory))) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        snprintf(link, sizeof(link), "/proc/self/fd/%s", entry->d_name);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        say("fd.", entry->d_name, target);
        snprintf(link, sizeof(link), "flags.%s", entry->d_name);
        say_number(link, fcntl(atoi(entry->d_name), F_GETFL) & O_NONBLOCK);
    }
    if (directory)
        closedir(directory);
}

static void say_signals(void)
{
    struct itimerval timer;
    int death = -1;

    prctl(PR_GET_PDEATHSIG, &death);
    say_number("pdeathsig", death);
    getitimer(ITIMER_REAL, &timer);
    say_number("alarm", timer.it_value.tv_sec || timer.it_value.tv_usec);
}

static void say_place(void)
{
    char directory[4096];

    say("", "cwd", getcwd(directory, sizeof(directory)) ? directory : "?");
    say_number("pid", getpid());
    say_number("pgid", getpgrp());
    say_number("is_session_leader", getsid(0) == getpid());
    say_number("has_terminal", open("/dev/tty", O_RDWR | O_CLOEXEC) >= 0);
    say_number("nice", getpriority(PRIO_PROCESS, 0));
    say_number("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    say_number("timer_slack", prctl(PR_GET_TIMERSLACK));
    say_number("securebits", prctl(PR_GET_SECUREBITS));
    say_number("dumpable", prctl(PR_GET_DUMPABLE));
}

static void sample(void)
{
    char oom[32] = "?";
    FILE *in = fopen("/proc/self/oom_score_adj", "re");

    used = 0;
    put("sample");
    if (in && fgets(oom, sizeof(oom), in))
        oom[strcspn(oom, "\n")] = '\0';
    if (in)
        fclose(in);
    say("", "oom_score_adj", oom);
    for (char **it = environ; *it; it++) {
        put("\001env.");
        put(*it);
    }
    say_descriptors();
    say_file("status.", "/proc/self/status", ":\t");
    say_file("limit.", "/proc/self/limits", "  ");
    say_signals();
    say_place();
    line[used++] = '\n';
    if (write(STDOUT_FILENO, line, used) != (ssize_t)used)
        _exit(1);
}

int main(int argc, char **argv)
{
    char request[256];

    (void)argv;
    if (argc == 1)
        sample();
    else
        while (fgets(request, sizeof(request), stdin))
            sample();
    return 0;
}
