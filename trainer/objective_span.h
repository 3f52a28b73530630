/* Spans of noise: what span corruption and the mixture of denoisers share. Of the first `raw` tokens of a window,
 * `noise` tokens in `spans` runs are taken out; in the input a sentinel stands for each run, in the target the same
 * sentinels stand before the runs, and the end-of-sequence token ends it. Inside the objectives only. */
#ifndef TRAINER_OBJECTIVE_SPAN_H
#define TRAINER_OBJECTIVE_SPAN_H

#include "trainer/objective.h"

struct denoiser {
    double mean;               /* tokens of a run; 0: one run, and so the end of the window */
    double density;            /* of noise */
    enum objective_mode mode;
};

struct span_counts { int raw, noise, spans; };

/* Tokens around the text: how long a row becomes, and what it may not exceed. */
struct span_frame {
    int before;                /* tokens before the input's text */
    int after;                 /* tokens after it */
    bool joined;               /* input and target are one row, of which the last token is not read */
    int limit;                 /* of the row; apart: of either */
};

/* Tokens of the input, frame included, and of the target. */
int span_input(const struct span_counts *counts, const struct span_frame *frame);
int span_target(const struct span_counts *counts);

/* As T5 counts: noise = raw * density and spans = noise / mean, rounded to nearest, halves to even, each at least 1;
 * for the most tokens of `context`, from the front, that fit the frame. False: not even two tokens fit. */
bool span_counts_of(struct span_counts *counts, const struct denoiser *denoiser, int context,
                    const struct span_frame *frame);

/* Draws the runs (every way to part noise and text into `spans` pieces each is as likely, text first: T5's
 * random_spans_noise_mask), and writes text and sentinels to `input` (raw - noise + spans tokens) and sentinels, noise
 * and the end to `target` (span_target tokens). */
void span_write(struct objective_window *window, const struct span_counts *counts, int32_t *input, int32_t *target);

/* decoder_inputs: the start (pad) token, then the targets but the last. */
void span_shift(struct objective_window *window, int count);

/* For `check`: the tokens that runs need, and enough sentinels for `spans`. */
int span_check_tokens(const struct objective_spec *spec, bool decoder, int spans, struct error *error);

#endif
