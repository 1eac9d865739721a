/*
 * Which file a command means, and whether it can be executed, as execve(2) will see it. Runs in whoever loads
 * a configuration, and in the spawner. Nothing is executed.
 */
#ifndef SOCKD_EXEC_PATH_H
#define SOCKD_EXEC_PATH_H

/* PATH where the daemon has none. */
#define EXEC_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * The files that COMMAND may be, in the order in which they are tried: itself when it has a slash, else one
 * for each directory of PATH. NULL-terminated, in new memory, for exec_paths_free(); NULL without memory.
 */
char **exec_paths(const char *command);
void exec_paths_free(char **paths);

#define EXEC_WHY_MAX 512
/*
 * 0; or -errno, and in WHY what is wrong, as in "/bin/cta: No such file or directory"; or 1, and in WHY what
 * is in doubt: whether binfmt_misc knows the file. A COMMAND with a slash that does not begin with one is
 * below DIRECTORY.
 */
int exec_check(const char *command, const char *directory, char why[EXEC_WHY_MAX]);
int exec_check_directory(const char *directory, char why[EXEC_WHY_MAX]);

#endif
