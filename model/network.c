#include "model/network.h"

#include <limits.h>

#include "base/check.h"
#include "base/memory.h"
#include "model/block_head.h"
#include "model/network_family.h"

/* One row per family. */
static const struct network_family *const families[] = {
    &network_gpt2, &network_llama, &network_mistral, &network_qwen2, &network_t5, &network_bert,
    &network_mixtral,
};

struct network {
    const struct kernels *kernels;
    const struct network_family *family;
    struct network_sizes sizes;
    const struct tensor_table *table;
    struct head_block head;
    int32_t *selected, *targets;   /* of the positions that predict: which they are, and, behind, their targets */
    bool decoder;                  /* an encoder-decoder: batches have a decoder's side */
    size_t slab;                   /* numbers of the weights */
    size_t half;                   /* bytes from a buffer to its tangent's */
    void *state;                   /* the family's blocks */
    void *product_scratch;         /* of every product */
    void *memory;                  /* backend memory that every buffer lies in */
    void *host;                    /* host memory of the blocks; NULL: they need none */
};

static const struct network_family *network_family_of(enum family family)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (families[i]->family == family)
            return families[i];
    return NULL;
}

static struct network_sizes sizes_resolved(const struct shape *shape, const struct network_sizes *sizes)
{
    struct network_sizes resolved = *sizes;
    if (shape->decoder_layers == 0 || sizes->decoder_context == 0)
        resolved.decoder_context = sizes->context;
    return resolved;
}

/* Enough for what is float's in any network, too. */
static size_t product_scratch_bytes(const struct kernels *kernels, enum product_type type)
{
    size_t own = kernels->ops->product_scratch(type), least = kernels->ops->product_scratch(PRODUCT_F32);
    return own > least ? own : least;
}

/* Everything that lies in backend memory; returns the scratch of products. */
static void *plan_buffers(const struct network_family *family, void *state, struct head_block *head,
                          const struct shape *shape, const struct network_sizes *sizes, struct carve *carve)
{
    void *product_scratch = carve_bytes(carve, product_scratch_bytes(carve->kernels, sizes->product_type));
    head->chunk = head_block_chunk(shape->vocabulary, (size_t)sizes->rows * (size_t)sizes->decoder_context);
    head->logits = carve_numbers(carve, (size_t)head->chunk, (size_t)shape->vocabulary);
    family->plan(state, shape, sizes, carve);
    return product_scratch;
}

static size_t predicting_positions(const struct network_sizes *sizes)
{
    return (size_t)sizes->rows * (size_t)sizes->decoder_context;
}

/* Twice with tangents: half for values, half for their tangents. */
static size_t memory_bytes(const struct network_sizes *sizes, struct carve *carve)
{
    size_t bytes = carve->bytes;
    if (sizes->tangents && __builtin_mul_overflow(carve->bytes, 2, &bytes))
        carve->overflow = true;
    return bytes;
}

static bool sizes_fit(const struct network_sizes *sizes)
{
    return sizes->rows > 0 && sizes->context > 0 && sizes->decoder_context > 0 &&
           sizes->rows <= INT_MAX / sizes->context && sizes->rows <= INT_MAX / sizes->decoder_context;
}

size_t network_sizes_bytes(const struct kernels *kernels, const struct shape *shape, const struct network_sizes *wanted)
{
    const struct network_sizes resolved = sizes_resolved(shape, wanted), *sizes = &resolved;
    const struct network_family *family = network_family_of(shape->family);
    struct carve carve = {.kernels = kernels};
    struct head_block head;
    if (family == NULL || !sizes_fit(sizes))
        return 0;
    size_t host = sizeof(struct network), state = family->state_bytes(shape);
    plan_buffers(family, NULL, &head, shape, sizes, &carve);
    size_t memory = memory_bytes(sizes, &carve);
    host += (size_t)head.chunk * sizeof(double) + 2 * predicting_positions(sizes) * sizeof(int32_t);
    if (carve.overflow || state == 0 || __builtin_add_overflow(host, state, &host) ||
        __builtin_add_overflow(host, carve.host_bytes, &host) || __builtin_add_overflow(host, memory, &host))
        return 0;
    return host;
}

size_t network_bytes(const struct kernels *kernels, const struct shape *shape, int rows, int context, bool gradients)
{
    struct network_sizes sizes = {.rows = rows, .context = context, .gradients = gradients};
    return network_sizes_bytes(kernels, shape, &sizes);
}

static int network_check(const struct tensor_table *table, const struct network_sizes *sizes, struct error *error)
{
    if (!sizes_fit(sizes))
        return error_set(error, ERROR_INVALID,
                         "a batch of %d rows of %d tokens can not be computed; use a smaller batch", sizes->rows,
                         sizes->context);
    int longest = sizes->context > sizes->decoder_context ? sizes->context : sizes->decoder_context;
    if (longest > table->shape.context)
        return error_set(error, ERROR_INVALID,
                         "%d tokens a row are more than the model's %d positions; use a context of at most %d", longest,
                         table->shape.context, table->shape.context);
    if (network_family_of(table->shape.family) == NULL)
        return error_set(error, ERROR_NOT_YET, "models of type %s can not be computed yet; use gpt2",
                         family_name(table->shape.family));
    return 0;
}

static int network_allocate(struct network *network, const struct shape *shape, struct error *error)
{
    struct carve carve = {.kernels = network->kernels};
    plan_buffers(network->family, NULL, &network->head, shape, &network->sizes, &carve);
    size_t state = network->family->state_bytes(shape), memory = memory_bytes(&network->sizes, &carve);
    network->half = carve.bytes;
    if (!carve.overflow && state > 0) {
        network->state = memory_new(state);
        network->head.losses = memory_array((size_t)network->head.chunk, sizeof(double));
        network->selected = memory_array(2 * predicting_positions(&network->sizes), sizeof(int32_t));
        network->memory = network->kernels->alloc(memory);
        if (carve.host_bytes > 0)
            network->host = memory_new(carve.host_bytes);
    }
    if (network->state == NULL || network->head.losses == NULL || network->selected == NULL ||
        network->memory == NULL || (carve.host_bytes > 0 && network->host == NULL))
        return error_set(error, ERROR_NO_MEMORY,
                         "no memory for a network of %zu bytes; use a smaller batch or context, or more memory",
                         memory);
    network->targets = network->selected + predicting_positions(&network->sizes);
    carve = (struct carve){.kernels = network->kernels, .memory = network->memory, .host = network->host};
    network->product_scratch =
        plan_buffers(network->family, network->state, &network->head, shape, &network->sizes, &carve);
    return 0;
}

int network_new_sized(struct network **network, const struct kernels *kernels, const struct tensor_table *table,
                      const struct network_sizes *wanted, struct error *error)
{
    const struct network_sizes resolved = sizes_resolved(&table->shape, wanted), *sizes = &resolved;
    *network = NULL;
    int code = network_check(table, sizes, error);
    if (code != 0)
        return code;
    struct network *new = memory_new(sizeof *new);
    if (new == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a network; use more memory");
    new->kernels = kernels;
    new->family = network_family_of(table->shape.family);
    new->sizes = *sizes;
    new->table = table;
    new->slab = table->slab;
    new->decoder = table->shape.decoder_layers > 0;
    code = network_allocate(new, &table->shape, error);
    if (code != 0) {
        network_free(new);
        return code;
    }
    new->family->bind(new->state, table);
    head_block_bind(&new->head, table);
    *network = new;
    return 0;
}

int network_new(struct network **network, const struct kernels *kernels, const struct tensor_table *table, int rows,
                int context, bool gradients, struct error *error)
{
    struct network_sizes sizes = {.rows = rows, .context = context, .gradients = gradients};
    return network_new_sized(network, kernels, table, &sizes, error);
}

void network_free(struct network *network)
{
    if (network == NULL)
        return;
    if (network->memory != NULL)
        network->kernels->release(network->memory);
    memory_free(network->head.losses);
    memory_free(network->host);
    memory_free(network->selected);
    memory_free(network->state);
    memory_free(network);
}

static struct pass pass_of(const struct network *network, const void *weights, const struct batch *batch)
{
    CHECK(batch->rows > 0 && batch->rows <= network->sizes.rows);
    CHECK(batch->context > 0 && batch->context <= network->sizes.context);
    CHECK(batch->decoder_context >= 0 && batch->decoder_context <= network->sizes.decoder_context);
    CHECK(batch->decoder_context > 0 || !network->decoder);
    CHECK(batch->masking == NULL || network->sizes.gradients);
    return (struct pass){
        .kernels = network->kernels, .batch = batch, .positions = batch->rows * batch->context, .weights = weights,
        .masking = batch->masking,
        .product_type = PRODUCT_F32, .product_scratch = network->product_scratch,
    };
}

/* The pass over the positions that predict: all, or those selected; at least one, which then has no target. */
static struct pass pass_predicting(struct network *network, const struct pass *pass, struct batch *side)
{
    *side = batch_predicting(pass->batch);
    struct pass head = pass_over(pass, side);
    int count = 0;
    for (int i = 0; i < head.positions; i++)
        if (side->targets[i] != TARGET_IGNORED) {
            network->selected[count] = i;
            network->targets[count++] = side->targets[i];
        }
    if (count == head.positions)
        return head;
    if (count == 0) {
        network->selected[0] = 0;
        network->targets[count++] = TARGET_IGNORED;
    }
    head.positions = count;
    head.selected = network->selected;
    side->targets = network->targets;
    return head;
}

/* What the head reads, of the positions of its pass. */
static const void *forward_to_head(const struct network *network, const struct pass *pass, const struct pass *head)
{
    const struct network_family *family = network->family;
    void *hidden = family->forward(network->state, pass);
    if (head->selected != NULL)
        pass_rows_select(pass, hidden, head->selected, head->positions, network->table->shape.width);
    return family->transform != NULL ? family->transform(network->state, head, hidden) : hidden;
}

void network_loss(struct network *network, const void *weights, const struct batch *batch, double *row_losses,
                  int *row_counts)
{
    struct pass pass = pass_of(network, weights, batch);
    struct batch side;
    struct pass head = pass_predicting(network, &pass, &side);
    const void *hidden = forward_to_head(network, &pass, &head);
    head_block_loss(&head, &network->head, hidden, row_losses, row_counts);
}

/* For a pass with gradients: what is added to the mean of the losses weighs as all of them. */
static double mean_scale_of(const struct batch *batch, double scale)
{
    struct batch side = batch_predicting(batch);
    int count = 0;
    for (int i = 0; i < side.rows * side.context; i++)
        count += side.targets[i] != TARGET_IGNORED;
    return scale * count;
}

/* Forward and back; returns the sum of losses. */
static double forward_and_back(struct network *network, const struct pass *pass, double scale)
{
    CHECK(network->sizes.gradients);
    const struct network_family *family = network->family;
    struct batch side;
    struct pass head = pass_predicting(network, pass, &side);
    const void *hidden = forward_to_head(network, pass, &head);
    void *d_hidden = family->hidden_gradient(network->state);
    double loss = head_block_gradient(&head, &network->head, hidden, scale, d_hidden);
    if (family->transform_backward != NULL)
        family->transform_backward(network->state, &head);
    if (head.selected != NULL)
        pass_rows_restore(pass, d_hidden, head.selected, head.positions, side.rows * side.context,
                          network->table->shape.width);
    family->backward(network->state, pass);
    return loss;
}

double network_gradient(struct network *network, const void *weights, const struct batch *batch, double scale,
                        void *gradients)
{
    struct pass pass = pass_of(network, weights, batch);
    pass.product_type = network->sizes.product_type;
    pass.gradients = gradients;
    pass.mean_scale = mean_scale_of(batch, scale);
    return forward_and_back(network, &pass, scale);
}

double network_gradient_first(struct network *network, const void *weights, const struct batch *batch, double scale,
                              void *gradients)
{
    const struct kernels *kernels = network->kernels;
    struct pass pass = pass_of(network, weights, batch);
    pass.product_type = network->sizes.product_type;
    pass.gradients = gradients;
    pass.mean_scale = mean_scale_of(batch, scale);
    pass.first = true;
    for (int i = 0; i < network->table->count; i++) {
        const struct tensor *tensor = &network->table->tensors[i];
        /* an expert that no token chose enters no product */
        if (!shape_row_in_products(tensor->row, &network->table->shape) || tensor->row->presence == PRESENT_EXPERTS)
            kernels->zero(pass_gradient(&pass, tensor->offset), tensor->count);
    }
    return forward_and_back(network, &pass, scale);
}

static void set_direction(const struct network *network, struct pass *pass, const void *direction)
{
    pass->direction = direction;
    pass->slab_bytes = network->slab * network->kernels->element;
    pass->twin_bytes = network->half;
}

double network_hessian_product(struct network *network, const void *weights, const void *direction,
                               const struct batch *batch, double scale, void *product)
{
    struct pass pass = pass_of(network, weights, batch);
    CHECK(network->sizes.tangents);
    pass.gradients = product;
    pass.mean_scale = mean_scale_of(batch, scale);
    set_direction(network, &pass, direction);
    return forward_and_back(network, &pass, scale);
}

void network_jacobian_product(struct network *network, const void *weights, const void *direction,
                              const struct batch *batch, double scale, void *product)
{
    const struct network_family *family = network->family;
    struct pass pass = pass_of(network, weights, batch);
    CHECK(network->sizes.tangents);
    pass.gradients = product;
    struct pass back = pass;
    set_direction(network, &pass, direction);
    struct batch side;
    struct pass head = pass_predicting(network, &pass, &side), head_back = head;
    head_back.direction = NULL;
    const void *hidden = forward_to_head(network, &pass, &head);
    void *d_hidden = family->hidden_gradient(network->state);
    head_block_jacobian(&head, &head_back, &network->head, hidden, scale, d_hidden);
    if (family->transform_backward != NULL)
        family->transform_backward(network->state, &head_back);
    if (head.selected != NULL)
        pass_rows_restore(&back, d_hidden, head.selected, head.positions, side.rows * side.context,
                          network->table->shape.width);
    family->backward(network->state, &back);
}

double network_balance(const struct network *network)
{
    return network->family->balance != NULL ? network->family->balance(network->state) : 0;
}

void network_logits(struct network *network, const void *weights, const struct batch *batch, void *logits)
{
    struct pass pass = pass_of(network, weights, batch);
    struct batch side = batch_predicting(batch);
    struct pass head = pass_over(&pass, &side);
    const void *hidden = forward_to_head(network, &pass, &head);
    head_block_logits(&head, &network->head, hidden, logits);
}
