/* Routing to experts, and the rows that go there and back: the reference against definitions and central differences, its
 * tangents against differences of it, the cpu body against the reference. */
#include "tests/model/shelf.h"

static const double BOUND = 2e-8, TANGENT_BOUND = 1e-7, CPU_BOUND = 3e-6;

enum { ROWS = 6, EXPERTS = 5, TOP_K = 2, SCORES = ROWS * EXPERTS, CHOICES = ROWS * TOP_K, WIDTH = 7,
       MOVED = CHOICES * WIDTH };

static const unsigned char mask[ROWS] = {1, 1, 0, 1, 0, 1};
static const double balance[EXPERTS] = {0.3, -1.1, 0.7, 2.0, -0.4};

/* ---- route ---- */

static struct routing routing_of(bool masked)
{
    return (struct routing){.rows = ROWS, .experts = EXPERTS, .top_k = TOP_K, .mask = masked ? mask : NULL};
}

struct routed { double probabilities[SCORES], shares[CHOICES], sums[EXPERTS]; int32_t chosen[CHOICES]; };

static void route(const double *logits, bool masked, struct routed *routed)
{
    struct routing routing = routing_of(masked);
    memset(routed, 0, sizeof *routed);
    memcpy(routed->probabilities, logits, sizeof routed->probabilities);
    struct routing_forward buffers = {routed->probabilities, routed->shares, routed->chosen, routed->sums};
    kernels_ref_double()->ops->route(&routing, &buffers);
}

static void the_most_probable_are_chosen_and_share_by_probability(void **state)
{
    (void)state;
    double logits[SCORES], sums[EXPERTS] = {0};
    struct routed routed;
    fill_normal(logits, SCORES, 1, 0, 2);
    route(logits, true, &routed);
    for (int i = 0; i < ROWS; i++) {
        double whole = 0, of_chosen = 0;
        for (int e = 0; e < EXPERTS; e++)
            whole += exp(logits[i * EXPERTS + e]);
        for (int j = 0; j < TOP_K; j++)
            of_chosen += exp(logits[i * EXPERTS + routed.chosen[i * TOP_K + j]]);
        for (int e = 0; e < EXPERTS; e++) {
            int above = 0;      /* how many are more probable: the place in the ranking */
            for (int other = 0; other < EXPERTS; other++)
                above += logits[i * EXPERTS + other] > logits[i * EXPERTS + e];
            assert_near(routed.probabilities[i * EXPERTS + e], exp(logits[i * EXPERTS + e]) / whole, 1e-15);
            if (above < TOP_K)
                assert_int_equal(routed.chosen[i * TOP_K + above], e);
            sums[e] += mask[i] != 0 ? exp(logits[i * EXPERTS + e]) / whole : 0;
        }
        for (int j = 0; j < TOP_K; j++)
            assert_near(routed.shares[i * TOP_K + j], exp(logits[i * EXPERTS + routed.chosen[i * TOP_K + j]]) / of_chosen,
                        1e-15);
    }
    for (int e = 0; e < EXPERTS; e++)
        assert_near(routed.sums[e], sums[e], 1e-14);
}

/* Of equal logits the lowest number; what can not be compared still chooses experts that exist, each once. */
static void ties_and_numbers_that_are_none_choose_the_lowest(void **state)
{
    (void)state;
    static const float rows[][EXPERTS] = {
        {1, 1, 1, 1, 1}, {0, 3, 3, 0, 3}, {2, 1, 2, 3, 1}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
        {NAN, NAN, NAN, NAN, NAN}, {0, NAN, 1, INFINITY, 2},
    };
    static const int32_t expected[ROWS][TOP_K] = {{0, 1}, {1, 2}, {3, 0}, {0, 1}, {0, 1}, {3, 4}};
    struct routing routing = routing_of(false);
    for (int body = 0; body <= 3; body++) {
        const struct kernels *kernels = body == 0 ? kernels_ref_float() : cpu_forms()[body - 1];
        float probabilities[SCORES], shares[CHOICES];
        int32_t chosen[CHOICES];
        if (kernels == NULL)
            break;
        memcpy(probabilities, rows, sizeof probabilities);
        struct routing_forward buffers = {probabilities, shares, chosen, NULL};
        kernels->ops->route(&routing, &buffers);
        assert_memory_equal(chosen, expected, sizeof chosen);
    }
}

/* A saturated router: probabilities that vanish leave the share whole. */
static void far_apart_logits_give_shares_of_one_and_zero(void **state)
{
    (void)state;
    float probabilities[4] = {-1e4f, 1e4f, -1e30f, 0}, shares[2];
    int32_t chosen[2];
    const struct routing routing = {.rows = 1, .experts = 4, .top_k = 2};
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        float row[4];
        memcpy(row, probabilities, sizeof row);
        struct routing_forward buffers = {row, shares, chosen, NULL};
        (*form)->ops->route(&routing, &buffers);
        assert_true(chosen[0] == 1 && chosen[1] == 3 && shares[0] == 1 && shares[1] == 0);
    }
}

/* ---- its backward: of sum(weights * shares) + sum over counted rows of balance . probabilities ---- */

struct route_case { double logits[SCORES], weights[CHOICES]; bool masked; };

static double route_value(void *context)
{
    struct route_case *c = context;
    struct routed routed;
    route(c->logits, c->masked, &routed);
    double sum = dot_doubles(c->weights, routed.shares, CHOICES);
    for (int i = 0; i < ROWS; i++)
        if (!c->masked || mask[i] != 0)
            sum += dot_doubles(balance, routed.probabilities + i * EXPERTS, EXPERTS);
    return sum;
}

/* d_shares: shares times their gradients. */
static void route_backward(const struct route_case *c, const struct routed *routed, double *d_shares, double *d_logits)
{
    struct routing routing = routing_of(c->masked);
    for (int i = 0; i < CHOICES; i++)
        d_shares[i] = routed->shares[i] * c->weights[i];
    struct routing_backward buffers = {routed->probabilities, routed->shares, routed->chosen, d_shares, balance, d_logits};
    kernels_ref_double()->ops->route_backward(&routing, &buffers);
}

static void route_backward_is_the_derivative(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct route_case c = {.masked = masked};
        struct routed routed;
        double d_shares[CHOICES], d_logits[SCORES];
        fill_normal(c.logits, SCORES, 1, 0, 2);
        fill_normal(c.weights, CHOICES, 2, 0, 1);
        route(c.logits, masked, &routed);
        fill_normal(d_logits, SCORES, 3, 0, 1);     /* is written, not read */
        route_backward(&c, &routed, d_shares, d_logits);
        assert_close(difference_residual(route_value, &c, c.logits, d_logits, SCORES), BOUND);
    }
}

/* ---- tangents: against differences along a direction of logits and weights ---- */

struct moved { struct routed routed; double d_shares[CHOICES], d_logits[SCORES]; };

static void move(const struct route_case *at, const struct route_case *along, double step, struct moved *moved)
{
    struct route_case c = *at;
    for (int i = 0; i < SCORES; i++)
        c.logits[i] += step * along->logits[i];
    for (int i = 0; i < CHOICES; i++)
        c.weights[i] += step * along->weights[i];
    route(c.logits, c.masked, &moved->routed);
    route_backward(&c, &moved->routed, moved->d_shares, moved->d_logits);
}

static void check_tangent(const double *tangent, const double *above, const double *below, double step, int count)
{
    double worst = 0, largest = 0;
    for (int i = 0; i < count; i++) {
        double expected = (above[i] - below[i]) / (2 * step);
        worst = fmax(worst, fabs(tangent[i] - expected));
        largest = fmax(largest, fabs(expected));
    }
    assert_true(largest > 0.1);
    assert_close(worst / largest, TANGENT_BOUND);
}

static void route_tangents_are_derivatives(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        const double step = 1e-5;
        struct route_case at = {.masked = masked}, along = at;
        struct moved here, above, below;
        struct routing routing = routing_of(masked);
        double t_probabilities[SCORES], t_shares[CHOICES], t_d_shares[CHOICES], t_d_logits[SCORES], d_logits[SCORES];
        fill_normal(at.logits, SCORES, 1, 0, 2);
        fill_normal(at.weights, CHOICES, 2, 0, 1);
        fill_normal(along.logits, SCORES, 3, 0, 1);
        fill_normal(along.weights, CHOICES, 4, 0, 1);
        move(&at, &along, 0, &here);
        move(&at, &along, step, &above);
        move(&at, &along, -step, &below);
        assert_memory_equal(above.routed.chosen, here.routed.chosen, sizeof here.routed.chosen);
        memcpy(t_probabilities, along.logits, sizeof t_probabilities);
        struct routing_forward values = {here.routed.probabilities, here.routed.shares, here.routed.chosen, NULL};
        struct routing_forward tangents = {t_probabilities, t_shares, NULL, NULL};
        kernels_ref_double()->tangents->route(&routing, &values, &tangents);
        check_tangent(t_probabilities, above.routed.probabilities, below.routed.probabilities, step, SCORES);
        check_tangent(t_shares, above.routed.shares, below.routed.shares, step, CHOICES);
        for (int i = 0; i < CHOICES; i++)
            t_d_shares[i] = t_shares[i] * at.weights[i] + here.routed.shares[i] * along.weights[i];
        struct routing_backward back = {here.routed.probabilities, here.routed.shares, here.routed.chosen, here.d_shares,
                                        balance, d_logits};
        struct routing_backward back_tangents = {t_probabilities, t_shares, NULL, t_d_shares, NULL, t_d_logits};
        kernels_ref_double()->tangents->route_backward(&routing, &back, &back_tangents);
        assert_memory_equal(d_logits, here.d_logits, sizeof d_logits);
        check_tangent(t_d_logits, above.d_logits, below.d_logits, step, SCORES);
    }
}

/* ---- rows ---- */

static const int32_t slots[CHOICES] = {3, 7, 0, 11, 5, 1, 9, 2, 4, 10, 8, 6};

static void rows_go_there_and_back(void **state)
{
    (void)state;
    const struct kernel_ops *ops = kernels_ref_double()->ops;
    double x[ROWS * WIDTH], weights[CHOICES], rows[MOVED], back[ROWS * WIDTH], other[MOVED], dots[CHOICES];
    fill_normal(x, ROWS * WIDTH, 1, 0, 1);
    fill_normal(weights, CHOICES, 2, 0, 1);
    fill_normal(other, MOVED, 3, 0, 1);
    for (int add = 0; add < 2; add++)
        for (int weighted = 0; weighted < 2; weighted++) {
            struct row_exchange exchange = {ROWS, TOP_K, WIDTH, slots, add};
            const double *used = weighted ? weights : NULL;
            double before = add ? 0.5 : 0;
            for (int i = 0; i < MOVED; i++)
                rows[i] = 0.5;
            for (int i = 0; i < ROWS * WIDTH; i++)
                back[i] = 0.5;
            for (int i = 0; i < CHOICES; i++)
                dots[i] = 0.5;
            ops->gather_rows(&exchange, used, x, rows);
            ops->combine_rows(&exchange, used, other, back);
            ops->dot_rows(&exchange, rows, other, dots);
            for (int i = 0; i < ROWS; i++)
                for (int c = 0; c < WIDTH; c++) {
                    double sum = before;
                    for (int j = i * TOP_K; j < (i + 1) * TOP_K; j++) {
                        double weight = weighted ? weights[j] : 1;
                        assert_near(rows[slots[j] * WIDTH + c], before + weight * x[i * WIDTH + c], 1e-15);
                        sum += weight * other[slots[j] * WIDTH + c];
                    }
                    assert_near(back[i * WIDTH + c], sum, 1e-14);
                }
            for (int j = 0; j < CHOICES; j++)
                assert_near(dots[j], before + dot_doubles(rows + slots[j] * WIDTH, other + slots[j] * WIDTH, WIDTH), 1e-14);
        }
}

/* ---- the cpu body ---- */

enum { MANY = 37, MANY_EXPERTS = 19, MANY_K = 3, MANY_WIDTH = 45 };

static void run_route(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    static unsigned char many_mask[MANY];
    static double many_balance[MANY_EXPERTS], sums[MANY_EXPERTS];
    static int32_t chosen[MANY * MANY_K];
    for (int i = 0; i < MANY; i++)
        many_mask[i] = i % 5 != 2;
    for (int e = 0; e < MANY_EXPERTS; e++)
        many_balance[e] = sin(e), sums[e] = 0;
    struct routing routing = {MANY, MANY_EXPERTS, MANY_K, many_mask};
    float *p = shelf_normal(shelf, MANY * MANY_EXPERTS, 1, 0, 2), *shares = shelf_take(shelf, MANY * MANY_K);
    float *t_p = shelf_normal(shelf, MANY * MANY_EXPERTS, 2, 0, 1), *t_shares = shelf_take(shelf, MANY * MANY_K);
    float *d_shares = shelf_normal(shelf, MANY * MANY_K, 3, 0, 1), *t_d_shares = shelf_normal(shelf, MANY * MANY_K, 4, 0, 1);
    float *d = shelf_take(shelf, MANY * MANY_EXPERTS), *again = shelf_take(shelf, MANY * MANY_EXPERTS);
    float *t_d = shelf_take(shelf, MANY * MANY_EXPERTS), *summed = shelf_take(shelf, MANY_EXPERTS);
    struct routing_forward f = {p, shares, chosen, sums}, t = {t_p, t_shares, NULL, NULL};
    struct routing_backward b = {p, shares, chosen, d_shares, many_balance, d};
    struct routing_backward t_b = {t_p, t_shares, NULL, t_d_shares, NULL, t_d};
    kernels->ops->route(&routing, &f);
    kernels->tangents->route(&routing, &f, &t);
    kernels->ops->route_backward(&routing, &b);
    b.d_logits = again;
    kernels->tangents->route_backward(&routing, &b, &t_b);
    assert_memory_equal(d, again, MANY * MANY_EXPERTS * sizeof(float));
    for (int e = 0; e < MANY_EXPERTS; e++)
        summed[e] = (float)sums[e];
    result_add(result, p, MANY * MANY_EXPERTS);
    result_add(result, shares, MANY * MANY_K);
    result_add(result, t_p, MANY * MANY_EXPERTS);
    result_add(result, t_shares, MANY * MANY_K);
    result_add(result, d, MANY * MANY_EXPERTS);
    result_add(result, t_d, MANY * MANY_EXPERTS);
    result_add(result, summed, MANY_EXPERTS);
}

static void run_rows(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    static int32_t many_slots[MANY * MANY_K];
    enum { COUNT = MANY * MANY_K };
    for (int i = 0; i < COUNT; i++)
        many_slots[i] = i * 2 % COUNT;      /* COUNT is odd */
    for (int add = 0; add < 2; add++) {
        struct row_exchange exchange = {MANY, MANY_K, MANY_WIDTH, many_slots, add};
        float *x = shelf_normal(shelf, MANY * MANY_WIDTH, 1, 0, 1), *weights = shelf_normal(shelf, COUNT, 2, 0, 1);
        float *rows = shelf_normal(shelf, COUNT * MANY_WIDTH, 3, 0, 1), *back = shelf_normal(shelf, MANY * MANY_WIDTH, 4, 0, 1);
        float *dots = shelf_normal(shelf, COUNT, 5, 0, 1), *other = shelf_normal(shelf, COUNT * MANY_WIDTH, 6, 0, 1);
        kernels->ops->gather_rows(&exchange, add ? NULL : weights, x, rows);
        kernels->ops->combine_rows(&exchange, add ? weights : NULL, rows, back);
        kernels->ops->dot_rows(&exchange, rows, other, dots);
        result_add(result, rows, COUNT * MANY_WIDTH);
        result_add(result, back, MANY * MANY_WIDTH);
        result_add(result, dots, COUNT);
    }
}

static void cpu_forms_agree_with_ref(void **state)
{
    (void)state;
    check_case(run_route, CPU_BOUND);
    check_case(run_rows, CPU_BOUND);
}

TEST_MAIN(cmocka_unit_test(the_most_probable_are_chosen_and_share_by_probability),
          cmocka_unit_test(ties_and_numbers_that_are_none_choose_the_lowest),
          cmocka_unit_test(far_apart_logits_give_shares_of_one_and_zero),
          cmocka_unit_test(route_backward_is_the_derivative), cmocka_unit_test(route_tangents_are_derivatives),
          cmocka_unit_test(rows_go_there_and_back), cmocka_unit_test(cpu_forms_agree_with_ref))
