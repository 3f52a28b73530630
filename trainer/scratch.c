#include "trainer/scratch.h"

#include <string.h>

#include "base/memory.h"

enum { MICRO_BATCH_TOKENS = 2048 };

int micro_batch_rows(int batch, int context)
{
    const int rows = MICRO_BATCH_TOKENS / context > 0 ? MICRO_BATCH_TOKENS / context : 1;
    return rows < batch ? rows : batch;
}

/* Bytes of one raw window and of the loss sums. */
static size_t buffer_bytes(int rows, int context)
{
    return ((size_t)context + 1) * sizeof(int32_t) + (size_t)rows * (sizeof(double) + sizeof(int));
}

/* The network of a micro-batch: both sides as long as the objective makes them. */
static struct network_sizes network_sizes_of(const struct scratch_sizes *wanted, const struct shape *shape)
{
    const struct objective_sizes sizes = objective_sizes_of(wanted->objective, shape, wanted->context);
    return (struct network_sizes){
        .rows = micro_batch_rows(wanted->batch, wanted->context), .context = sizes.inputs,
        .gradients = wanted->gradients, .recompute = wanted->recompute, .tangents = wanted->tangents,
        .decoder_context = sizes.decoder ? sizes.targets : 0, .product_type = wanted->compute,
    };
}

static struct scratch_sizes training_sizes(const struct training *training)
{
    return (struct scratch_sizes){
        .batch = learners_rows_most(training), .context = training->context, .gradients = true, .recompute = training->recompute,
        .point = optimizer_is_schedule_free(training->optimizer.name),
        .compute = training->compute, .objective = &training->objective,
    };
}

size_t slab_floats(const struct shape *shape)
{
    const struct layout *layout = layout_of(shape->family);
    size_t sum = 0;
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_row *row = &layout->rows[i];
        uint64_t elements, total;
        if (layout_row_elements(row, shape, &elements) != 0 || elements > SIZE_MAX - TENSOR_ALIGN) {
            return 0;
        }
        elements = (elements + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
        if (__builtin_mul_overflow(elements, (uint64_t)layout_row_tensors(row, shape), &total) ||
            __builtin_add_overflow(sum, total, &sum)) {
            return 0;
        }
    }
    return sum;
}

size_t scratch_sized_bytes(const struct kernels *kernels, const struct shape *shape, const struct scratch_sizes *wanted)
{
    const struct network_sizes sizes = network_sizes_of(wanted, shape);
    const size_t network = network_sizes_bytes(kernels, shape, &sizes);
    const size_t masks = growth_masks_bytes(kernels, shape);
    const size_t parts = objective_parts_bytes(wanted->objective, shape, sizes.rows, wanted->context);
    const size_t slabs = wanted->point ? 2 : 1;
    size_t bytes = slab_floats(shape);
    if (network == 0 || bytes == 0 || parts == 0 || memory_multiply(bytes, slabs * kernels->element, &bytes) != 0 ||
        __builtin_add_overflow(bytes, network, &bytes) || __builtin_add_overflow(bytes, parts, &bytes) ||
        __builtin_add_overflow(bytes, masks, &bytes) ||
        __builtin_add_overflow(bytes, buffer_bytes(sizes.rows, wanted->context), &bytes)) {
        return 0;
    }
    return bytes;
}

size_t scratch_bytes(const struct kernels *kernels, const struct shape *shape, const struct training *training)
{
    const struct scratch_sizes sizes = training_sizes(training);
    return scratch_sized_bytes(kernels, shape, &sizes);
}

static bool scratch_buffers(struct scratch *scratch, const struct scratch_sizes *sizes)
{
    const size_t rows = (size_t)scratch->rows, context = (size_t)scratch->context;
    scratch->tokens = memory_array(context + 1, sizeof(int32_t));
    scratch->row_losses = memory_array(rows, sizeof(double));
    scratch->row_counts = memory_array(rows, sizeof(int));
    if (sizes->gradients) {
        scratch->gradients = scratch->kernels->alloc(scratch->table.slab * scratch->kernels->element);
    }
    if (sizes->point) {
        scratch->point = scratch->kernels->alloc(scratch->table.slab * scratch->kernels->element);
    }
    return scratch->tokens != NULL && scratch->row_losses != NULL && scratch->row_counts != NULL &&
           (!sizes->gradients || scratch->gradients != NULL) && (!sizes->point || scratch->point != NULL);
}

int scratch_make(struct scratch **scratch, const struct kernels *kernels, const struct shape *shape,
                 const struct scratch_sizes *sizes, struct error *error)
{
    struct scratch *made = memory_new(sizeof *made);
    *scratch = NULL;
    if (made == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for a worker's scratch.");
    }
    made->kernels = kernels;
    made->batch = sizes->batch;
    made->context = sizes->context;
    made->rows = micro_batch_rows(sizes->batch, sizes->context);
    made->recompute = sizes->recompute;
    made->compute = sizes->compute;
    int status = tensor_table_init(&made->table, shape, error);
    if (status != 0) {
        memory_free(made);
        return status;
    }
    const struct network_sizes network = network_sizes_of(sizes, shape);
    status = network_new_sized(&made->network, kernels, &made->table, &network, error);
    if (status == 0) {
        status = growth_masks_init(&made->masks, shape, kernels, error);
    }
    if (status == 0) {
        status = objective_parts_make(&made->parts, sizes->objective, shape, made->rows, made->context, error);
    }
    if (status == 0 && !scratch_buffers(made, sizes)) {
        status = error_set(error, ERROR_NO_MEMORY, "No memory for a worker's scratch (gradients and token buffers).");
    }
    if (status != 0) {
        scratch_free(made);
        return status;
    }
    *scratch = made;
    return 0;
}

int scratch_new(struct scratch **scratch, const struct kernels *kernels, const struct tensor_table *table,
                const struct training *training, struct error *error)
{
    const struct scratch_sizes sizes = training_sizes(training);
    return scratch_make(scratch, kernels, &table->shape, &sizes, error);
}

void scratch_free(struct scratch *scratch)
{
    if (scratch == NULL) {
        return;
    }
    network_free(scratch->network);
    if (scratch->gradients != NULL) {
        scratch->kernels->release(scratch->gradients);
    }
    if (scratch->point != NULL) {
        scratch->kernels->release(scratch->point);
    }
    growth_masks_fini(&scratch->masks);
    objective_parts_free(&scratch->parts);
    memory_free(scratch->tokens);
    memory_free(scratch->row_losses);
    memory_free(scratch->row_counts);
    tensor_table_fini(&scratch->table);
    memory_free(scratch);
}

bool scratch_fits(const struct scratch *scratch, const struct trial *trial)
{
    const struct training *training = &trial->options.training;
    return scratch->kernels == trial->options.kernels && scratch->gradients != NULL &&
           (scratch->point != NULL || !optimizer_is_schedule_free(training->optimizer.name)) &&
           scratch->batch == learners_rows_most(training) && scratch->context == training->context &&
           scratch->recompute == training->recompute && scratch->compute == training->compute &&
           memcmp(&scratch->parts.spec, &training->objective, sizeof training->objective) == 0 &&
           shape_equal(&scratch->table.shape, &trial->table.shape);
}
