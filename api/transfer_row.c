#include "api/transfer_row.h"

#include <math.h>
#include <string.h>

#include "api/json.h"
#include "api/response_parts.h"

/* What is measured at the end: members of a row that may be null. */
static const struct { const char *name; size_t offset; } measures[] = {
    { "loss", offsetof(struct transfer_run, loss) },
    { "sharpness", offsetof(struct transfer_run, sharpness) },
    { "preconditioned", offsetof(struct transfer_run, preconditioned) },
    { "stability_ratio", offsetof(struct transfer_run, stability_ratio) },
};
enum { MEASURES = sizeof measures / sizeof measures[0] };

void transfer_row_write(struct buffer *out, const struct transfer_row *row, const struct transfer_run *run)
{
    bool first = true;

    buffer_text(out, "{");
    member_text(out, &first, "key", row->key);
    member_text(out, &first, "size", row->size);
    member_number(out, &first, "learning_rate", row->learning_rate);
    member_unsigned(out, &first, "seed", row->seed);
    json_key(out, &first, "diverged");
    buffer_text(out, run->diverged ? "true" : "false");
    for (int i = 0; i < MEASURES; i++)
        member_number(out, &first, measures[i].name, *(const double *)((const char *)run + measures[i].offset));
    json_key(out, &first, "losses");
    buffer_text(out, "[");
    for (int i = 0; !run->diverged && i < row->windows; i++) {
        buffer_text(out, i ? ", " : "");
        json_number(out, (double)run->losses[i]);
    }
    buffer_text(out, "]}\n");
}

static bool read_measure(const cJSON *tree, const char *name, double *value)
{
    const cJSON *node = json_member(tree, name);

    *value = cJSON_IsNumber(node) ? node->valuedouble : (double)NAN;
    return cJSON_IsNumber(node) || cJSON_IsNull(node);
}

static bool read_losses(const cJSON *list, int windows, float *losses)
{
    const cJSON *node;
    int count = 0;

    if (!cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach(node, list) {
        if (count == windows || !cJSON_IsNumber(node))
            return false;
        losses[count++] = (float)node->valuedouble;
    }
    return count == windows;
}

static bool read_row(const cJSON *tree, const struct transfer_row *row, struct transfer_run *run)
{
    const cJSON *key = json_member(tree, "key"), *diverged = json_member(tree, "diverged");

    if (!cJSON_IsString(key) || strcmp(key->valuestring, row->key) != 0 || !cJSON_IsBool(diverged))
        return false;
    run->diverged = cJSON_IsTrue(diverged);
    for (int i = 0; i < MEASURES; i++)
        if (!read_measure(tree, measures[i].name, (double *)((char *)run + measures[i].offset)))
            return false;
    return read_losses(json_member(tree, "losses"), run->diverged ? 0 : row->windows, run->losses)
           && run->diverged == !isfinite(run->loss);
}

int transfer_row_read(const char *text, size_t length, const struct transfer_row *row, struct transfer_run *run,
                      struct error *error)
{
    cJSON *tree = NULL;

    if (json_read_most(text, length, TRANSFER_ROW_BYTES_MAX, &tree, error)) {
        if (error->code == ERROR_SYNTAX || error->code == ERROR_INVALID)
            error->code = ERROR_DAMAGED;
        return (int)error->code;
    }
    if (!read_row(tree, row, run))
        error_set(error, ERROR_DAMAGED, "it is no row of this run");
    cJSON_Delete(tree);
    return (int)error->code;
}
