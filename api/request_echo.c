#include "api/request_parts.h"

static void echo_candidates(const struct study_spec *spec, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < spec->candidate_count; i++) {
        const struct spec_candidate *candidate = &spec->candidates[i];
        bool first = true;
        buffer_text(out, i ? ", {" : "{");
        json_key(out, &first, "name");
        buffer_json_string(out, candidate->name);
        json_key(out, &first, "operators");
        growth_list_json(&candidate->operators, out);
        json_key(out, &first, "moments");
        buffer_json_string(out, moments_policy_name(candidate->moments));
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
}

void echo_value(const struct field *field, const struct study_spec *spec, struct buffer *out)
{
    switch (field->type) {
    case FIELD_OBJECT: echo_object(spec, field->pointer, out); return;
    case FIELD_ARRAY: echo_candidates(spec, out); return;
    case FIELD_OPTIMIZER: named_print(&NAMED_OPTIMIZER, &spec->training, out); return;
    case FIELD_SCHEDULE: named_print(&NAMED_SCHEDULE, &spec->training, out); return;
    case FIELD_K:
        if (spec->selection.k_auto) buffer_text(out, "\"auto\"");
        else json_unsigned(out, spec->selection.k);
        return;
    case FIELD_KEEP:
        if (spec->keep == KEEP_TOP) buffer_format(out, "\"top:%d\"", spec->keep_top);
        else buffer_text(out, spec->keep == KEEP_ALL ? "\"all\"" : "\"winner\"");
        return;
    default: field_print(field, spec, out); return;
    }
}

void echo_members(const struct study_spec *spec, const char *pattern, bool *first, struct buffer *out)
{
    int count;
    const struct field *rows = field_rows(&count);
    for (int i = 0; i < count; i++) {
        if (!field_is_below(&rows[i], pattern) || (rows[i].shown && !rows[i].shown(spec))) continue;
        json_key(out, first, field_key(&rows[i]));
        echo_value(&rows[i], spec, out);
    }
}

void echo_object(const struct study_spec *spec, const char *pattern, struct buffer *out)
{
    bool first = true;
    buffer_text(out, "{");
    echo_members(spec, pattern, &first, out);
    buffer_text(out, "}");
}

void request_echo(const struct study_spec *spec, struct buffer *out)
{
    echo_object(spec, "", out);
}
