/* What two shapes are compared by: one table of the fields of struct shape. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "model/shape.h"

enum field_kind { FIELD_INTEGER, FIELD_FLAG, FIELD_REAL };

static const struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
} fields[] = {
#define FIELD(kind, name) {#name, kind, offsetof(struct shape, name)}
    FIELD(FIELD_INTEGER, family),           FIELD(FIELD_INTEGER, layers),
    FIELD(FIELD_INTEGER, width),            FIELD(FIELD_INTEGER, heads),
    FIELD(FIELD_INTEGER, kv_heads),         FIELD(FIELD_INTEGER, head_size),
    FIELD(FIELD_INTEGER, ff),               FIELD(FIELD_INTEGER, context),
    FIELD(FIELD_INTEGER, vocabulary),       FIELD(FIELD_FLAG, tied),
    FIELD(FIELD_INTEGER, activation),       FIELD(FIELD_REAL, norm_epsilon),
    FIELD(FIELD_REAL, rope.theta),          FIELD(FIELD_INTEGER, rope.scaling),
    FIELD(FIELD_REAL, rope.factor),         FIELD(FIELD_REAL, rope.low_frequency),
    FIELD(FIELD_REAL, rope.high_frequency), FIELD(FIELD_INTEGER, rope.original_context),
    FIELD(FIELD_FLAG, attention_bias),      FIELD(FIELD_FLAG, mlp_bias),
    FIELD(FIELD_INTEGER, window),           FIELD(FIELD_INTEGER, types),
    FIELD(FIELD_FLAG, pooler),              FIELD(FIELD_FLAG, next_sentence),
    FIELD(FIELD_INTEGER, decoder_layers),   FIELD(FIELD_FLAG, gated),
    FIELD(FIELD_INTEGER, buckets),          FIELD(FIELD_INTEGER, bucket_distance),
    FIELD(FIELD_FLAG, scaled_head),         FIELD(FIELD_INTEGER, experts),
    FIELD(FIELD_INTEGER, top_k),            FIELD(FIELD_REAL, router_aux),
#undef FIELD
};

enum { FIELD_COUNT = sizeof fields / sizeof fields[0] };

static double field_value(const struct field *field, const struct shape *shape)
{
    const char *at = (const char *)shape + field->offset;
    if (field->kind == FIELD_REAL)
        return *(const double *)at;
    return field->kind == FIELD_FLAG ? *(const bool *)at : *(const int *)at;
}

bool shape_difference(const struct shape *a, const struct shape *b, char text[SHAPE_DIFFERENCE_BYTES])
{
    text[0] = '\0';
    for (int i = 0; i < FIELD_COUNT; i++) {
        const struct field *field = &fields[i];
        double left = field_value(field, a), right = field_value(field, b);
        if (left == right)
            continue;
        if (field->offset == offsetof(struct shape, family))
            snprintf(text, SHAPE_DIFFERENCE_BYTES, "the type is %s and %s", family_name(a->family),
                     family_name(b->family));
        else if (field->offset == offsetof(struct shape, activation))
            snprintf(text, SHAPE_DIFFERENCE_BYTES, "the activation is %s and %s", activation_name(a->activation),
                     activation_name(b->activation));
        else
            snprintf(text, SHAPE_DIFFERENCE_BYTES, "%s is %.9g and %.9g", field->name, left, right);
        return true;
    }
    return false;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    char text[SHAPE_DIFFERENCE_BYTES];
    return !shape_difference(a, b, text);
}

/* Fields that are 0 are left out: a field added later changes no text of a shape that does not use it. */
void shape_text(const struct shape *shape, char text[SHAPE_TEXT_BYTES])
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < FIELD_COUNT; i++) {
        double value = field_value(&fields[i], shape);
        if (value != 0)
            used += (size_t)snprintf(text + used, SHAPE_TEXT_BYTES - used, "%s=%a ", fields[i].name, value);
        CHECK(used < SHAPE_TEXT_BYTES);
    }
}
