/* "average_every": "auto" of a study or of `lag train`, resolved by measuring (trainer/kavg_auto.h).
 * Thread rule: any one thread. */
#ifndef SERVER_LEARNERS_AUTO_H
#define SERVER_LEARNERS_AUTO_H

#include "model/checkpoint.h"
#include "study/spec.h"
#include "trainer/corpus.h"

/* Of a study: measured on the parent, scaled to the candidate of most operations. Nothing where K is a number already.
 * ERROR_NO_MEMORY, ERROR_IO, ERROR_INVALID. */
int learners_auto_study(struct study_spec *spec, const struct checkpoint *parent, const struct corpus *train,
                        struct error *error);
/* Of one model: on itself. */
int learners_auto_model(struct training *training, const struct checkpoint *checkpoint, enum sampler sampler,
                        const struct corpus *train, struct error *error);

#endif
