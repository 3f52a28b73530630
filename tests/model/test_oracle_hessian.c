/* Hessian-vector products of one model of each kind of network against PyTorch's double backward through Hugging Face
 * transformers, float64 (tests/oracle/export_hessian.py). */
#include "tests/model/oracle_checks.h"

#include <string.h>

/* The bounds of a body are those of gradients, but for the floor in float: a key bias has a product of exactly 0, and what
 * a body gives is the rounding of a sum over all tokens of numbers as large as other tensors' products. PyTorch's own
 * double backward in float32 leaves 3e-8 of the largest product there (bert_a), other orders of summing twice that. In
 * double the rest is the fixtures' rounding, and llama's rotary angles. */
static const double float_floor = 4e-7;
static const struct oracle_plan plan = {.in_double = {.gradient = 5e-7, .floor = 1e-8}};
static const char *const models[] = {"gpt2_a", "llama_a", "bert_a", "t5_a", "mixtral_a"};
enum { MODELS = sizeof models / sizeof models[0] };

/* A model with its hessian.safetensors, and a network with tangents. */
struct curvature {
    struct oracle oracle, hessian;     /* the latter: the same checkpoint, other numbers */
    struct subject subject;
    void *direction;                   /* of the body's element */
};

static void direction_read(struct curvature *product)
{
    const struct tensor_table *table = &product->oracle.checkpoint.table;
    const struct kernels *kernels = product->subject.kernels;
    product->direction = kernels->alloc(table->slab * kernels->element);
    assert_non_null(product->direction);
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        float *values = oracle_floats(&product->hessian, tensor->count, "direction.%s", tensor->name);
        for (size_t j = 0; j < tensor->count; j++) {
            if (kernels->element == sizeof(double))
                ((double *)product->direction)[tensor->offset + j] = (double)values[j];
            else
                ((float *)product->direction)[tensor->offset + j] = values[j];
        }
        memory_free(values);
    }
}

static void product_init(struct curvature *product, const struct kernels *kernels, const char *model)
{
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    memset(product, 0, sizeof *product);
    oracle_open(&product->oracle, model);
    product->hessian.checkpoint = product->oracle.checkpoint;
    snprintf(path, sizeof path, "tests/fixtures/oracle/%s/hessian.safetensors", model);
    assert_ok(safetensors_open(&product->hessian.reference, path, 0, &error), &error);
    const char *batch = safetensors_metadata(&product->hessian.reference, "batch");
    assert_non_null(batch);
    subject_init(&product->subject, &product->oracle, batch, kernels, &plan);
    const struct batch *sizes = &product->subject.batch;
    const struct network_sizes with_tangents = {
        .rows = sizes->rows, .context = sizes->context, .decoder_context = sizes->decoder_context, .gradients = true,
        .tangents = true,
    };
    network_free(product->subject.network);
    assert_ok(network_new_sized(&product->subject.network, kernels, &product->oracle.checkpoint.table, &with_tangents,
                                &error), &error);
    direction_read(product);
}

static void product_fini(struct curvature *product)
{
    product->subject.kernels->release(product->direction);
    subject_fini(&product->subject);
    safetensors_close(&product->hessian.reference);
    oracle_close(&product->oracle);
}

/* Each tensor's distance to its reference; returns the largest reference. */
static double measure_product(const struct curvature *product, struct oracle_distance *distances)
{
    const struct tensor_table *table = &product->oracle.checkpoint.table;
    const struct subject *subject = &product->subject;
    double largest = 0;
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        float *reference = oracle_floats(&product->hessian, tensor->count, "product.%s", tensor->name);
        double *actual = oracle_doubles(subject->gradients, subject->kernels->element, tensor->offset, tensor->count);
        distances[i] = oracle_distance(actual, reference, tensor->count);
        largest = fmax(largest, distances[i].reference);
        memory_free(actual);
        memory_free(reference);
    }
    return largest;
}

static void check_product(struct curvature *product)
{
    const struct tensor_table *table = &product->oracle.checkpoint.table;
    const struct subject *subject = &product->subject;
    struct oracle_distance *distances = memory_array((size_t)table->count, sizeof *distances);
    const double scale = 1.0 / counted_positions(&subject->batch);
    assert_non_null(distances);
    double losses = network_hessian_product(subject->network, subject->weights, product->direction, &subject->batch, scale,
                                            subject->gradients);
    char loss[32];
    snprintf(loss, sizeof loss, "%s.loss", subject->batch_name);
    assert_near(losses * scale, oracle_number(&product->oracle, loss, 0), 1e-6);
    double floor = subject->kernels->element == sizeof(double) ? subject->bounds->floor : float_floor;
    double largest = measure_product(product, distances), nearest = 0;
    int at = 0;
    assert_true(largest > 1);
    for (int i = 0; i < table->count; i++) {
        double bound = subject->bounds->gradient * distances[i].reference + floor * largest;
        if (!(distances[i].difference / bound <= nearest)) {
            nearest = distances[i].difference / bound;
            at = i;
        }
    }
    print_message("    %d tensors, nearest to its bound: %s, residual %.3e of %.3e\n", table->count, table->tensors[at].name,
                  distances[at].difference, distances[at].reference);
    assert_close(nearest, 1);
    memory_free(distances);
}

static void check_products(const struct kernels *kernels, const char *label)
{
    for (int i = 0; i < MODELS; i++) {
        struct curvature product;
        product_init(&product, kernels, models[i]);
        print_message("  %s, %s, batch %s\n", label, models[i], product.subject.batch_name);
        check_product(&product);
        product_fini(&product);
    }
}

static void reference_products_in_double_agree_with_double_backward(void **state)
{
    (void)state;
    check_products(kernels_ref_double(), "ref double");
}

static void reference_products_in_float_agree_with_double_backward(void **state)
{
    (void)state;
    check_products(kernels_ref_float(), "ref");
}

static void products_of_every_form_of_the_cpu_kernels_agree_with_double_backward(void **state)
{
    static const char *const forms[] = {"portable", "avx2", "avx512"};
    (void)state;
    check_products(kernels_cpu(), kernels_description(kernels_cpu()));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct kernels *kernels = kernels_cpu_form(forms[i]);
        if (kernels == NULL)
            print_message("  skipped: this processor lacks %s\n", forms[i]);
        else
            check_products(kernels, forms[i]);
    }
}

TEST_MAIN(cmocka_unit_test(reference_products_in_double_agree_with_double_backward),
          cmocka_unit_test(reference_products_in_float_agree_with_double_backward),
          cmocka_unit_test(products_of_every_form_of_the_cpu_kernels_agree_with_double_backward))
