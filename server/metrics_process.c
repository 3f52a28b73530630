/* process_*: the usual names of Prometheus clients, from proc(5). */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/metrics.h"

/* A small file of /proc, NUL-terminated; false if it can't be read. */
static bool proc_read(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return false;
    got = read(fd, text, room - 1);
    close(fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    return true;
}

static void write_gauge(struct buffer *out, const char *name, const char *type, double value)
{
    buffer_format(out, "# TYPE %s %s\n%s %.17g\n", name, type, name, value);
}

static double boot_seconds(void)
{
    char text[8192];
    const char *line;

    if (!proc_read("/proc/stat", text, sizeof text))
        return 0;
    line = strstr(text, "\nbtime ");
    return line ? strtod(line + 7, NULL) : 0;
}

/* /proc/self/stat: the fields after the command's closing parenthesis, counted as in proc(5) from 3. */
static void write_stat(struct buffer *out)
{
    char text[2048];
    double fields[32] = {0};
    double ticks = (double)sysconf(_SC_CLK_TCK), boot;
    char *cursor;

    if (!proc_read("/proc/self/stat", text, sizeof text) || !(cursor = strrchr(text, ')')) || ticks <= 0)
        return;
    if (strlen(cursor) < 4)
        return;
    cursor += 3;                          /* ") S": the state is a letter */
    for (int field = 4; field < 25; field++)
        fields[field] = strtod(cursor, &cursor);
    write_gauge(out, "process_cpu_seconds_total", "counter", (fields[14] + fields[15]) / ticks);
    write_gauge(out, "process_threads", "gauge", fields[20]);
    write_gauge(out, "process_virtual_memory_bytes", "gauge", fields[23]);
    write_gauge(out, "process_resident_memory_bytes", "gauge", fields[24] * (double)sysconf(_SC_PAGESIZE));
    boot = boot_seconds();
    if (boot > 0)
        write_gauge(out, "process_start_time_seconds", "gauge", boot + fields[22] / ticks);
}

static void write_descriptors(struct buffer *out)
{
    DIR *directory = opendir("/proc/self/fd");
    struct rlimit limit;
    int count = -3;                       /* ".", ".." and the directory's own descriptor */

    if (directory) {
        while (readdir(directory))
            count++;
        closedir(directory);
        write_gauge(out, "process_open_fds", "gauge", count);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        write_gauge(out, "process_max_fds", "gauge", (double)limit.rlim_cur);
}

void metrics_write_process(struct buffer *out)
{
    write_stat(out);
    write_descriptors(out);
}
