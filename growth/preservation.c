/* The measured preservation of a growth: how far the grown model's logits are from its parent's on probe tokens. */
#include "growth/plan.h"

#include <math.h>

#include "base/memory.h"
#include "base/rng.h"
#include "growth/ramps.h"
#include "model/network.h"

enum { PROBE_ROWS = 2, PROBE_POSITIONS = 64 };

static void *upload_weights(const struct checkpoint *checkpoint, const struct kernels *kernels, struct error *error)
{
    size_t slab = checkpoint->table.slab;
    double *wide = NULL;
    void *weights = kernels->alloc(slab * kernels->element);
    if (kernels->element == sizeof(double))
        wide = memory_array(slab, sizeof *wide);
    if (weights == NULL || (kernels->element == sizeof(double) && wide == NULL)) {
        kernels->release(weights);
        memory_free(wide);
        error_set(error, ERROR_NO_MEMORY, "no memory for the weights of the preservation check");
        return NULL;
    }
    for (size_t i = 0; wide != NULL && i < slab; i++)
        wide[i] = (double)checkpoint->weights[i];
    kernels->upload(weights, wide != NULL ? (const void *)wide : checkpoint->weights, slab * kernels->element);
    memory_free(wide);
    return weights;
}

/* Logits (B, T, V) on the host, in the kernel body's element; NULL with the error set. */
static void *probe_logits(const struct checkpoint *checkpoint, const struct kernels *kernels, const struct batch *batch,
                          struct error *error)
{
    size_t count = (size_t)batch->rows * batch->context * checkpoint->table.shape.vocabulary;
    struct network *network = NULL;
    bool masked = batch->masking != NULL;     /* only networks with gradients take masks */
    if (network_new(&network, kernels, &checkpoint->table, batch->rows, batch->context, masked, error) != 0)
        return NULL;
    void *weights = upload_weights(checkpoint, kernels, error);
    void *logits = weights == NULL ? NULL : kernels->alloc(count * kernels->element);
    void *host = logits == NULL ? NULL : memory_array(count, kernels->element);
    if (host != NULL) {
        network_logits(network, weights, batch, logits);
        kernels->download(host, logits, count * kernels->element);
    } else {
        error_set(error, ERROR_NO_MEMORY, "no memory for the logits of the preservation check");
    }
    kernels->release(logits);
    kernels->release(weights);
    network_free(network);
    return host;
}

static double element_at(const void *values, size_t element, size_t i)
{
    return element == sizeof(double) ? ((const double *)values)[i] : (double)((const float *)values)[i];
}

/* max |a - b| / max |a|; NaN if anything is not finite. */
static double relative_difference(const void *a, const void *b, size_t element, size_t count)
{
    double largest = 0, difference = 0;
    for (size_t i = 0; i < count; i++) {
        double x = element_at(a, element, i), y = element_at(b, element, i);
        if (!isfinite(x) || !isfinite(y))
            return NAN;
        largest = fmax(largest, fabs(x));
        difference = fmax(difference, fabs(x - y));
    }
    if (largest == 0)
        return difference == 0 ? 0 : INFINITY;
    return difference / largest;
}

/* Logits of the grown model behind the masks of step 0. */
static void *grown_logits(const struct growth_probe *probe, struct batch *batch, struct error *error)
{
    struct growth_masks masks = {0};
    void *logits = NULL;
    if (growth_masks_init(&masks, &probe->grown->table.shape, probe->kernels, error) != 0)
        return NULL;
    batch->masking = growth_masks_at(&masks, probe->ramps, 0);
    logits = probe_logits(probe->grown, probe->kernels, batch, error);
    growth_masks_fini(&masks);
    return logits;
}

int growth_preservation(const struct checkpoint *parent, const struct checkpoint *grown,
                        const struct kernels *kernels, uint64_t seed, double *preservation, struct error *error)
{
    const struct growth_probe probe = {.parent = parent, .grown = grown, .kernels = kernels, .seed = seed};
    return growth_preservation_masked(&probe, preservation, error);
}

int growth_preservation_masked(const struct growth_probe *probe, double *preservation, struct error *error)
{
    const struct kernels *kernels = probe->kernels;
    const struct shape *a = &probe->parent->table.shape, *b = &probe->grown->table.shape;
    if (a->vocabulary != b->vocabulary)
        return error_set(error, ERROR_INVALID, "parent and grown model have different vocabularies (%d and %d): their "
                         "logits cannot be compared", a->vocabulary, b->vocabulary);
    int context = a->context < b->context ? a->context : b->context;
    int32_t tokens[PROBE_ROWS * PROBE_POSITIONS], targets[PROBE_ROWS * PROBE_POSITIONS];
    int32_t decoder_tokens[PROBE_ROWS * PROBE_POSITIONS];
    struct batch batch = {
        .rows = PROBE_ROWS, .context = context < PROBE_POSITIONS ? context : PROBE_POSITIONS,
        .inputs = tokens, .targets = targets,
    };
    struct rng rng = rng_stream(probe->seed, 0, RNG_PROBE);
    for (int i = 0; i < batch.rows * batch.context; i++) {
        tokens[i] = (int32_t)rng_below(&rng, (uint64_t)a->vocabulary);
        targets[i] = TARGET_IGNORED;
    }
    for (int i = 0; i < batch.rows * batch.context && a->decoder_layers > 0; i++)
        decoder_tokens[i] = (int32_t)rng_below(&rng, (uint64_t)a->vocabulary);
    if (a->decoder_layers > 0) {
        batch.decoder_context = batch.context;
        batch.decoder_inputs = decoder_tokens;
    }
    void *before = probe_logits(probe->parent, kernels, &batch, error);
    void *after = before == NULL ? NULL : grown_logits(probe, &batch, error);
    int code = after == NULL ? error_set(error, ERROR_NO_MEMORY, "the preservation check could not run") : 0;
    if (code == 0)
        *preservation = relative_difference(before, after, kernels->element,
                                            (size_t)batch.rows * batch.context * a->vocabulary);
    memory_free(before);
    memory_free(after);
    return code;
}
