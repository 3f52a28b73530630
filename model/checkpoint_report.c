/* lag_report.json as far as a checkpoint needs it: how far its weights were trained. */
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"
#include "model/json_scan.h"

static int scan_training(struct json_scan *scan, struct provenance *provenance)
{
    const struct { const char *key; uint64_t *value; } fields[] = {
        {"step", &provenance->step}, {"tokens_seen", &provenance->tokens_seen},
        {"data_cursor", &provenance->data_cursor}, {"seed", &provenance->seed},
    };
    struct json_span key;
    bool more;
    int code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more) {
        bool taken = false;
        for (size_t i = 0; i < sizeof fields / sizeof fields[0] && !taken; i++) {
            if (!json_span_is(key, fields[i].key))
                continue;
            taken = true;
            if (json_take_null(scan))
                continue;
            code = json_u64(scan, fields[i].key, fields[i].value);
            provenance->tokens_seen_known |= code == 0 && fields[i].value == &provenance->tokens_seen;
        }
        if (!taken)
            code = json_skip(scan);
    }
    return code;
}

static int scan_report(struct json_scan *scan, struct provenance *provenance)
{
    struct json_span key;
    bool more;
    int code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more) {
        if (json_span_is(key, "training") && !json_take_null(scan))
            code = scan_training(scan, provenance);
        else if (!json_span_is(key, "training"))
            code = json_skip(scan);
    }
    return code == 0 ? json_scan_finish(scan) : code;
}

static int scan_text(char *text, size_t length, struct provenance *provenance, struct error *error)
{
    struct json_scan *scan = memory_new(sizeof *scan);
    if (scan == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory to read a report; try again.");
    int code = json_scan_init(scan, text, length, JSON_DEPTH_MAX, ERROR_INVALID, error);
    if (code == 0)
        code = scan_report(scan, provenance);
    json_scan_fini(scan);
    memory_free(scan);
    return code;
}

int provenance_read(struct provenance *provenance, const char *directory, struct error *error)
{
    struct provenance read = {0};
    char path[FILE_PATH_BYTES], *text;
    size_t length;
    int code = file_join(path, directory, CHECKPOINT_REPORT_FILE, error);
    if (code != 0 || !file_exists(path))
        return code;
    code = file_read(path, CHECKPOINT_REPORT_LIMIT_BYTES, &text, &length, error);
    if (code != 0)
        return code;
    code = scan_text(text, length, &read, error);
    memory_free(text);
    if (code == 0)
        *provenance = read;
    else if (code == ERROR_INVALID)
        error_wrap(error, "%s (correct or remove it)", path);
    return code;
}
