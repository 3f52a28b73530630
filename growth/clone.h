/* Clone: an n-fold copy of every width, which hyperclone, staged and fuse begin with. Internal to growth/. */
#ifndef GROWTH_CLONE_H
#define GROWTH_CLONE_H

#include "growth/stage.h"

/* n of the parameter `width`: a multiple of the present one, from twice it on. ERROR_INVALID ("/width"). */
int growth_clone_copies(const struct growth_step *step, const struct shape *from, int *copies, struct error *error);
/* Sets the stage's shape and maps: n times the stream, heads, kv heads and MLP units, tiled. ERROR_NO_MEMORY. */
int growth_clone_plan(struct growth_plan_stage *stage, int copies, struct error *error);

#endif
