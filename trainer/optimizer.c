#include "trainer/optimizer.h"

#include <math.h>

static void *slab_at(const struct trial *trial, void *slab, const struct tensor *tensor)
{
    return (char *)slab + tensor->offset * trial->options.kernels->element;
}

/* AdamW (Loshchilov & Hutter, arXiv 1711.05101). Every tensor has a step counter of its own: moments that start at zero
 * beside old ones need the correction of a first step, else their first update is up to (1 - b1) / sqrt(1 - b2) = 3.16
 * learning rates (methods 6.18). */
static void adamw_update(struct trial *trial, const void *gradients, double gradient_scale, double rate)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    const struct kernels *kernels = trial->options.kernels;
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        if (!role_is_trained(tensor->row->role)) {
            continue;
        }
        const double steps = (double)++trial->tensor_steps[i];
        const struct adamw_step step = {
            /* a width clone's rule is about matrices inside blocks (methods 4.6) */
            .rate = role_is_hidden(tensor->row->role) ? rate * trial->options.hidden_rate_scale : rate,
            .beta1 = spec->beta1,
            .beta2 = spec->beta2,
            .epsilon = spec->epsilon,
            .decay = tensor->row->rank >= 2 ? spec->weight_decay : 0,
            .gradient_scale = gradient_scale,
            .correction1 = 1 - pow(spec->beta1, steps),
            .correction2 = 1 - pow(spec->beta2, steps),
        };
        kernels->adamw(&step, slab_at(trial, trial->weights, tensor), slab_at(trial, trial->m, tensor),
                       slab_at(trial, trial->v, tensor), (const char *)gradients + tensor->offset * kernels->element,
                       tensor->count);
    }
}

static const struct optimizer optimizers[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = {.state_slabs = 2, .update = adamw_update},
};

const struct optimizer *optimizer_of(enum optimizer_name name)
{
    return (unsigned)name < OPTIMIZER_COUNT && optimizers[name].update != NULL ? &optimizers[name] : NULL;
}
