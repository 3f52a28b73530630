/* The workers of `lag train` with several learners: a loop and a pool of its own, on which the learners of a round run at the
 * same time. Bit for bit what one thread would do. Thread rule: the main thread; jobs on the pool's. */
#ifndef SERVER_TRAIN_TEAM_H
#define SERVER_TRAIN_TEAM_H

#include "trainer/slice.h"

struct train_team;

/* As many workers as there are learners, at most `workers`, each with a scratch. `trial` must stay. ERROR_NO_MEMORY,
 * ERROR_INVALID. */
int train_team_new(struct train_team **team, struct trial *trial, int workers, struct error *error);
void train_team_free(struct train_team *team);
/* One round, to end at `until` at the latest. ERROR_IO. */
int train_team_round(struct train_team *team, const struct corpus *train, uint64_t until, struct error *error);

#endif
