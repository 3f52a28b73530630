/* A recipe in words and numbers for users of PyTorch. */
#include <math.h>

#include "api/recipe_parts.h"
#include "api/response_parts.h"

static void text_number(struct buffer *text, const char *before, double number, const char *after)
{
    char digits[NUMBER_BYTES];
    number_text(number, digits);
    buffer_format(text, "%s%s%s", before, digits, after);
}

static void write_sgd(struct buffer *text, const struct training *training)
{
    text_number(text, "torch.optim.SGD(parameters, lr=", training->learning_rate, "");
    text_number(text, ", momentum=", training->optimizer.momentum, training->optimizer.nesterov ? ", nesterov=True" : "");
}

static void write_adam(struct buffer *text, const char *optimizer, const struct training *training)
{
    buffer_text(text, optimizer);
    text_number(text, "(parameters, lr=", training->learning_rate, "");
    text_number(text, ", betas=(", training->optimizer.beta1, "");
    text_number(text, ", ", training->optimizer.beta2, ")");
    text_number(text, ", eps=", training->optimizer.epsilon, "");
}

static void write_schedule_free(struct buffer *text, const struct training *training)
{
    const struct optimizer_spec *spec = &training->optimizer;
    if (spec->name == OPTIMIZER_SCHEDULE_FREE_SGD) {
        text_number(text, "schedulefree.SGDScheduleFree(parameters, lr=", training->learning_rate, "");
        text_number(text, ", momentum=", spec->momentum, "");
    } else {
        write_adam(text, "schedulefree.AdamWScheduleFree", training);
    }
    buffer_format(text, ", warmup_steps=%llu", (unsigned long long)training->schedule.warmup_steps);
    text_number(text, ", r=", spec->r, "");
    text_number(text, ", weight_lr_power=", spec->weight_power, "");
}

/* The state's names in PyTorch's optimizer and in the file. */
static const char *state_of(enum optimizer_name name)
{
    switch (name) {
    case OPTIMIZER_SGD: return "momentum_buffer out of optimizer.safetensors (.momentum; raw weights: .w)";
    case OPTIMIZER_SCHEDULE_FREE_SGD:
        return "z out of optimizer.safetensors (.z; the average x: .w; train at beta x + (1 - beta) z; k, weight_sum and lr_max "
               "are in its metadata)";
    case OPTIMIZER_SCHEDULE_FREE_ADAMW:
        return "z and exp_avg_sq out of optimizer.safetensors (.z, .v; the average x: .w; train at beta x + (1 - beta) z; k, "
               "weight_sum and lr_max are in its metadata)";
    default: return "exp_avg, exp_avg_sq and step out of optimizer.safetensors (.m, .v, .step; raw weights: .w)";
    }
}

static void write_optimizer(struct buffer *text, const struct training *training)
{
    const struct optimizer_spec *spec = &training->optimizer;
    if (optimizer_is_schedule_free(spec->name)) write_schedule_free(text, training);
    else if (spec->name == OPTIMIZER_SGD) write_sgd(text, training);
    else write_adam(text, "torch.optim.AdamW", training);
    text_number(text, ", weight_decay=", spec->weight_decay, ") with weight_decay=0 for tensors of one dimension; ");
    if (optimizer_is_schedule_free(spec->name) && spec->decay_at == DECAY_AT_Z)
        buffer_text(text, "weight decay of z instead of y; ");
    if (optimizer_is_schedule_free(spec->name) && spec->decoupling > 0 &&
        fabs(spec->decoupling * (1 - optimizer_beta(spec)) - 1) > 1e-9)
        text_number(text, "ckp1 = min(1, (1 - beta) C weight / weight_sum) with C = ", spec->decoupling, "; ");
}

static void write_learners(struct buffer *text, const struct training *training)
{
    const struct learners_spec *learners = &training->learners;
    if (learners->count > 1 && learners->mode == LEARNERS_GRADIENTS)
        buffer_format(text, "DistributedDataParallel over %d processes, each with its share of the batch; ", learners->count);
    else if (learners->count > 1)
        buffer_format(text, "%d processes, each with its share of the batch, whose weights are averaged every %llu steps "
                      "(PeriodicModelAverager)%s; ", learners->count, (unsigned long long)learners_round_steps(training),
                      learners->averaged_moments ? ", moments too" : "");
    if (learners->count > 1 && learners->outer.name == OUTER_NESTEROV) {
        text_number(text, "from the average torch.optim.SGD(nesterov=True, lr=", learners->outer.learning_rate, "");
        text_number(text, ", momentum=", learners->outer.momentum, ") on the difference; ");
    }
    if (learners->batch_growth > 0)
        text_number(text, "round n: a batch of (1 + g n) times the first at the rate divided by its root, g = ",
                    learners->batch_growth, "; ");
}

/* What falls, and by which formula. */
static void write_fall(struct buffer *text, const struct training *training)
{
    const struct schedule_spec *schedule = &training->schedule;
    int count;
    buffer_text(text, schedule_rows(&count)[schedule->name].name);
    if (schedule->name == SCHEDULE_INVERSE_SQRT) {
        const uint64_t warmup = schedule->warmup_steps > 0 ? schedule->warmup_steps : 1;
        text_number(text, ", ", training->learning_rate, "");
        buffer_format(text, " sqrt(%llu / u) at update u, counted from 1", (unsigned long long)warmup);
    }
    if (schedule->name == SCHEDULE_POWER) {
        text_number(text, ", min(", training->learning_rate, "");
        text_number(text, ", ", (double)training->batch * training->context / 4096 * schedule->a, "");
        text_number(text, " n^", schedule->b, ") when n tokens have been seen");
        buffer_format(text, ", %llu of them before step %llu", (unsigned long long)schedule->tokens_seen,
                      (unsigned long long)schedule->tokens_step);
    }
    if (schedule->name == SCHEDULE_WSD || schedule->name == SCHEDULE_POWER) {
        buffer_format(text, ", over the last %llu steps %s decay", (unsigned long long)schedule->decay_steps,
                      decay_form_name(schedule->decay_form));
        text_number(text, " to ", schedule->minimum, " of it");
    }
    if (schedule->name == SCHEDULE_LINEAR || schedule->name == SCHEDULE_COSINE)
        text_number(text, " decay to ", schedule->minimum, " of it");
}

/* Schedule-free optimizers of the package warm up by themselves: their users set no scheduler beside. */
static void write_schedule(struct buffer *text, const struct training *training)
{
    if (optimizer_is_schedule_free(training->optimizer.name)) {
        buffer_text(text, "rate: constant but for the optimizer's own warm-up, no scheduler");
    } else {
        buffer_format(text, "rate: %llu steps of linear warm-up, then ", (unsigned long long)training->schedule.warmup_steps);
        write_fall(text, training);
    }
    buffer_format(text, ", up to step %llu; ", (unsigned long long)training->steps);
}

void recipe_write_pytorch(struct buffer *text, const struct recipe_words *words)
{
    const struct training *training = words->training;
    const uint64_t left = training->steps > words->step ? training_tokens(training, training->steps) -
                                                          training_tokens(training, words->step) : 0;
    buffer_format(text, "batches of %d sequences of %d tokens; ", training->batch, training->context);
    write_optimizer(text, training);
    if (training->clip > 0) text_number(text, "clip_grad_norm_(parameters, ", training->clip, "); ");
    if (words->scale < 1 || words->scale > 1)
        text_number(text, "multiply the rate of the matrices inside the blocks by ", words->scale, "; ");
    if (words->laws)
        buffer_text(text, "a parameter group for each row of laws: lr, weight_decay and eps times its rate, decay and "
                          "epsilon, gradients times gradient in the norm that is clipped; ");
    write_learners(text, training);
    if (training->compute == PRODUCT_BF16) buffer_text(text, "forward and loss under autocast to bfloat16; ");
    write_schedule(text, training);
    buffer_format(text, "go on from step %llu", (unsigned long long)words->step);
    if (words->step < training->steps) {
        text_number(text, ", whose rate is ", schedule_rate(training, words->step), "");
        buffer_format(text, ", for %llu tokens more", (unsigned long long)left);
    }
    buffer_format(text, ", with the data's batch number %llu and with %s", (unsigned long long)words->data_cursor,
                  state_of(training->optimizer.name));
}
