#include "growth/target.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "growth/stage.h"
#include "model/tensor.h"

static const struct { const char *name; size_t offset, shape_offset; } FIELDS[] = {
#define FIELD(name) {#name, offsetof(struct growth_target, name), offsetof(struct shape, name)}
    [TARGET_WIDTH] = FIELD(width), [TARGET_HEADS] = FIELD(heads),     [TARGET_FF] = FIELD(ff),
    [TARGET_LAYERS] = FIELD(layers), [TARGET_CONTEXT] = FIELD(context),
#undef FIELD
};

static int integer_at(const void *base, size_t offset)
{
    int value;
    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

const char *target_field_name(enum target_field field)
{
    return FIELDS[field].name;
}

int target_wanted(const struct growth_target *target, enum target_field field)
{
    return integer_at(target, FIELDS[field].offset);
}

void target_ask(struct growth_target *target, enum target_field field, int value)
{
    memcpy((char *)target + FIELDS[field].offset, &value, sizeof value);
}

bool target_is_empty(const struct growth_target *target)
{
    for (int field = 0; field < TARGET_FIELD_COUNT; field++)
        if (target_wanted(target, (enum target_field)field) > 0)
            return false;
    return true;
}

int target_present(const struct shape *shape, enum target_field field, bool decoder)
{
    if (field == TARGET_LAYERS && decoder && shape->decoder_layers > 0)
        return shape->decoder_layers;
    return integer_at(shape, FIELDS[field].shape_offset);
}

bool target_field_is_reached(const struct growth_target *target, enum target_field field, const struct shape *shape)
{
    int wanted = target_wanted(target, field);
    return wanted == 0 || (target_present(shape, field, false) == wanted && target_present(shape, field, true) == wanted);
}

static int refuse(enum target_field field, int nearest, struct error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static int refuse(enum target_field field, int nearest, struct error *error, const char *format, ...)
{
    char pointer[32], text[256];
    va_list arguments;
    snprintf(pointer, sizeof pointer, "/%s", target_field_name(field));
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set_at(error, ERROR_INVALID, pointer, "%s (nearest reachable: %d)", text, nearest);
}

/* Growing removes nothing. */
static int check_growth(const struct shape *from, const struct growth_target *target, struct error *error)
{
    bool more = false;
    for (int i = 0; i < TARGET_FIELD_COUNT; i++) {
        enum target_field field = (enum target_field)i;
        int wanted = target_wanted(target, field);
        int there = target_present(from, field, false), decoder = target_present(from, field, true);
        int most = there > decoder ? there : decoder;
        if (wanted > 0 && wanted < most)
            return refuse(field, most, error, "growing never removes anything: %s %d is less than there is",
                          target_field_name(field), wanted);
        more = more || !target_field_is_reached(target, field, from);
    }
    if (!more)
        return error_set_at(error, ERROR_INVALID, "", "the model has all that the target asks for already: ask for more "
                            "of something");
    return 0;
}

/* Where heads fill the width, one follows from the other. */
static int complete_heads(const struct shape *from, struct growth_target *target, struct error *error)
{
    int size = from->head_size, most = GROWTH_WIDTH_MAX / size;
    if (target->width > 0 && target->width % size != 0) {
        int below = target->width / size * size, above = below + size;
        bool up = below < from->width || (above - target->width < target->width - below && above <= GROWTH_WIDTH_MAX);
        return refuse(TARGET_WIDTH, up ? above : below, error, "width must be a multiple of the head size %d, not %d",
                      size, target->width);
    }
    if (target->width == 0 && target->heads > most)
        return refuse(TARGET_HEADS, most, error, "%d heads of size %d are wider than %d", target->heads, size,
                      GROWTH_WIDTH_MAX);
    if (target->width == 0)
        target->width = target->heads * size;
    if (target->heads > 0 && target->heads != target->width / size)
        return refuse(TARGET_HEADS, target->width / size, error, "heads of size %d fill the width %d, so heads can not "
                      "be %d", size, target->width, target->heads);
    target->heads = target->width / size;
    return 0;
}

/* `there` times the growth of the width, where that is whole and possible; else as before. */
static int in_proportion(int there, int times, int limit)
{
    return there <= limit / times ? there * times : 0;
}

static void complete_in_proportion(const struct shape *from, struct growth_target *target)
{
    if (target->width <= from->width || target->width % from->width != 0)
        return;
    int times = target->width / from->width;
    if (target->ff == 0)
        target->ff = in_proportion(from->ff, times, GROWTH_FF_MAX);
    if (target->heads == 0)
        target->heads = in_proportion(from->heads, times, GROWTH_WIDTH_MAX);
}

int target_complete(const struct shape *from, const struct growth_target *target, struct growth_target *complete,
                    struct error *error)
{
    *complete = *target;
    int code = check_growth(from, target, error);
    if (code == 0 && layout_of(from->family)->heads_fill_width)
        code = complete_heads(from, complete, error);
    if (code == 0)
        complete_in_proportion(from, complete);
    return code;
}
