#include "trainer/law.h"

#include <math.h>

/* Does the optimizer divide by the size of gradients? */
static bool optimizer_is_adaptive(enum optimizer_name optimizer)
{
    return optimizer == OPTIMIZER_ADAMW || optimizer == OPTIMIZER_SCHEDULE_FREE_ADAMW;
}

/* The rate of w over the base's (methods 4.4, 4.5). ntp keeps it. */
static double parameter_rate(const struct law_options *options, const struct tensor_ratios *ratios)
{
    if (options->parametrization == PARAMETRIZATION_NTP) {
        return 1;
    }
    if (optimizer_is_adaptive(options->optimizer)) {
        return ratios->kind == KIND_HIDDEN ? 1 / ratios->in : 1;     /* completep: depth^(alpha - 1) = 1 */
    }
    const double width = ratios->kind == KIND_READOUT ? ratios->in : ratios->out / ratios->in;
    /* A gradient falls as 1/depth with the branch's factor and an adaptive step does not: depth^(2 alpha - 1). */
    return options->parametrization == PARAMETRIZATION_COMPLETEP && ratios->in_block ? width * ratios->depth : width;
}

/* Epsilon of w follows the size of its gradient: 1/width, in branches 1/depth (CompleteP, table 1). */
static double parameter_epsilon(const struct law_options *options, const struct tensor_ratios *ratios)
{
    if (options->parametrization == PARAMETRIZATION_NTP) {
        return 1;
    }
    const double width = ratios->kind == KIND_READOUT ? ratios->in : ratios->out;
    const bool shrinks = options->parametrization == PARAMETRIZATION_COMPLETEP && ratios->in_block;
    return shrinks ? 1 / (width * ratios->depth) : 1 / width;
}

static struct tensor_law law_of(const struct law_options *options, const struct tensor_ratios *ratios)
{
    const double a = parametrization_multiplier(options->parametrization, ratios);
    const double rate = parameter_rate(options, ratios);
    struct tensor_law law = {.rate = a * a * rate, .epsilon = 1, .gradient = a};
    if (optimizer_is_adaptive(options->optimizer)) {
        law.rate = a * rate;
        law.epsilon = parameter_epsilon(options, ratios) / a;
    }
    law.decay = 1 / law.rate;
    return law;
}

static struct tensor_law standard_law(const struct law_options *options, enum role role)
{
    /* a width clone's rule is about matrices inside blocks (methods 4.6) */
    return (struct tensor_law){role_is_hidden(role) ? options->hidden_rate_scale : 1, 1, 1, 1};
}

struct tensor_law law_of_row(const struct law_options *options, const struct shape *shape, const struct tensor_row *row)
{
    if (options->parametrization == PARAMETRIZATION_STANDARD) {
        return standard_law(options, row->role);
    }
    const struct tensor_ratios ratios = tensor_ratios_of(options->base.width > 0 ? &options->base : shape, shape, row);
    return law_of(options, &ratios);
}

int laws_fill(const struct tensor_table *table, const struct law_options *options, struct tensor_law *laws,
              struct error *error)
{
    const bool standard = options->parametrization == PARAMETRIZATION_STANDARD;
    const struct shape *base = options->base.width > 0 ? &options->base : &table->shape;
    if (!(options->hidden_rate_scale > 0 && isfinite(options->hidden_rate_scale))) {
        return error_set(error, ERROR_INVALID, "The scale of the hidden learning rates must be a positive number.");
    }
    if (!standard && options->hidden_rate_scale != 1) {
        return error_set_at(error, ERROR_INVALID, "/width_learning_rate", "%s scales the hidden learning rates itself.",
                            parametrization_name(options->parametrization));
    }
    int status = parametrization_check(options->parametrization, base, &table->shape, error);
    if (status != 0) {
        return status;
    }
    for (int i = 0; i < table->count; i++) {
        laws[i] = law_of_row(options, &table->shape, table->tensors[i].row);
    }
    return 0;
}

bool laws_are_one(const struct tensor_law *laws, int count)
{
    for (int i = 0; i < count; i++) {
        if (laws[i].rate != 1 || laws[i].decay != 1 || laws[i].epsilon != 1 || laws[i].gradient != 1) {
            return false;
        }
    }
    return true;
}
