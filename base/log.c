#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"

enum { MESSAGE_BYTES = 2048 };

static const char *const level_words[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARNING] = "warning", [LOG_ERROR] = "error"};

static struct {
    int fd;
    enum log_level least;
    bool json;
    struct clock *clock;
} target = {.fd = 2, .least = LOG_INFO};

void log_setup(int fd, enum log_level least, bool json, struct clock *clock)
{
    target.fd = fd;
    target.least = least;
    target.json = json;
    target.clock = clock;
}

/* One more `"name":"value"` of a JSON line, or ` name="value"` of a text line. */
static void append_field(struct buffer *line, const char *name, const char *value)
{
    if (!value)
        return;
    buffer_format(line, target.json ? ",\"%s\":" : " %s=", name);
    buffer_json_string(line, value);
}

static void append_line(struct buffer *line, enum log_level level, const struct log_fields *fields,
                        const char *timestamp, const char *message)
{
    if (target.json) {
        buffer_format(line, "{\"ts\":\"%s\",\"level\":\"%s\"", timestamp, level_words[level]);
        append_field(line, "msg", message);
    } else {
        buffer_format(line, "%s %-7s ", timestamp, level_words[level]);
        buffer_json_escaped(line, message);
    }
    if (fields) {
        append_field(line, "request_id", fields->request_id);
        append_field(line, "study", fields->study);
        append_field(line, "candidate", fields->candidate);
    }
    if (fields && fields->error) {
        char text[ERROR_MESSAGE_BYTES + 32];
        snprintf(text, sizeof text, "%s: %s", error_word(fields->error->code), fields->error->message);
        append_field(line, "error", text);
    }
    buffer_text(line, target.json ? "}\n" : "\n");
}

/* One write(2) for the whole line, so that lines of several threads don't mix. A log that can't be written (closed
 * terminal, full disk) must not stop the work: the line is lost. */
static void write_line(const char *bytes, size_t length)
{
    while (write(target.fd, bytes, length) < 0 && errno == EINTR)
        ;
}

void log_write(enum log_level level, const struct log_fields *fields, const char *format, ...)
{
    if (level < target.least)
        return;
    int saved_errno = errno;
    char message[MESSAGE_BYTES], timestamp[CLOCK_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    struct clock fallback = clock_system();
    struct clock *clock = target.clock ? target.clock : &fallback;
    clock_format(clock->wall_ms(clock), timestamp);

    struct buffer line;
    buffer_init(&line);
    append_line(&line, level, fields, timestamp, message);
    if (line.failed) {
        static const char lost[] = "{\"level\":\"error\",\"msg\":\"a log line was lost: out of memory\"}\n";
        write_line(lost, sizeof lost - 1);
    } else {
        write_line(line.data, line.length);
    }
    buffer_fini(&line);
    errno = saved_errno;
}
