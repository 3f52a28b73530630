#include "trainer/optimizer.h"

#include <math.h>

#include "trainer/scratch.h"

static void *slab_at(const struct trial *trial, void *slab, const struct tensor *tensor)
{
    return (char *)slab + tensor->offset * trial->options.kernels->element;
}

/* AdamW (Loshchilov & Hutter, arXiv 1711.05101). Every tensor has a step counter of its own: moments that start at zero
 * beside old ones need the correction of a first step, else their first update is up to (1 - b1) / sqrt(1 - b2) = 3.16
 * learning rates (methods 6.18). */
static void adamw_update(const struct trial *trial, struct learner *learner, const void *gradients,
                         double gradient_scale, double rate)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    const struct kernels *kernels = trial->options.kernels;
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        if (!role_is_trained(tensor->row->role)) {
            continue;
        }
        const struct tensor_law *law = &trial->laws[i];
        const double steps = (double)++learner->tensor_steps[i];
        const struct adamw_step step = {
            .rate = rate * law->rate,
            .beta1 = spec->beta1,
            .beta2 = spec->beta2,
            .epsilon = spec->epsilon * law->epsilon,
            .decay = tensor->row->rank >= 2 ? spec->weight_decay * law->decay : 0,
            .gradient_scale = gradient_scale,
            .correction1 = 1 - pow(spec->beta1, steps),
            .correction2 = 1 - pow(spec->beta2, steps),
        };
        kernels->adamw(&step, slab_at(trial, learner->weights, tensor), slab_at(trial, learner->state[0], tensor),
                       slab_at(trial, learner->state[1], tensor), (const char *)gradients + tensor->offset * kernels->element,
                       tensor->count);
    }
}

/* SGD with momentum as PyTorch's: the decay is part of the gradient, the buffer holds no rates (Sutskever et al., 2013). */
static void sgd_update(const struct trial *trial, struct learner *learner, const void *gradients, double gradient_scale,
                       double rate)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    const struct kernels *kernels = trial->options.kernels;
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        if (!role_is_trained(tensor->row->role)) {
            continue;
        }
        const struct tensor_law *law = &trial->laws[i];
        const struct sgd_step step = {
            .rate = rate * law->rate,
            .momentum = spec->momentum,
            .decay = tensor->row->rank >= 2 ? spec->weight_decay * law->decay : 0,
            .gradient_scale = gradient_scale,
            .nesterov = spec->nesterov,
        };
        learner->tensor_steps[i]++;
        kernels->sgd(&step, slab_at(trial, learner->weights, tensor), slab_at(trial, learner->state[0], tensor),
                     (const char *)gradients + tensor->offset * kernels->element, tensor->count);
    }
}

/* What the newest iterate counts for in the average: c = w / sum of w, w = (k + 1)^r max(rate)^p, so 1 at first (arXiv
 * 2405.15682, 2.2 of its code); with the decoupling constant C min(1, c (1 - beta) C) (arXiv 2507.09846, Eq. 5). */
static double averaging_weight(struct averaging *averaging, const struct optimizer_spec *spec, double rate)
{
    averaging->rate_maximum = fmax(averaging->rate_maximum, rate);
    averaging->updates++;
    const double weight = pow((double)averaging->updates, spec->r) * pow(averaging->rate_maximum, spec->weight_power);
    averaging->weight_sum += weight;
    if (!(averaging->weight_sum > 0)) {
        return 0;
    }
    const double share = weight / averaging->weight_sum;
    return spec->decoupling > 0 ? fmin(1, share * (1 - optimizer_beta(spec)) * spec->decoupling) : share;
}

/* Schedule-free AdamW and SGD: arXiv 2405.15682, Algorithm 1, as the second version of its code has it (v with bias
 * correction); refined averaging: arXiv 2507.09846. */
static void schedule_free_update(const struct trial *trial, struct learner *learner, const void *gradients,
                                 double gradient_scale, double rate)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    const struct kernels *kernels = trial->options.kernels;
    const bool adaptive = spec->name == OPTIMIZER_SCHEDULE_FREE_ADAMW;
    const double weight = averaging_weight(&learner->averaging, spec, rate);
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        if (!role_is_trained(tensor->row->role)) {
            continue;
        }
        const struct tensor_law *law = &trial->laws[i];
        const double steps = (double)++learner->tensor_steps[i];
        const struct schedule_free_step step = {
            .rate = rate * law->rate,
            .beta = optimizer_beta(spec),
            .decay = tensor->row->rank >= 2 ? spec->weight_decay * law->decay : 0,
            .gradient_scale = gradient_scale,
            .weight = weight,
            .beta2 = spec->beta2,
            .epsilon = spec->epsilon * law->epsilon,
            .correction2 = adaptive ? 1 - pow(spec->beta2, steps) : 1,
            .decay_at_z = spec->decay_at == DECAY_AT_Z,
        };
        kernels->schedule_free(&step, slab_at(trial, learner->weights, tensor), slab_at(trial, learner->state[0], tensor),
                               adaptive ? slab_at(trial, learner->state[1], tensor) : NULL,
                               (const char *)gradients + tensor->offset * kernels->element, tensor->count);
    }
}

static const struct optimizer optimizers[OPTIMIZER_COUNT] = {
    [OPTIMIZER_ADAMW] = {.state_slabs = 2, .parts = {MOMENT_M, MOMENT_V}, .update = adamw_update},
    [OPTIMIZER_SGD] = {.state_slabs = 1, .parts = {MOMENT_MOMENTUM}, .update = sgd_update},
    [OPTIMIZER_SCHEDULE_FREE_ADAMW] = {.state_slabs = 2, .parts = {MOMENT_Z, MOMENT_V}, .schedule_free = true,
                                       .update = schedule_free_update},
    [OPTIMIZER_SCHEDULE_FREE_SGD] = {.state_slabs = 1, .parts = {MOMENT_Z}, .schedule_free = true,
                                     .update = schedule_free_update},
};

const struct optimizer *optimizer_of(enum optimizer_name name)
{
    return (unsigned)name < OPTIMIZER_COUNT && optimizers[name].update != NULL ? &optimizers[name] : NULL;
}

unsigned optimizer_parts(const struct optimizer *optimizer)
{
    unsigned parts = MOMENTS_RAW;
    for (int i = 0; i < optimizer->state_slabs; i++) {
        parts |= MOMENT_BIT(optimizer->parts[i]);
    }
    return parts;
}

const char *optimizer_state_warning(enum optimizer_name name, const struct moments *moments)
{
    const unsigned parts = optimizer_parts(optimizer_of(name)) & ~(unsigned)MOMENTS_RAW;
    if (moments == NULL || (moments_parts(moments) & parts) == parts) {
        return NULL;
    }
    return "the checkpoint's optimizer.safetensors is of another optimizer: its state is left aside, this optimizer starts anew";
}

const void *learner_point(const struct trial *trial, const struct learner *learner, struct scratch *scratch)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    if (!optimizer_of(spec->name)->schedule_free) {
        return learner->weights;
    }
    const struct kernel_ops *ops = trial->options.kernels->ops;
    const double beta = optimizer_beta(spec);
    ops->blend(beta, learner->weights, 0, scratch->point, trial->table.slab);
    ops->blend(1 - beta, learner->state[0], 1, scratch->point, trial->table.slab);
    return scratch->point;
}

const void *learner_second_moment(const struct trial *trial, const struct learner *learner, int tensor, double *correction)
{
    const struct optimizer_spec *spec = &trial->options.training.optimizer;
    const struct optimizer *optimizer = optimizer_of(spec->name);
    for (int i = 0; i < optimizer->state_slabs && learner->tensor_steps[tensor] > 0; i++) {
        if (optimizer->parts[i] == MOMENT_V) {
            *correction = 1 - pow(spec->beta2, (double)learner->tensor_steps[tensor]);
            return slab_at(trial, learner->state[i], &trial->table.tensors[tensor]);
        }
    }
    return NULL;
}
