/* `average_every`: the steps that learners take between averages: "auto", a number, or a list with one per learner.
 * Thread rule: pure. */
#ifndef API_LEARNER_STEPS_H
#define API_LEARNER_STEPS_H

#include "api/json.h"
#include "trainer/training.h"

/* Is it text, a number or a list at all? */
bool learner_steps_has_type(const cJSON *node);
/* Refuses what is no "auto", no count from 1 to `most`, no list of 1 to LEARNERS_MAX such counts. */
int learner_steps_check(const cJSON *node, double most, struct place *place, struct error *error);
/* What passed the check. A number is every learner's. */
void learner_steps_store(const cJSON *node, struct learners_spec *learners);
void learner_steps_print(const struct learners_spec *learners, struct buffer *out);
/* Where `training` (NULL: nothing was given) leaves K open; and a list must have one count per learner: refused at `place`. */
void learner_steps_follow(const cJSON *training, struct training *to, struct place *place, struct error *error);

#endif
