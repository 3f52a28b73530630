/* upcycle: every MLP becomes experts, copies of it, behind a new router: llama becomes mixtral. The shares of the experts
 * that a position passes sum to 1, so that equal experts give what the MLP gave. Recipe: methods 6.17. */
#include "growth/stage.h"

enum { EXPERTS_LEAST = 2 };
static const double ROUTER_AUX = 0.001;     /* transformers' default; AquilaMoE trained with it */

static const struct parameter parameters[] = {
    {.name = "experts", .type = PARAMETER_INTEGER, .required = true, .minimum = EXPERTS_LEAST,
     .maximum = SHAPE_EXPERTS_MAX, .summary = "experts of every block, each a copy of its MLP"},
    {.name = "top_k", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = SHAPE_EXPERTS_MAX, .fallback = "2",
     .summary = "experts that a token passes, at most all; with 1 its share is always 1, and only the load-balance loss "
                "moves the router"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int check_biases(const struct shape *from, struct error *error)
{
    if (!from->attention_bias && !from->mlp_bias)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/op", "upcycle makes a mixtral, which has no biases, and this %s has "
                        "them in its %s: choose another operator", family_name(from->family),
                        from->attention_bias ? "attention" : "MLPs");
}

static int check_range(const struct growth_step *step, const char *pointer, int64_t least, int64_t most,
                       struct error *error)
{
    int64_t wanted = growth_step_integer(step, pointer + 1);
    if (wanted >= least && wanted <= most)
        return 0;
    return error_set_at(error, ERROR_INVALID, pointer, "%s must be from %lld to %lld (nearest valid: %lld), not %lld",
                        pointer + 1, (long long)least, (long long)most, (long long)(wanted < least ? least : most),
                        (long long)wanted);
}

static int upcycle_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                        struct error *error)
{
    int code = check_biases(from, error);
    if (code != 0 || (code = check_range(step, "/experts", EXPERTS_LEAST, SHAPE_EXPERTS_MAX, error)) != 0 ||
        (code = check_range(step, "/top_k", 1, growth_step_integer(step, "experts"), error)) != 0)
        return code;
    stage->to.family = FAMILY_MIXTRAL;
    stage->to.experts = (int)growth_step_integer(step, "experts");
    stage->to.top_k = (int)growth_step_integer(step, "top_k");
    stage->to.router_aux = ROUTER_AUX;
    return 0;
}

const struct growth_operator growth_op_upcycle = {
    .name = "upcycle",
    .summary = "every MLP becomes experts that are copies of it, with a router from N(0, 0.02) that sends each token to "
               "top_k of them: a llama or mistral without biases becomes a mixtral",
    .source = "Sparse Upcycling, Komatsuzaki et al., arXiv 2212.05055; shares that sum to 1: Mixtral, arXiv 2401.04088",
    .symmetry_note = "the experts start equal; the random router sends them different tokens, and that separates them "
                     "(slowly where top_k is all of them: then only their shares differ)",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_BROKEN,
    .families = 1u << FAMILY_LLAMA | 1u << FAMILY_MISTRAL,
    .moments = "experts m/E and v/(E top_k), the means of a token's share and of its square; the router starts at 0; the "
               "others keep theirs; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = upcycle_plan,
};
