/* The mixtral network: gradients with the load-balance loss against central differences in double, the cpu body against
 * the reference, the balance against plain loops, and every way that positions may spread over experts. */
#include "tests/model/network_checks.h"
#include "tests/model/numbers.h"

#include <math.h>

#include "base/fault.h"

static struct shape mixtral_shape(int experts, int top_k, double router_aux)
{
    return (struct shape){
        .family = FAMILY_MIXTRAL, .layers = 2, .width = 7, .heads = 6, .kv_heads = 3, .head_size = 4, .ff = 5, .context = 9,
        .vocabulary = 13, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5, .rope = {.theta = 100}, .experts = experts,
        .top_k = top_k, .router_aux = router_aux,
    };
}

enum { ROWS = 3, CONTEXT = 6 };
static const unsigned char padding[ROWS * CONTEXT] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1};

static void with_mask(struct batch *batch)
{
    batch->mask = padding;
}

/* ---- gradients ---- */

struct balanced_case { struct network_fixture *fixture; double scale; };

/* What network_gradient says it differentiates. */
static double balanced_loss(void *context)
{
    struct balanced_case *c = context;
    double losses[ROWS], sum = 0;
    int counts[ROWS], count = 0;
    network_loss(c->fixture->network, c->fixture->weights, &c->fixture->batch, losses, counts);
    for (int b = 0; b < ROWS; b++) {
        sum += losses[b];
        count += counts[b];
    }
    return c->scale * (sum + count * c->fixture->table.shape.router_aux * network_balance(c->fixture->network));
}

static void gradients_are_those_of_losses_and_balance(void **state)
{
    (void)state;
    static const struct { int experts, top_k; bool mask; } rows[] = {
        {1, 1, false}, {4, 1, true}, {4, 2, false}, {5, 3, true}, {3, 3, false},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct shape shape = mixtral_shape(rows[r].experts, rows[r].top_k, 0.4);
        struct network_fixture fixture;
        fixture_init(&fixture, kernels_ref_double(), &shape, ROWS, CONTEXT, true);
        fixture.batch.mask = rows[r].mask ? padding : NULL;
        fixture.targets[4] = fixture.targets[9] = TARGET_IGNORED;
        struct balanced_case c = {&fixture, 0.25};
        print_message("  %d of %d experts\n", rows[r].top_k, rows[r].experts);
        fixture_gradient(&fixture, c.scale);
        for (int i = 0; i < fixture.table.count; i++) {
            const struct tensor *tensor = &fixture.table.tensors[i];
            double residual = difference_residual(balanced_loss, &c, (double *)fixture.weights + tensor->offset,
                                                  (double *)fixture.gradients + tensor->offset, tensor->count);
            if (!(residual <= 3e-8))
                print_error("%s\n", tensor->name);
            assert_close(residual, 3e-8);
        }
        fixture_fini(&fixture);
    }
}

static void cpu_bodies_agree_with_ref(void **state)
{
    (void)state;
    struct shape shapes[] = {mixtral_shape(4, 2, 0.1), mixtral_shape(64, 3, 0.1), mixtral_shape(3, 1, 0)};
    shapes[0].width = 40, shapes[0].ff = 33;
    shapes[1].tied = true, shapes[1].window = 2;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
            check_varied_against_ref(*form, &shapes[i], ROWS, CONTEXT, i == 1 ? with_mask : NULL);
}

/* ---- how positions spread ---- */

/* Makes every router choose the experts in the order of their numbers: only the first top_k ever work. */
static void send_all_to_the_first(struct network_fixture *fixture)
{
    for (int layer = 0; layer < fixture->table.shape.layers; layer++) {
        const struct tensor *router = tensor_find_role(&fixture->table, ROLE_ROUTER, layer, 0);
        kernels_ref_double()->zero((double *)fixture->weights + router->offset, router->count);
    }
}

static void experts_that_nobody_chooses_get_no_gradient(void **state)
{
    (void)state;
    struct shape shape = mixtral_shape(5, 2, 0.3);
    struct network_fixture fixture;
    fixture_init(&fixture, kernels_ref_double(), &shape, ROWS, CONTEXT, true);
    send_all_to_the_first(&fixture);
    fixture_gradient(&fixture, 1);
    /* equal probabilities: 5 * (1/5 of each expert's share of choices, which sum to top_k) */
    assert_near(network_balance(fixture.network), 2, 1e-14);
    for (int i = 0; i < fixture.table.count; i++) {
        const struct tensor *tensor = &fixture.table.tensors[i];
        double size = dot_doubles((double *)fixture.gradients + tensor->offset, (double *)fixture.gradients + tensor->offset,
                                  tensor->count);
        assert_int_equal(size > 0, tensor->expert < 2);
    }
    fixture_fini(&fixture);
}

/* ---- the balance ---- */

/* From the first layer's probabilities alone: a model of one layer, whose router reads a stream that is known. */
static void balance_is_the_formula(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct shape shape = mixtral_shape(4, 2, 1);
        struct network_fixture fixture;
        enum { N = ROWS * CONTEXT, E = 4 };
        double choices[E] = {0}, sums[E] = {0}, expected = 0;
        int places = 0;
        shape.layers = 1;
        fixture_init(&fixture, kernels_ref_double(), &shape, ROWS, CONTEXT, true);
        fixture.batch.mask = masked ? padding : NULL;
        const struct tensor *embedding = tensor_find(&fixture.table, "embed_tokens.weight");
        const struct tensor *out = tensor_find(&fixture.table, "layers.0.self_attn.o_proj.weight");
        const struct tensor *gain = tensor_find(&fixture.table, "layers.0.post_attention_layernorm.weight");
        const struct tensor *router = tensor_find(&fixture.table, "layers.0.block_sparse_moe.gate.weight");
        const double *w = fixture.weights;
        memset((double *)fixture.weights + out->offset, 0, out->count * sizeof(double));    /* attention adds nothing */
        for (int i = 0; i < N; i++) {
            const double *x = w + embedding->offset + (size_t)fixture.inputs[i] * 7;
            double square = 0, p[E], whole = 0;
            int first = 0, second = -1;
            if (masked && padding[i] == 0)
                continue;
            for (int c = 0; c < 7; c++)
                square += x[c] * x[c] / 7;
            for (int e = 0; e < E; e++) {
                double logit = 0;
                for (int c = 0; c < 7; c++)
                    logit += x[c] / sqrt(square + 1e-5) * w[gain->offset + (size_t)c] *
                             w[router->offset + (size_t)(e * 7 + c)];
                p[e] = exp(logit);
                whole += p[e];
            }
            for (int e = 1; e < E; e++)
                if (p[e] > p[first])
                    first = e;
            for (int e = 0; e < E; e++)
                if (e != first && (second < 0 || p[e] > p[second]))
                    second = e;
            choices[first]++;
            choices[second]++;
            for (int e = 0; e < E; e++)
                sums[e] += p[e] / whole;
            places++;
        }
        for (int e = 0; e < E; e++)
            expected += E * (choices[e] / places) * (sums[e] / places);
        double losses[ROWS];
        network_loss(fixture.network, fixture.weights, &fixture.batch, losses, NULL);
        assert_near(network_balance(fixture.network), expected, 1e-13);
        fixture_gradient(&fixture, 1);
        assert_near(network_balance(fixture.network), expected, 1e-13);
        fixture_fini(&fixture);
    }
}

static void losses_are_without_the_balance(void **state)
{
    (void)state;
    double losses[2][ROWS], gradient_losses[2];
    for (int i = 0; i < 2; i++) {
        struct shape shape = mixtral_shape(4, 2, i == 0 ? 0 : 100);
        struct network_fixture fixture;
        fixture_init(&fixture, kernels_cpu(), &shape, ROWS, CONTEXT, true);
        network_loss(fixture.network, fixture.weights, &fixture.batch, losses[i], NULL);
        gradient_losses[i] = fixture_gradient(&fixture, 1);
        fixture_fini(&fixture);
    }
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_true(gradient_losses[0] == gradient_losses[1]);
}

static void models_without_experts_have_no_balance(void **state)
{
    (void)state;
    struct shape shape = mixtral_shape(0, 0, 0);
    struct network_fixture fixture;
    shape.family = FAMILY_LLAMA;
    fixture_init(&fixture, kernels_cpu(), &shape, ROWS, CONTEXT, true);
    fixture_gradient(&fixture, 1);
    assert_true(network_balance(fixture.network) == 0);
    fixture_fini(&fixture);
}

/* ---- memory ---- */

static size_t backend_bytes;

static void *counting_alloc(size_t bytes)
{
    backend_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

/* Rows are planned for N top_k in all, however many experts there are: they only add their probabilities. */
static void bytes_grow_with_top_k_and_hardly_with_experts(void **state)
{
    (void)state;
    struct shape few = mixtral_shape(4, 2, 0), many = mixtral_shape(64, 2, 0), wide = mixtral_shape(4, 4, 0);
    few.width = many.width = wide.width = 64;
    few.ff = many.ff = wide.ff = 256;
    size_t of_few = network_bytes(kernels_cpu(), &few, 4, 9, true), of_many = network_bytes(kernels_cpu(), &many, 4, 9, true);
    size_t of_wide = network_bytes(kernels_cpu(), &wide, 4, 9, true);
    size_t probabilities = 3 * 36 * (size_t)64 * sizeof(float);
    assert_true(of_many > of_few && of_many - of_few < probabilities);
    assert_true(of_wide - of_few > 2 * 36 * (size_t)(2 * 3 * 256) * sizeof(float));
}

static void stated_bytes_are_the_allocated_ones(void **state)
{
    (void)state;
    struct kernels counting = *kernels_cpu();
    struct shape shape = mixtral_shape(5, 2, 0);
    struct tensor_table table;
    struct network *network;
    struct error error = {0};
    counting.alloc = counting_alloc;
    for (int gradients = 0; gradients < 2; gradients++) {
        backend_bytes = 0;
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        assert_ok(network_new(&network, &counting, &table, ROWS, CONTEXT, gradients, &error), &error);
        size_t stated = network_bytes(&counting, &shape, ROWS, CONTEXT, gradients);
        size_t host = 2 * ROWS * CONTEXT * 2 * sizeof(int32_t);
        assert_true(stated >= backend_bytes + host && stated - backend_bytes - host < 8192);
        network_free(network);
        tensor_table_fini(&table);
    }
}

static void making_a_network_fails_cleanly_at_every_allocation(void **state)
{
    (void)state;
    struct shape shape = mixtral_shape(3, 2, 0);
    struct tensor_table table;
    struct error first = {0};
    int rounds = 0;
    assert_ok(tensor_table_init(&table, &shape, &first), &first);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct network *network = NULL;
        int code = network_new(&network, kernels_cpu(), &table, ROWS, CONTEXT, true, &error);
        if (fault_struck(FAULT_ALLOC, n))
            assert_fails(code, ERROR_NO_MEMORY, &error);
        else
            assert_ok(code, &error);
        network_free(network);
        rounds++;
    }
    assert_true(rounds >= 5);
    tensor_table_fini(&table);
}

TEST_MAIN(cmocka_unit_test(gradients_are_those_of_losses_and_balance), cmocka_unit_test(cpu_bodies_agree_with_ref),
          cmocka_unit_test(experts_that_nobody_chooses_get_no_gradient), cmocka_unit_test(balance_is_the_formula),
          cmocka_unit_test(losses_are_without_the_balance), cmocka_unit_test(models_without_experts_have_no_balance),
          cmocka_unit_test(bytes_grow_with_top_k_and_hardly_with_experts),
          cmocka_unit_test(stated_bytes_are_the_allocated_ones),
          cmocka_unit_test(making_a_network_fails_cleanly_at_every_allocation))
