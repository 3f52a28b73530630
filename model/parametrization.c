#include "model/parametrization.h"

#include <math.h>
#include <string.h>

#define X(code, name, summary, source) [code] = name,
static const char *const names[PARAMETRIZATION_COUNT] = {PARAMETRIZATION_TABLE(X)};
#undef X

const char *parametrization_name(enum parametrization parametrization)
{
    return (unsigned)parametrization < PARAMETRIZATION_COUNT ? names[parametrization] : "unknown";
}

int parametrization_parse(const char *text, enum parametrization *parametrization)
{
    for (int i = 0; i < PARAMETRIZATION_COUNT; i++) {
        if (strcmp(text, names[i]) == 0) {
            *parametrization = (enum parametrization)i;
            return 0;
        }
    }
    return -1;
}

/* Axes that a parametrization knows; vocabulary, positions, types and the number of experts are no widths. */
static double axis_ratio(enum axis axis, const struct shape *base, const struct shape *shape)
{
    switch (axis) {
    case AXIS_WIDTH: case AXIS_HEADS: case AXIS_KV: case AXIS_QKV: case AXIS_FF: case AXIS_HEAD_COUNT:
        return (double)axis_size(axis, shape) / axis_size(axis, base);
    default:
        return 1;
    }
}

static enum tensor_kind kind_of(const struct shape *shape, enum role role)
{
    if (role_is_hidden(role))
        return KIND_HIDDEN;
    if (role == ROLE_HEAD || role == ROLE_ROUTER || role == ROLE_NEXT_SENTENCE)
        return KIND_READOUT;
    return shape->tied && (role == ROLE_FINAL_NORM_GAIN || role == ROLE_FINAL_NORM_BIAS) ? KIND_READOUT : KIND_INPUT;
}

static double depth_ratio(enum stack stack, const struct shape *base, const struct shape *shape)
{
    switch (stack) {
    case STACK_LAYERS:
        return (double)shape->layers / base->layers;
    case STACK_DECODER:
        return base->decoder_layers > 0 ? (double)shape->decoder_layers / base->decoder_layers : 1;
    default:
        return 1;
    }
}

struct tensor_ratios tensor_ratios_of(const struct shape *base, const struct shape *shape, const struct tensor_row *row)
{
    const enum role role = row->role;
    const double width = axis_ratio(AXIS_WIDTH, base, shape);
    struct tensor_ratios ratios = {
        .kind = kind_of(shape, role),
        .in_block = row->stack != STACK_NONE,
        .writes_stream = role == ROLE_ATTENTION_OUT || role == ROLE_ATTENTION_OUT_BIAS || role == ROLE_DOWN ||
                         role == ROLE_DOWN_BIAS,
        .in = 1, .out = 1,
        .depth = depth_ratio(row->stack, base, shape),
        .built_in = 1,
    };
    if (ratios.kind == KIND_READOUT) {
        ratios.in = width;
        ratios.built_in = role != ROLE_ROUTER && shape->scaled_head ? 1 / sqrt(width) : 1;
        return ratios;
    }
    for (int i = 0; i < row->rank; i++) {
        const double ratio = axis_ratio(row->axes[i], base, shape);
        *(i == row->input_axis ? &ratios.in : &ratios.out) *= ratio;
    }
    return ratios;
}

/* CompleteP: alpha = 1. */
static double branch_factor(enum parametrization parametrization, const struct tensor_ratios *ratios)
{
    return parametrization == PARAMETRIZATION_COMPLETEP && ratios->writes_stream ? 1 / ratios->depth : 1;
}

double parametrization_multiplier(enum parametrization parametrization, const struct tensor_ratios *ratios)
{
    switch (parametrization) {
    case PARAMETRIZATION_MUP:
    case PARAMETRIZATION_COMPLETEP:
        if (ratios->kind == KIND_READOUT)
            return 1 / (ratios->in * ratios->built_in);
        return branch_factor(parametrization, ratios);
    case PARAMETRIZATION_NTP:
        return 1 / (sqrt(ratios->in) * ratios->built_in);
    default:
        return 1;
    }
}

double parametrization_deviation(enum parametrization parametrization, const struct tensor_ratios *ratios)
{
    const double multiplier = parametrization_multiplier(parametrization, ratios);
    const bool maximal = parametrization == PARAMETRIZATION_MUP || parametrization == PARAMETRIZATION_COMPLETEP;
    return maximal && ratios->kind == KIND_HIDDEN ? multiplier / sqrt(ratios->in) : multiplier;
}

struct shape parametrization_reference(enum parametrization parametrization, const struct shape *base,
                                       const struct shape *shape)
{
    if (parametrization == PARAMETRIZATION_STANDARD)
        return *shape;
    struct shape reference = *base;
    if (parametrization != PARAMETRIZATION_COMPLETEP) {      /* gpt2's 1/sqrt(2 layers) stays a matter of the model */
        reference.layers = shape->layers;
        reference.decoder_layers = shape->decoder_layers;
    }
    return reference;
}

int parametrization_check(enum parametrization parametrization, const struct shape *base, const struct shape *shape,
                          struct error *error)
{
    if (parametrization == PARAMETRIZATION_STANDARD || base->head_size == shape->head_size)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/parametrization",
                        "%s keeps the head size: the base has %d, this model %d. Widen by more heads instead, or use "
                        "standard.", parametrization_name(parametrization), base->head_size, shape->head_size);
}
