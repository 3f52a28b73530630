/* Do the entries of a header cover the data of the file exactly? */
#include <stdlib.h>

#include "model/safetensors_parse.h"

/* By begin, then end: an empty tensor stands before the one that begins where it does. */
static int compare_ranges(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* `entry` follows `before` (NULL: it is the first), whose range ends at `at`. */
static int check_neighbours(const struct safetensors_entry *before, const struct safetensors_entry *entry, uint64_t at,
                            struct error *error)
{
    if (before != NULL && entry->begin == before->begin && entry->end == before->end && entry->begin != entry->end)
        return error_set_at(error, ERROR_INVALID, entry->name, "\"%.100s\" and \"%.100s\" share one range of the data; "
                            "save every tensor with bytes of its own.", before->name, entry->name);
    if (entry->begin < at)
        return error_set_at(error, ERROR_INVALID, entry->name, "\"%.100s\" overlaps \"%.100s\": it begins at byte %llu "
                            "of the data, before byte %llu.", entry->name, before != NULL ? before->name : "",
                            (unsigned long long)entry->begin, (unsigned long long)at);
    if (entry->begin > at)
        return error_set_at(error, ERROR_INVALID, entry->name, "There is a hole before \"%.100s\": it begins at byte "
                            "%llu of the data, the bytes from %llu belong to no tensor.", entry->name,
                            (unsigned long long)entry->begin, (unsigned long long)at);
    return 0;
}

int safetensors_check_ranges(struct safetensors *file, uint64_t data_bytes, struct error *error)
{
    const struct safetensors_entry *furthest = NULL;
    uint64_t at = 0;
    if (file->count == 0 && data_bytes > 0)
        return error_set(error, ERROR_INVALID, "The header names no tensors, yet %llu bytes of data follow it.",
                         (unsigned long long)data_bytes);
    for (int i = 0; i < file->count; i++)
        if (furthest == NULL || file->entries[i].end > furthest->end)
            furthest = &file->entries[i];
    if (furthest != NULL && furthest->end > data_bytes)
        return error_set_at(error, ERROR_INVALID, furthest->name, "\"%.100s\" ends past the end of the file: %llu "
                            "bytes of data are expected, %llu are there. The file is truncated or its offsets are "
                            "wrong; copy it again.", furthest->name, (unsigned long long)furthest->end,
                            (unsigned long long)data_bytes);
    if (file->count > 1)
        qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_ranges);
    for (int i = 0; i < file->count; i++) {
        int code = check_neighbours(i > 0 ? &file->entries[i - 1] : NULL, &file->entries[i], at, error);
        if (code != 0)
            return code;
        at = file->entries[i].end;
    }
    if (at < data_bytes)
        return error_set(error, ERROR_INVALID, "Trailing bytes: the tensors end at byte %llu of the data, the file has "
                         "%llu.", (unsigned long long)at, (unsigned long long)data_bytes);
    return 0;
}
