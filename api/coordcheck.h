/* What `lag coordcheck` prints: checks of several parametrizations, over widths and depths, as a table of at most 80 columns,
 * as JSON, as a plot. Thread rule: caller-owned values. */
#ifndef API_COORDCHECK_H
#define API_COORDCHECK_H

#include "base/buffer.h"
#include "trainer/coordcheck.h"

/* {"optimizer", "learning_rate", "steps", "seeds", "tolerance", "base": {…}, "checks": [{"parametrization", "axis", "sizes",
 * "pass", "kinds": [{"kind", "pass", "worst_slope", "slopes", "moves": [[by step] by size]}]}]} */
void response_coordcheck(struct buffer *out, const struct coordcheck *checks, int count);
void response_coordcheck_text(struct buffer *out, const struct coordcheck *checks, int count);
/* SVG: a panel for each check, ln |move| of the last step over the size. */
void response_coordcheck_plot(struct buffer *out, const struct coordcheck *checks, int count);

#endif
