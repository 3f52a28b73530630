/* The members of a `data` object that make up an objective, on their own: in reports, which have others beside them. */
#include "api/request_parts.h"
#include "base/memory.h"

/* A row below "/data" that is stored in the objective. mode_tokens, which is an object, is one by its members. */
static bool is_objective(const struct field *field)
{
    size_t begin = offsetof(struct study_spec, training.objective), end = begin + sizeof(struct objective_spec);
    if (field->store != STORE_NONE) return field->offset >= begin && field->offset < end;
    int count;
    const struct field *rows = field_rows(&count);
    for (int i = 0; i < count && field->type == FIELD_OBJECT; i++)
        if (field_is_below(&rows[i], field->pointer) && is_objective(&rows[i])) return true;
    return false;
}

void request_echo_objective(const struct objective_spec *objective, struct buffer *out)
{
    int count;
    const struct field *rows = field_rows(&count);
    struct study_spec *spec = memory_new(sizeof *spec);
    bool first = true;
    if (!spec) {
        out->failed = true;
        return;
    }
    spec->training.objective = *objective;
    for (int i = 0; i < count; i++) {
        if (!field_is_below(&rows[i], "/data") || !is_objective(&rows[i])) continue;
        if (rows[i].shown && !rows[i].shown(spec)) continue;
        json_key(out, &first, field_key(&rows[i]));
        echo_value(&rows[i], spec, out);
    }
    memory_free(spec);
}

/* A copy, not cJSON's reference: that is lost when memory runs short on the way. */
static bool add_copy(cJSON *part, const cJSON *child)
{
    cJSON *copy = cJSON_Duplicate(child, true);
    if (copy && cJSON_AddItemToObject(part, child->string, copy)) return true;
    cJSON_Delete(copy);
    return false;
}

int objective_read(const cJSON *data, struct objective_spec *objective, struct error *error)
{
    struct place place = {0};
    const cJSON *child;
    cJSON *part = cJSON_CreateObject();
    struct study_spec *spec = memory_new(sizeof *spec);
    bool whole = part != NULL && spec != NULL;
    cJSON_ArrayForEach(child, data) {
        const struct field *field = field_find("/data", child->string);
        if (whole && field && is_objective(field)) whole = add_copy(part, child);
    }
    int code = whole ? fields_check(part, "/data", &place, error)
                     : error_set(error, ERROR_NO_MEMORY, "not enough memory to read an objective; try again later");
    if (!code) {
        spec->training.objective = *objective;
        fields_store(part, "/data", spec);
        *objective = spec->training.objective;
    }
    cJSON_Delete(part);
    memory_free(spec);
    return code;
}
