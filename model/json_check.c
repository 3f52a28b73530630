#include <string.h>

#include "base/memory.h"
#include "model/config.h"
#include "model/json_scan.h"

int json_check(const char *text, size_t length, int depth, struct error *error)
{
    struct json_scan *scan = memory_new(sizeof *scan);
    char *copy = length < SIZE_MAX ? memory_new(length + 1) : NULL;
    int code;
    if (scan == NULL || copy == NULL) {
        code = error_set(error, ERROR_NO_MEMORY, "No memory to check %zu bytes of JSON; try again.", length);
    } else {
        if (length > 0)
            memcpy(copy, text, length);
        code = json_scan_init(scan, copy, length, depth, ERROR_SYNTAX, error);
        scan->bounded_integers = true;
        if (code == 0)
            code = json_skip(scan);
        if (code == 0)
            code = json_scan_finish(scan);
        json_scan_fini(scan);
    }
    memory_free(copy);
    memory_free(scan);
    return code;
}
