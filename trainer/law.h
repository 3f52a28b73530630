/* Law: what an optimizer does differently for one tensor. Four factors of the training values, one row per tensor of a
 * trial, from the tensor's role, how much it grew, the parametrization and the kind of optimizer. Pure.
 *
 * With stored weights W = a w (a: the parametrization's multiplier, w: the parameter its papers train), a step of w is a
 * step of W with other factors, exactly:
 *     adaptive (adamw, schedule_free_adamw)   rate a * its rate      epsilon of w / a
 *     gradient (sgd, schedule_free_sgd)       rate a^2 * its rate
 *     clipping sees the gradient of w: a times that of W
 * Decay: rate * weight_decay of w stays what it is at the base (methods 4.4), so decay = 1 / rate. All four are 1 at the
 * base's own shape, whatever the parametrization. Derivation and table: docs/decisions/0018. */
#ifndef TRAINER_LAW_H
#define TRAINER_LAW_H

#include "base/error.h"
#include "model/parametrization.h"
#include "trainer/training.h"

struct tensor_law {
    double rate;        /* of the learning rate */
    double decay;       /* of the weight decay coefficient, before it is multiplied by the rate */
    double epsilon;     /* of Adam's epsilon */
    double gradient;    /* of the gradient, in the norm that clipping compares */
};

struct law_options {
    enum parametrization parametrization;
    enum optimizer_name optimizer;
    struct shape base;             /* width 0: the shape itself */
    double hidden_rate_scale;      /* of standard: after an n-fold width clone 1/n under width_learning_rate "scaled" */
};

/* Of the tensors that a row of the layout makes; options that laws_fill accepts. */
struct tensor_law law_of_row(const struct law_options *options, const struct shape *shape, const struct tensor_row *row);
/* laws[i] of table->tensors[i]; standard: 1, 1, 1, 1 but for the rate of hidden matrices, hidden_rate_scale.
 * ERROR_INVALID: parametrization_check; a hidden_rate_scale beside another parametrization than standard, which sets
 * these rates itself. */
int laws_fill(const struct tensor_table *table, const struct law_options *options, struct tensor_law *laws,
              struct error *error);
/* Are all of them 1? */
bool laws_are_one(const struct tensor_law *laws, int count);

#endif
