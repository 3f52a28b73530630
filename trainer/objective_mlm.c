/* Masked language modelling (Devlin et al., 2019, section 3.1), drawn as transformers' DataCollatorForLanguageModeling
 * does: every token that is not special is predicted with probability 0.15, independently; what the model reads in its
 * place is the mask token with probability 0.8, a token of the whole vocabulary with 0.1, itself with 0.1. */
#include "trainer/objective.h"

static const double PREDICTED = 0.15, MASKED = 0.8, RANDOM = 0.1;

static int mlm_check(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error)
{
    (void)shape, (void)context;
    return objective_need_token(spec, spec->mask_token, "/mask_token", error);
}

static struct objective_sizes mlm_sizes(const struct objective_spec *spec, const struct shape *shape, int context)
{
    (void)spec, (void)shape;
    return (struct objective_sizes){.inputs = context, .targets = context};
}

static int32_t token_read(struct objective_window *window, int32_t token)
{
    const double draw = rng_uniform(&window->rng);
    if (draw < MASKED) {
        return window->spec->mask_token;
    }
    return draw < MASKED + RANDOM ? (int32_t)rng_below(&window->rng, (uint64_t)window->shape->vocabulary) : token;
}

/* A window of which nothing was drawn would have no loss: one token is predicted all the same, a special one only if
 * there are no others. */
static void predict_one(struct objective_window *window, int plain)
{
    int left = (int)rng_below(&window->rng, (uint64_t)(plain > 0 ? plain : window->context));
    for (int i = 0; i < window->context; i++) {
        const bool counts = plain == 0 || !objective_is_special(window->spec, window->tokens[i]);
        if (counts && left-- == 0) {
            window->targets[i] = window->tokens[i];
            window->inputs[i] = window->spec->mask_token;
        }
    }
}

static void mlm_fill(struct objective_window *window)
{
    int plain = 0, predicted = 0;
    for (int i = 0; i < window->context; i++) {
        const int32_t token = window->tokens[i];
        const bool special = objective_is_special(window->spec, token);
        const bool draws = !special && rng_uniform(&window->rng) < PREDICTED;
        window->inputs[i] = draws ? token_read(window, token) : token;
        window->targets[i] = draws ? token : TARGET_IGNORED;
        plain += !special;
        predicted += draws;
    }
    if (predicted == 0) {
        predict_one(window, plain);
    }
}

const struct objective objective_mlm = {
    .name = OBJECTIVE_MLM,
    .families = 1u << FAMILY_BERT,
    .check = mlm_check,
    .sizes = mlm_sizes,
    .fill = mlm_fill,
};
