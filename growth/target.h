/* A target: the shape that grown models are asked to reach, field by field. Its fields are named like the parameters of
 * the operators that reach them. Thread rule: values, caller-owned. */
#ifndef GROWTH_TARGET_H
#define GROWTH_TARGET_H

#include <stdbool.h>

#include "base/error.h"
#include "model/shape.h"

struct growth_target { int layers, width, heads, ff, context; };   /* 0: not asked for */

/* In the order in which the design space grows them. */
enum target_field { TARGET_WIDTH, TARGET_HEADS, TARGET_FF, TARGET_LAYERS, TARGET_CONTEXT, TARGET_FIELD_COUNT };

const char *target_field_name(enum target_field field);      /* "width" */
int target_wanted(const struct growth_target *target, enum target_field field);
void target_ask(struct growth_target *target, enum target_field field, int value);
bool target_is_empty(const struct growth_target *target);

/* The field's value in a shape; of layers, where a decoder has its own depth, `decoder` tells which. */
int target_present(const struct shape *shape, enum target_field field, bool decoder);
/* Has the shape what is asked for? layers: in both stacks. */
bool target_field_is_reached(const struct growth_target *target, enum target_field field, const struct shape *shape);

/* The target with what follows from it, so that all that reach it have one shape: where heads fill the width, each gives
 * the other; where a multiple of the width is asked for, MLP units that were not asked for grow in proportion, and so do
 * heads. Refuses what no growing gives (less than there is, heads that do not fill the width, nothing at all), with the
 * pointer relative to the target ("/heads") and the nearest value that is possible. ERROR_INVALID. */
int target_complete(const struct shape *from, const struct growth_target *target, struct growth_target *complete,
                    struct error *error);

#endif
