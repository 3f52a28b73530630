/* What `lag train` works with: opened from its flags, saved as a Hugging Face directory. One thread. */
#ifndef SERVER_TRAINING_RUN_H
#define SERVER_TRAINING_RUN_H

#include <stdio.h>

#include "server/options.h"
#include "server/train_team.h"
#include "study/curve.h"
#include "study/spec.h"
#include "trainer/trial.h"

struct training_run {
    struct checkpoint checkpoint;
    struct training training;
    struct spec_data data;
    char train_path[FILE_PATH_BYTES], valid_path[FILE_PATH_BYTES];
    struct corpus train, valid;
    struct trial trial;
    struct scratch *scratch;
    struct grid grid;
    struct evaluation evaluation;
    uint64_t valid_tokens, log_every, parent_tokens, first_step;
    double learning_rate_scale;
    struct shape base;                 /* of the parametrization: a recipe's, else the checkpoint's own */
    struct train_team *team;           /* of several learners; NULL: one */
    FILE *log;
    bool from_recipe, recipe_holds_out, has_checkpoint, has_data, has_trial, has_grid;
};

int training_run_open(struct training_run *run, const struct options *options, struct error *error);
/* One step; of several learners one round, which an interruption lets end. */
int training_run_step(struct training_run *run, const atomic_bool *stop, struct error *error);
void training_run_close(struct training_run *run);
uint64_t training_run_tokens(const struct training_run *run);      /* trained by this command and those it continues */
int training_run_evaluate(struct training_run *run, struct loss_summary *summary, struct error *error);
int training_run_save(struct training_run *run, const char *directory, struct loss_summary summary, struct error *error);

#endif
