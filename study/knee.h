/* Knee: the end of the fast regime after growing, on one noisy curve (methods 7.6 A, C.1 detect(), C.2). What it is
 * not: the transition of a study, which agreement.c decides. Pure functions. */
#ifndef STUDY_KNEE_H
#define STUDY_KNEE_H

#include "study/study.h"

enum knee_kind {
    KNEE_NONE,       /* no break into a slower regime: typical for candidates that keep the function */
    KNEE_FOUND,
    KNEE_AHEAD       /* none yet, and the curve still falls as only a fast regime does */
};

/* `step`: the first evaluation point of the slow regime, NaN unless found. */
struct knee { enum knee_kind kind; double step; };

/* Points of a fit. The deciding points of a curve are fewer than GRID_GEOMETRIC_MAX. */
enum { KNEE_POINTS_MAX = GRID_GEOMETRIC_MAX + 2 };

/* Exact least-squares fit of 1 to 3 line segments (at least 4 points each) to ln(loss) over ln(step + 10), the
 * number of segments by BIC with a margin of 6. `steps` ascending; losses that are not positive numbers are left
 * out; at most KNEE_POINTS_MAX points (the latest of them) are looked at. */
struct knee knee_detect(const double *steps, const double *losses, int count);

/* On the raw curve of a candidate, step 0 and the deciding points up to `step`: points for drawing change nothing. */
struct knee knee_of_candidate(const struct study *study, int candidate, uint64_t step);

#endif
