/* UL2's mixture of denoisers (Tay et al., 2022, section 3.1 and table 2), one drawn per window, all as likely: regular
 * R, sequential S (the last quarter from the rest), extreme X. A mode token, where given, stands before the input.
 *   encoder-decoder: input and target as in span corruption, rows padded to the longest of the denoisers
 *   decoder alone:   one row, input then target; the input is a bidirectional prefix, the loss is the target's
 * What does not fit `context` with its sentinels is left out at the window's end, the same for every window of a
 * denoiser. */
#include "trainer/objective_span.h"

static const struct denoiser denoisers[] = {
    {3, 0.15, MODE_R}, {8, 0.15, MODE_R},
    {0, 0.25, MODE_S},
    {3, 0.5, MODE_X}, {8, 0.5, MODE_X}, {64, 0.15, MODE_X}, {64, 0.5, MODE_X},
};
enum { DENOISERS = sizeof denoisers / sizeof denoisers[0] };

static bool has_decoder(const struct shape *shape)
{
    return shape->family == FAMILY_T5;
}

/* Counts of a denoiser in windows of `context`; all modes have tokens or none has. */
static bool ul2_counts(const struct objective_spec *spec, const struct shape *shape, int denoiser, int context,
                       struct span_counts *counts, struct span_frame *frame)
{
    const bool decoder = has_decoder(shape);
    *frame = (struct span_frame){
        .before = spec->mode_tokens[MODE_R] != TOKEN_NONE, .after = decoder, .joined = !decoder, .limit = context,
    };
    return span_counts_of(counts, &denoisers[denoiser], context, frame);
}

static int check_modes(const struct objective_spec *spec, struct error *error)
{
    static const char *const pointers[MODE_COUNT] = {"/mode_tokens/r", "/mode_tokens/s", "/mode_tokens/x"};
    int given = 0;
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        given += spec->mode_tokens[mode] != TOKEN_NONE;
    }
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        if (given > 0 && spec->mode_tokens[mode] == TOKEN_NONE) {
            return error_set_at(error, ERROR_INVALID, pointers[mode], "ul2 needs mode tokens for all of r, s and x, or "
                                "for none: give this one, too.");
        }
    }
    return 0;
}

static int ul2_check(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error)
{
    int status = check_modes(spec, error), spans = 0;
    for (int i = 0; i < DENOISERS && status == 0; i++) {
        struct span_counts counts;
        struct span_frame frame;
        if (!ul2_counts(spec, shape, i, context, &counts, &frame)) {
            status = error_set_at(error, ERROR_INVALID, "/objective", "A context of %d is too short for ul2: use at "
                                  "least 5.", context);
        } else if (counts.spans > spans) {
            spans = counts.spans;
        }
    }
    return status != 0 ? status : span_check_tokens(spec, has_decoder(shape), spans, error);
}

static struct objective_sizes ul2_sizes(const struct objective_spec *spec, const struct shape *shape, int context)
{
    struct objective_sizes sizes = {.inputs = context, .targets = context, .mask = true, .prefix = true};
    if (!has_decoder(shape)) {
        return sizes;
    }
    sizes = (struct objective_sizes){.decoder = true, .mask = true, .decoder_mask = true};
    for (int i = 0; i < DENOISERS; i++) {
        struct span_counts counts = {0};
        struct span_frame frame;
        ul2_counts(spec, shape, i, context, &counts, &frame);
        const int input = span_input(&counts, &frame), target = span_target(&counts);
        sizes.inputs = input > sizes.inputs ? input : sizes.inputs;
        sizes.targets = target > sizes.targets ? target : sizes.targets;
    }
    return sizes;
}

/* Marks numbers [0, used) of `size` as there and fills the others with `filler`. */
static void pad(int32_t *tokens, unsigned char *mask, int used, int size, int32_t filler)
{
    for (int i = 0; i < size; i++) {
        if (mask != NULL) {
            mask[i] = i < used;
        }
        if (i >= used) {
            tokens[i] = filler;
        }
    }
}

static void fill_sides(struct objective_window *window, const struct span_counts *counts,
                       const struct span_frame *frame)
{
    const int input = span_input(counts, frame), target = span_target(counts);
    span_write(window, counts, window->inputs + frame->before, window->targets);
    window->inputs[input - 1] = window->spec->eos_token;
    pad(window->inputs, window->mask, input, window->sizes.inputs, window->spec->pad_token);
    span_shift(window, target);
    pad(window->decoder_inputs, window->decoder_mask, target, window->sizes.targets, window->spec->pad_token);
    pad(window->targets, NULL, target, window->sizes.targets, TARGET_IGNORED);
}

/* Position t reads token t of the joined row and predicts token t + 1, if that is the target's. */
static void fill_joined(struct objective_window *window, const struct span_counts *counts,
                        const struct span_frame *frame)
{
    const int input = span_input(counts, frame), length = input + span_target(counts) - 1;
    int32_t *target = window->work + 2 * counts->spans;
    span_write(window, counts, window->inputs + frame->before, target);
    for (int t = 0; t < length; t++) {
        if (t >= input) {
            window->inputs[t] = target[t - input];
        }
        window->targets[t] = t + 1 >= input ? target[t + 1 - input] : TARGET_IGNORED;
    }
    pad(window->inputs, window->mask, length, window->sizes.inputs, window->spec->eos_token);
    pad(window->targets, NULL, length, window->sizes.targets, TARGET_IGNORED);
    *window->prefix = input;
}

static void ul2_fill(struct objective_window *window)
{
    const int denoiser = (int)rng_below(&window->rng, DENOISERS);
    struct span_counts counts;
    struct span_frame frame;
    ul2_counts(window->spec, window->shape, denoiser, window->context, &counts, &frame);
    if (frame.before > 0) {
        window->inputs[0] = window->spec->mode_tokens[denoisers[denoiser].mode];
    }
    if (frame.joined) {
        fill_joined(window, &counts, &frame);
    } else {
        fill_sides(window, &counts, &frame);
    }
}

const struct objective objective_ul2 = {
    .name = OBJECTIVE_UL2,
    .families = 1u << FAMILY_GPT2 | 1u << FAMILY_LLAMA | 1u << FAMILY_MISTRAL | 1u << FAMILY_QWEN2 |
                1u << FAMILY_MIXTRAL | 1u << FAMILY_T5,
    .check = ul2_check,
    .sizes = ul2_sizes,
    .fill = ul2_fill,
};
