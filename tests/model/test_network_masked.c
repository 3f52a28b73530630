/* Masked blocks: at share 0 the network without the block, at 1 the network without a mask, to the bit; between them the
 * stream is blended; gradients and Hessian products against differences, for every family. */
#include "tests/model/network_checks.h"
#include "tests/model/network_models.h"

#include "model/masking.h"

static const struct network_sizes sizes = {.rows = ROWS, .context = CONTEXT, .gradients = true, .tangents = true};

enum { BLOCKS = 5 };    /* the most that a model here has */

static int block_count(const struct shape *shape)
{
    return shape->layers + shape->decoder_layers;
}

/* Logits of all predicting positions, as doubles. Caller: memory_free. */
static double *logits_new(struct network_fixture *fixture, size_t *count)
{
    const struct batch *batch = &fixture->batch;
    int context = batch->decoder_inputs != NULL ? batch->decoder_context : batch->context;
    *count = (size_t)batch->rows * (size_t)context * (size_t)fixture->table.shape.vocabulary;
    void *logits = fixture->kernels->alloc(*count * fixture->kernels->element);
    double *out = memory_array(*count, sizeof *out);
    assert_true(logits != NULL && out != NULL);
    network_logits(fixture->network, fixture->weights, &fixture->batch, logits);
    for (size_t i = 0; i < *count; i++)
        out[i] = fixture->kernels->element == sizeof(double) ? ((double *)logits)[i] : (double)((float *)logits)[i];
    fixture->kernels->release(logits);
    return out;
}

static double *logits_masked(struct network_fixture *fixture, const double *shares, size_t *count)
{
    struct masking masking = {.blocks = shares};
    fixture->batch.masking = shares == NULL ? NULL : &masking;
    double *logits = logits_new(fixture, count);
    fixture->batch.masking = NULL;
    return logits;
}

/* ---- share 0 ---- */

/* The model without one block, with the same weights elsewhere. */
static void without_block(const struct network_fixture *deep, const struct model *model, int block,
                          struct network_fixture *shallow)
{
    struct model less = *model;
    size_t element = deep->kernels->element;
    *(block < model->shape.layers ? &less.shape.layers : &less.shape.decoder_layers) -= 1;
    model_init(shallow, deep->kernels, &less, &sizes);
    for (int i = 0, j = 0; i < deep->table.count; i++) {
        const struct tensor *from = &deep->table.tensors[i];
        if (from->layer == block)
            continue;
        const struct tensor *to = &shallow->table.tensors[j++];
        assert_true(from->row == to->row && from->count == to->count);
        memcpy(numbers_at(element, shallow->weights, to->offset), numbers_at(element, deep->weights, from->offset),
               to->count * element);
    }
}

static void check_left_out(const struct kernels *kernels, const struct model *model, int block)
{
    struct network_fixture deep, shallow;
    double shares[BLOCKS] = {1, 1, 1, 1, 1};
    size_t count;
    shares[block] = 0;
    model_init(&deep, kernels, model, &sizes);
    without_block(&deep, model, block, &shallow);
    double *masked = logits_masked(&deep, shares, &count), *expected = logits_new(&shallow, &count);
    double *full = logits_new(&deep, &count);
    assert_memory_equal(masked, expected, count * sizeof *masked);
    assert_true(largest_difference_double(full, expected, count) > 1e-3);
    memory_free(masked), memory_free(expected), memory_free(full);
    fixture_fini(&deep);
    fixture_fini(&shallow);
}

static void a_block_of_share_0_is_not_there_to_the_bit(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int block = 0; block < block_count(&models[i].shape); block++) {
            print_message("  %s, block %d\n", models[i].title, block);
            check_left_out(kernels_ref_float(), &models[i], block);
            check_left_out(kernels_ref_double(), &models[i], block);
            for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
                check_left_out(*form, &models[i], block);
        }
}

/* ---- share 1 ---- */

static void check_whole(const struct kernels *kernels, const struct model *model)
{
    static const double ones[BLOCKS] = {1, 1, 1, 1, 1};
    struct network_fixture plain, masked;
    struct masking masking = {.blocks = ones};
    model_init(&plain, kernels, model, &sizes);
    model_init(&masked, kernels, model, &sizes);
    masked.batch.masking = &masking;
    assert_true(fixture_gradient(&plain, 0.5) == fixture_gradient(&masked, 0.5));
    assert_memory_equal(plain.gradients, masked.gradients, plain.table.slab * kernels->element);
    fixture_fini(&plain);
    fixture_fini(&masked);
}

static void a_share_of_1_is_no_mask_to_the_bit(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        check_whole(kernels_ref_float(), &models[i]);
        check_whole(kernels_cpu(), &models[i]);
    }
}

/* ---- between ---- */

static void set_all(struct network_fixture *fixture, enum role role, double value)
{
    for (int i = 0; i < fixture->table.count; i++)
        for (size_t j = 0; fixture->table.tensors[i].row->role == role && j < fixture->table.tensors[i].count; j++)
            ((double *)fixture->weights)[fixture->table.tensors[i].offset + j] = value;
}

/* Where epsilon is far above the variance, a norm is linear in the stream, and so, behind the last block, are the logits:
 * those of share c must lie between those of 0 and 1. The block itself is not linear. */
static void the_stream_behind_a_block_is_blended(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct model model = models[i];
        struct network_fixture fixture;
        double shares[BLOCKS] = {1, 1, 1, 1, 1};
        int last = block_count(&model.shape) - 1;
        size_t count;
        model.shape.norm_epsilon = 1e10;
        if (model.shape.family == FAMILY_BERT)
            model.shape.activation = ACTIVATION_RELU;      /* of the head's transform: linear behind a large bias */
        model_init(&fixture, kernels_ref_double(), &model, &sizes);
        for (int t = 0; t < fixture.table.count; t++)      /* so that blocks see numbers of size 1 */
            for (size_t j = 0; role_is_gain(fixture.table.tensors[t].row->role) && j < fixture.table.tensors[t].count; j++)
                ((double *)fixture.weights)[fixture.table.tensors[t].offset + j] *= 1e5;
        set_all(&fixture, ROLE_TRANSFORM_BIAS, 100);
        double *ends[2];
        for (int end = 0; end < 2; end++) {
            shares[last] = end;
            ends[end] = logits_masked(&fixture, shares, &count);
        }
        double worst = 0, away = 0;
        for (int tenth = 1; tenth < 10; tenth += 2) {
            shares[last] = tenth / 10.0;
            double *between = logits_masked(&fixture, shares, &count);
            for (size_t j = 0; j < count; j++) {
                double expected = ends[0][j] + shares[last] * (ends[1][j] - ends[0][j]);
                worst = fmax(worst, fabs(between[j] - expected));
                away = fmax(away, fabs(ends[1][j] - ends[0][j]));
            }
            memory_free(between);
        }
        print_message("  %s\n", model.title);
        assert_true(away > 0.1);
        assert_close(worst / away, 1e-6);
        memory_free(ends[0]), memory_free(ends[1]);
        fixture_fini(&fixture);
    }
}

/* ---- gradients ---- */

/* Masks of blocks, of units (every third of each kind), of both. */
static const struct mask_case { const double blocks[BLOCKS]; bool has_blocks, has_units; } CASES[] = {
    {{1, 0, 1, 1, 0}, .has_blocks = true},
    {{0.3, 1, 0.3, 0.3, 1}, .has_blocks = true},
    {{0}, .has_units = true},
    {{0, 0.3, 0, 0.7, 0.3}, .has_blocks = true, .has_units = true},
};
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };

/* Shares 1, 0.3 and 0 by turns, in the body's numbers. Returns their sum. */
static double shares_new(const struct kernels *kernels, int count, int each, const void **out)
{
    static const double turns[] = {1, 0.3, 0};
    void *shares = kernels->alloc((size_t)count * kernels->element);
    double sum = 0;
    assert_non_null(shares);
    for (int i = 0; i < count; i++) {
        double share = turns[i / each % 3];
        sum += kernels->element == sizeof(double) ? share : (double)(float)share;
        if (kernels->element == sizeof(double))
            ((double *)shares)[i] = share;
        else
            ((float *)shares)[i] = (float)share;
    }
    *out = shares;
    return sum;
}

static void mask(struct network_fixture *fixture, const struct mask_case *from, struct masking *masking)
{
    const struct shape *shape = &fixture->table.shape;
    *masking = (struct masking){.blocks = from->has_blocks ? from->blocks : NULL};
    if (from->has_units) {
        masking->stream_sum = shares_new(fixture->kernels, shape->width, 1, &masking->stream);
        shares_new(fixture->kernels, shape->heads * shape->head_size, shape->head_size, &masking->heads);
        shares_new(fixture->kernels, shape->ff, 1, &masking->ff);
    }
    fixture->batch.masking = masking;
}

static void unmask(struct network_fixture *fixture)
{
    const struct masking *masking = fixture->batch.masking;
    fixture->kernels->release((void *)(uintptr_t)masking->stream);
    fixture->kernels->release((void *)(uintptr_t)masking->heads);
    fixture->kernels->release((void *)(uintptr_t)masking->ff);
    fixture_fini(fixture);
}

/* The derivative along one random direction in each tensor (five points), beside the gradient times it. Every entry takes
 * part; entry by entry, as without masks, is half a million passes. */
static void check_along_directions(struct network_fixture *fixture)
{
    static const double weights_of[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12}, places[] = {-2, -1, 1, 2};
    struct difference_case c = {fixture, 0.25};
    double *weights = fixture->weights, *gradients = fixture->gradients, worst = 0;
    fixture_gradient(fixture, c.scale);
    for (int t = 0; t < fixture->table.count; t++) {
        const struct tensor *tensor = &fixture->table.tensors[t];
        double *direction = doubles_new(tensor->count, (uint64_t)(t + 5)), *was = doubles_new(tensor->count, 1);
        double slope = 0, expected = 0, norms[2] = {0, 0};
        for (size_t i = 0; i < tensor->count; i++) {
            double gradient = gradients[tensor->offset + i];
            expected += gradient * direction[i];
            norms[0] += gradient * gradient, norms[1] += direction[i] * direction[i];
        }
        const double step = 4e-4 / sqrt(norms[1]);     /* routes of experts are the same at all five */
        memcpy(was, weights + tensor->offset, tensor->count * sizeof *was);
        for (int point = 0; point < 4; point++) {
            for (size_t i = 0; i < tensor->count; i++)
                weights[tensor->offset + i] = was[i] + places[point] * step * direction[i];
            slope += weights_of[point] * scaled_loss(&c) / step;
        }
        memcpy(weights + tensor->offset, was, tensor->count * sizeof *was);
        double residual = fabs(slope - expected) / (sqrt(norms[0] * norms[1]) + 1e-2);
        if (!(residual <= 3e-8))
            print_error("%s\n", tensor->name);
        worst = fmax(worst, residual);
        memory_free(direction), memory_free(was);
    }
    assert_close(worst, 3e-8);
}

static void gradients_are_those_of_the_masked_forward_pass(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int c = 0; c < CASE_COUNT; c++) {
            struct network_fixture fixture;
            struct masking masking;
            struct model model = models[i];
            model.shape.router_aux = 0;      /* is no part of the losses that differences are taken of */
            if (c == 1 || model.shape.activation == ACTIVATION_RELU)
                continue;                    /* as the last case; differences across its corner */
            print_message("  %s, case %d\n", model.title, c);
            model_init(&fixture, kernels_ref_double(), &model, &sizes);
            mask(&fixture, &CASES[c], &masking);
            check_along_directions(&fixture);
            unmask(&fixture);
        }
}

static void the_cpu_body_agrees_with_the_reference(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
            for (int c = 1; c < CASE_COUNT; c++) {
                struct network_fixture ref, cpu;
                struct masking maskings[2];
                model_init(&ref, kernels_ref_float(), &models[i], &sizes);
                model_init(&cpu, *form, &models[i], &sizes);
                mask(&ref, &CASES[c], &maskings[0]);
                mask(&cpu, &CASES[c], &maskings[1]);
                double expected = fixture_gradient(&ref, 0.01), loss = fixture_gradient(&cpu, 0.01);
                assert_near(loss / expected, 1, 1e-6);
                for (int t = 0; t < ref.table.count; t++) {      /* behind shares of 0 gradients are 0 */
                    const struct tensor *tensor = &ref.table.tensors[t];
                    size_t at = tensor->offset;
                    double scale = tensor_norm(ref.gradients, ref.table.slab);
                    assert_true(largest_difference((float *)cpu.gradients + at, (float *)ref.gradients + at, tensor->count)
                                <= 1e-5 * scale);
                }
                unmask(&ref);
                unmask(&cpu);
            }
}

static void recomputing_gives_the_same_bits(void **state)
{
    struct network_sizes again_sizes = sizes;
    (void)state;
    again_sizes.recompute = true;
    for (int i = 0; i < MODELS; i++)
        for (int c = 0; c < CASE_COUNT; c++) {
            struct network_fixture kept, again;
            struct masking maskings[2];
            model_init(&kept, kernels_cpu(), &models[i], &sizes);
            model_init(&again, kernels_cpu(), &models[i], &again_sizes);
            mask(&kept, &CASES[c], &maskings[0]);
            mask(&again, &CASES[c], &maskings[1]);
            assert_true(fixture_gradient(&kept, 0.5) == fixture_gradient(&again, 0.5));
            assert_memory_equal(kept.gradients, again.gradients, kept.table.slab * sizeof(float));
            unmask(&kept);
            unmask(&again);
        }
}

/* ---- Hessian products ---- */

static void moved_gradient(struct network_fixture *fixture, const double *direction, double step, double *gradient)
{
    double *weights = fixture->weights;
    size_t slab = fixture->table.slab;
    for (size_t i = 0; i < slab; i++)
        weights[i] += step * direction[i];
    fixture_gradient(fixture, 0.25);
    memcpy(gradient, fixture->gradients, slab * sizeof *gradient);
    for (size_t i = 0; i < slab; i++)
        weights[i] -= step * direction[i];
}

/* Largest difference to the product, over its largest number. The cpu body's product is compared as well. */
static double product_error(const struct model *model, const struct mask_case *from)
{
    const double step = 1e-5;
    struct network_fixture fixture;
    struct masking masking;
    model_init(&fixture, kernels_ref_double(), model, &sizes);
    mask(&fixture, from, &masking);
    size_t slab = fixture.table.slab;
    double *direction = doubles_new(slab, 11), *above = doubles_new(slab, 1), *below = doubles_new(slab, 1);
    double *product = fixture.kernels->alloc(slab * sizeof *product), worst = 0, largest = 0;
    assert_non_null(product);
    network_hessian_product(fixture.network, fixture.weights, direction, &fixture.batch, 0.25, product);
    moved_gradient(&fixture, direction, step, above);
    moved_gradient(&fixture, direction, -step, below);
    for (size_t j = 0; j < slab; j++) {
        worst = fmax(worst, fabs((above[j] - below[j]) / (2 * step) - product[j]));
        largest = fmax(largest, fabs(product[j]));
    }
    struct network_fixture cpu;
    struct masking cpu_masking;
    model_init(&cpu, kernels_cpu(), model, &sizes);
    mask(&cpu, from, &cpu_masking);
    float *cpu_direction = cpu.kernels->alloc(slab * sizeof(float)), *cpu_product = cpu.kernels->alloc(slab * sizeof(float));
    double cpu_worst = 0;
    for (size_t j = 0; j < slab; j++)
        cpu_direction[j] = (float)direction[j];
    network_hessian_product(cpu.network, cpu.weights, cpu_direction, &cpu.batch, 0.25, cpu_product);
    for (size_t j = 0; j < slab; j++)
        cpu_worst = fmax(cpu_worst, fabs((double)cpu_product[j] - product[j]));
    assert_close(cpu_worst / largest, 2e-4);
    cpu.kernels->release(cpu_direction);
    cpu.kernels->release(cpu_product);
    unmask(&cpu);
    memory_free(direction), memory_free(above), memory_free(below);
    fixture.kernels->release(product);
    unmask(&fixture);
    return worst / largest;
}

static void hessian_products_are_those_of_the_masked_network(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int c = 1; c < CASE_COUNT; c++) {
            if (models[i].shape.activation == ACTIVATION_RELU)
                continue;
            print_message("  %s, case %d\n", models[i].title, c);
            assert_close(product_error(&models[i], &CASES[c]), 1e-5);
        }
}

TEST_MAIN(
    cmocka_unit_test(a_block_of_share_0_is_not_there_to_the_bit),
    cmocka_unit_test(a_share_of_1_is_no_mask_to_the_bit),
    cmocka_unit_test(the_stream_behind_a_block_is_blended),
    cmocka_unit_test(gradients_are_those_of_the_masked_forward_pass),
    cmocka_unit_test(the_cpu_body_agrees_with_the_reference),
    cmocka_unit_test(recomputing_gives_the_same_bits),
    cmocka_unit_test(hessian_products_are_those_of_the_masked_network)
)
