/* Replay: curves that were saved, as a study again, so that every rule is applied to them by the very functions that
 * decide while training. The evaluation grid is the one that the points show. Pure values; no I/O.
 *
 *     curves_read (api)          replay_take                     study_decide … / rule_apply
 *     saved curves ----> replay of all ----> part of it (fewer candidates, drawn windows, an earlier end) ----> answer
 *
 * Thread rule: a replay belongs to one thread. It must not be moved: its study points at its spec. */
#ifndef STUDY_REPLAY_H
#define STUDY_REPLAY_H

#include "study/study.h"

struct replay {
    struct study_spec spec;        /* names, horizon, schedule and selection; no operators, no data */
    struct study study;            /* points appended with curve_append, then replay_finish */
};

/* `candidates` without names and points, losses kept for `windows` windows each; the spec otherwise zero but for the
 * selection's k: auto. ERROR_NO_MEMORY, ERROR_INVALID (too many candidates). */
int replay_init(struct replay *replay, int candidates, int windows, struct error *error);
/* Takes the grid from the points: their steps up to `last` (rounded down to one of them), those that decide marked:
 * the first at or after each floor(4 * 1.2^n), and the last. A candidate whose points end earlier, or stop being
 * finite, counts as diverged from there on; one without points as failed. ERROR_INVALID: no points after step 0;
 * ERROR_NO_MEMORY. */
int replay_finish(struct replay *replay, uint64_t last, struct error *error);
void replay_fini(struct replay *replay);

struct replay_part {
    const int *candidates;         /* (count), indices of the whole; NULL: all */
    int count;
    const int *windows;            /* (windows of the whole), drawn with replacement; NULL: as they are */
    uint64_t last;                 /* the cap: points after it are left out */
};
/* A part of a whole as a replay of its own; of drawn windows the losses are averaged anew (raw losses are known as
 * means only and stay). ERROR_NO_MEMORY, ERROR_INVALID as replay_finish. */
int replay_take(struct replay *taken, const struct replay *whole, const struct replay_part *part,
                struct error *error);
/* Lets the rule of the study decide until it ends or the points do. ERROR_NO_MEMORY. */
int replay_decide(struct replay *replay, struct error *error);
/* The last step of the grid that is not after `step`. */
uint64_t replay_step(const struct replay *replay, uint64_t step);
uint64_t replay_last(const struct replay *replay);
/* Takes part in a ranking at `step`. */
bool replay_has(const struct replay *replay, int candidate, uint64_t step);

#endif
