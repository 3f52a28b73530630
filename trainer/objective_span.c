/* Span corruption (Raffel et al., 2020, section 3.3), counted and drawn as T5's span_corruption preprocessor does: 15
 * % of the tokens in runs of 3 on average. A window of `context` tokens becomes a shorter input and its target, both
 * ended by the end-of-sequence token; every window of one length the same lengths, so that nothing is padded. */
#include "trainer/objective_span.h"

#include <math.h>

int span_input(const struct span_counts *counts, const struct span_frame *frame)
{
    return frame->before + counts->raw - counts->noise + counts->spans + frame->after;
}

int span_target(const struct span_counts *counts)
{
    return counts->noise + counts->spans + 1;
}

static int at_most(int value, int most)
{
    return value < most ? value : most;
}

static int at_least(int value, int least)
{
    return value > least ? value : least;
}

static struct span_counts counts_of(const struct denoiser *denoiser, int raw)
{
    const int noise = at_most(at_least((int)lrint(raw * denoiser->density), 1), raw - 1);
    const int spans = denoiser->mean > 0 ? at_least((int)lrint(noise / denoiser->mean), 1) : 1;
    return (struct span_counts){raw, noise, at_most(spans, at_most(noise, raw - noise))};
}

static bool frame_holds(const struct span_frame *frame, const struct span_counts *counts)
{
    const int input = span_input(counts, frame), target = span_target(counts);
    return frame->joined ? input + target - 1 <= frame->limit : input <= frame->limit && target <= frame->limit;
}

bool span_counts_of(struct span_counts *counts, const struct denoiser *denoiser, int context,
                    const struct span_frame *frame)
{
    for (int raw = context; raw >= 2; raw--) {
        *counts = counts_of(denoiser, raw);
        if (frame_holds(frame, counts)) {
            return true;
        }
    }
    return false;
}

/* Parts `items` into `pieces` of at least one each, every way as likely: of the places between items, pieces - 1 are
 * chosen one after the other (Knuth, The Art of Computer Programming, 3.4.2, algorithm S). */
static void draw_lengths(struct rng *rng, int items, int pieces, int32_t *lengths)
{
    int piece = 0, begin = 0;
    for (int place = 1; place < items; place++) {
        if (rng_below(rng, (uint64_t)(items - place)) < (uint64_t)(pieces - 1 - piece)) {
            lengths[piece++] = place - begin;
            begin = place;
        }
    }
    lengths[piece] = items - begin;
}

void span_write(struct objective_window *window, const struct span_counts *counts, int32_t *input, int32_t *target)
{
    const struct objective_spec *spec = window->spec;
    const int32_t *token = window->tokens;
    int32_t *noise = window->work, *text = window->work + counts->spans;
    draw_lengths(&window->rng, counts->noise, counts->spans, noise);
    draw_lengths(&window->rng, counts->raw - counts->noise, counts->spans, text);
    for (int span = 0; span < counts->spans; span++) {
        const int32_t sentinel = spec->sentinel_first + span * spec->sentinel_step;
        for (int i = 0; i < text[span]; i++) {
            *input++ = *token++;
        }
        *input++ = sentinel;
        *target++ = sentinel;
        for (int i = 0; i < noise[span]; i++) {
            *target++ = *token++;
        }
    }
    *target = spec->eos_token;
}

void span_shift(struct objective_window *window, int count)
{
    window->decoder_inputs[0] = window->spec->pad_token;
    for (int i = 1; i < count; i++) {
        window->decoder_inputs[i] = window->targets[i - 1];
    }
}

int span_check_tokens(const struct objective_spec *spec, bool decoder, int spans, struct error *error)
{
    int status = objective_need_token(spec, spec->eos_token, "/eos_token", error);
    if (status == 0 && decoder) {
        status = objective_need_token(spec, spec->pad_token, "/pad_token", error);
    }
    if (status == 0) {
        status = objective_need_token(spec, spec->sentinel_first, "/sentinel_first", error);
    }
    if (status == 0 && spec->sentinel_count < spans) {
        status = error_set_at(error, ERROR_INVALID, "/sentinel_count", "Windows of this context have up to %d spans, "
                              "each with a sentinel of its own, and sentinel_count is %d: give %d, or a smaller "
                              "context.", spans, (int)spec->sentinel_count, spans);
    }
    return status;
}

/* ---- the row ---- */

static const struct denoiser t5_denoiser = {.mean = 3, .density = 0.15};

static bool t5_counts(int context, struct span_counts *counts, struct span_frame *frame)
{
    *frame = (struct span_frame){.after = 1, .limit = context};
    return span_counts_of(counts, &t5_denoiser, context, frame);
}

static int span_check(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error)
{
    struct span_counts counts;
    struct span_frame frame;
    (void)shape;
    if (!t5_counts(context, &counts, &frame)) {
        return error_set_at(error, ERROR_INVALID, "/objective", "A context of %d is too short for span_corruption: use "
                            "at least 3.", context);
    }
    return span_check_tokens(spec, true, counts.spans, error);
}

static struct objective_sizes span_sizes(const struct objective_spec *spec, const struct shape *shape, int context)
{
    struct span_counts counts = {0};
    struct span_frame frame;
    (void)spec, (void)shape;
    t5_counts(context, &counts, &frame);
    return (struct objective_sizes){
        .inputs = span_input(&counts, &frame), .targets = span_target(&counts), .decoder = true,
    };
}

static void span_fill(struct objective_window *window)
{
    struct span_counts counts;
    struct span_frame frame;
    t5_counts(window->context, &counts, &frame);
    span_write(window, &counts, window->inputs, window->targets);
    window->inputs[window->sizes.inputs - 1] = window->spec->eos_token;
    span_shift(window, window->sizes.targets);
}

const struct objective objective_span_corruption = {
    .name = OBJECTIVE_SPAN_CORRUPTION,
    .families = 1u << FAMILY_T5,
    .check = span_check,
    .sizes = span_sizes,
    .fill = span_fill,
};
