#include "api/fields.h"
#include "study/stages.h"

#include <limits.h>

/* A path may be as long as a path; a name is shown in tables. */
enum { PATH_LONGEST = FILE_PATH_BYTES - 1, NAME_LONGEST = sizeof((struct study_spec *)0)->name - 1 };
enum { TOKEN_LARGEST = SHAPE_SIZE_MAX - 1 };
static const double COUNT_MAX = 9007199254740992.0;    /* 2^53: what a JSON number holds exactly */

static bool never(const struct study_spec *spec)
{
    (void)spec;
    return false;
}
static bool has_target(const struct study_spec *spec) { return !target_is_empty(&spec->target); }
static bool has_max_candidates(const struct study_spec *spec) { return spec->max_candidates > 0; }
static bool has_target_layers(const struct study_spec *spec) { return spec->target.layers > 0; }
static bool has_target_width(const struct study_spec *spec) { return spec->target.width > 0; }
static bool has_target_heads(const struct study_spec *spec) { return spec->target.heads > 0; }
static bool has_target_ff(const struct study_spec *spec) { return spec->target.ff > 0; }
static bool has_target_context(const struct study_spec *spec) { return spec->target.context > 0; }
static bool has_mask(const struct study_spec *spec) { return spec->training.objective.mask_token != TOKEN_NONE; }
static bool has_pad(const struct study_spec *spec) { return spec->training.objective.pad_token != TOKEN_NONE; }
static bool has_eos(const struct study_spec *spec) { return spec->training.objective.eos_token != TOKEN_NONE; }
static bool has_special(const struct study_spec *spec) { return spec->training.objective.special_tokens.count > 0; }
static bool has_sentinels(const struct study_spec *spec)
{
    return spec->training.objective.sentinel_first != TOKEN_NONE || spec->training.objective.sentinel_count > 0;
}
static bool has_mode(const struct study_spec *spec, enum objective_mode mode)
{
    return spec->training.objective.mode_tokens[mode] != TOKEN_NONE;
}
static bool has_mode_r(const struct study_spec *spec) { return has_mode(spec, MODE_R); }
static bool has_mode_s(const struct study_spec *spec) { return has_mode(spec, MODE_S); }
static bool has_mode_x(const struct study_spec *spec) { return has_mode(spec, MODE_X); }
static bool has_modes(const struct study_spec *spec)
{
    return has_mode(spec, MODE_R) || has_mode(spec, MODE_S) || has_mode(spec, MODE_X);
}
static bool has_landscape(const struct study_spec *spec) { return spec->landscape.asked; }
static bool has_learners(const struct study_spec *spec) { return spec->training.learners.count > 1; }
static bool averages_weights(const struct study_spec *spec)
{
    return has_learners(spec) && spec->training.learners.mode == LEARNERS_WEIGHTS;
}
static bool has_outer(const struct study_spec *spec)
{
    return averages_weights(spec) && spec->training.learners.outer.name != OUTER_NONE;
}
static bool has_growth(const struct study_spec *spec) { return spec->training.learners.batch_growth > 0; }
static bool has_why(const struct study_spec *spec) { return spec->training.learners.why[0] != '\0'; }
static bool has_landscape_top(const struct study_spec *spec) { return landscape_wants(&spec->landscape, LANDSCAPE_HESSIAN); }
static bool is_window(const struct study_spec *spec) { return spec->training.average.kind == AVERAGE_WINDOW; }
static bool is_ema(const struct study_spec *spec) { return spec->training.average.kind == AVERAGE_EMA; }

#define IN(kind, member) .store = STORE_##kind, .offset = offsetof(struct study_spec, member)
#define FROM(least, most) .minimum = (least), .maximum = (most)
#define TOKEN(member) FIELD_INTEGER, FROM(0, TOKEN_LARGEST), IN(INT, training.objective.member)
#define LATER .today = "", .shown = never
#define ONLY(value) .today = (value)

static const struct field ROWS[] = {
    {"/name", FIELD_TEXT, FROM(1, NAME_LONGEST), .fallback = "study", IN(TEXT, name),
     .summary = "the study's name, for humans"},
    {"/checkpoint", FIELD_TEXT, FROM(1, PATH_LONGEST), IN(TEXT, checkpoint),
     .summary = "the model to grow: an id (ckpt_…) or a path"},

    {"/data", FIELD_OBJECT, .summary = "the token files"},
    {"/data/train", FIELD_TEXT, FROM(1, PATH_LONGEST), IN(TEXT, data.train),
     .summary = "training tokens: an id (data_…) or a path"},
    {"/data/valid", FIELD_TEXT, FROM(1, PATH_LONGEST), .fallback = "the last tenth of train, held out",
     .nullable = true, IN(TEXT, data.valid), .summary = "validation tokens: an id or a path"},
    {"/data/format", FIELD_CHOICE, .choices = "auto|bytes|u16|u32|llmc|npy|safetensors", .fallback = "auto",
     IN(ENUM, data.format),
     .summary = "format of the token files; auto: by magic, else bytes for vocabularies up to 512"},
    {"/data/objective", FIELD_CHOICE, .choices = "causal|mlm|span_corruption|ul2", .fallback = "by family",
     IN(ENUM, training.objective.name),
     .summary = "what the model learns to predict: bert mlm, t5 span_corruption or ul2, the others causal or ul2"},
    {"/data/sampler", FIELD_CHOICE, .choices = "random|sequential", .fallback = "random", IN(ENUM, data.sampler),
     .summary = "which windows a training step reads"},
    {"/data/mask_token", TOKEN(mask_token), .shown = has_mask, .summary = "mask token of mlm"},
    {"/data/pad_token", TOKEN(pad_token), .shown = has_pad, .summary = "padding, and what starts a decoder"},
    {"/data/eos_token", TOKEN(eos_token), .shown = has_eos, .summary = "end of a sequence in the denoising objectives"},
    {"/data/special_tokens", FIELD_TOKENS, FROM(0, TOKEN_LARGEST), IN(TOKENS, training.objective.special_tokens),
     .shown = has_special, .summary = "tokens that are never masked, beside those named here"},
    {"/data/sentinel_first", TOKEN(sentinel_first), .shown = has_sentinels, .summary = "first sentinel of span corruption"},
    {"/data/sentinel_count", FIELD_INTEGER, FROM(1, TOKEN_LARGEST), IN(INT, training.objective.sentinel_count),
     .shown = has_sentinels, .summary = "number of sentinels"},
    {"/data/sentinel_step", FIELD_INTEGER, FROM(-TOKEN_LARGEST, TOKEN_LARGEST), .fallback = "-1",
     IN(INT, training.objective.sentinel_step), .shown = has_sentinels, .summary = "distance between sentinels"},
    {"/data/mode_tokens", FIELD_OBJECT, .shown = has_modes, .summary = "tokens that tell ul2's modes"},
    {"/data/mode_tokens/r", TOKEN(mode_tokens[MODE_R]), .shown = has_mode_r, .summary = "short spans"},
    {"/data/mode_tokens/s", TOKEN(mode_tokens[MODE_S]), .shown = has_mode_s, .summary = "the end of the window"},
    {"/data/mode_tokens/x", TOKEN(mode_tokens[MODE_X]), .shown = has_mode_x, .summary = "long or dense spans"},

    {"/target", FIELD_OBJECT, .shown = has_target,
     .summary = "the shape that every candidate must reach; without candidates the design space is enumerated"},
    {"/target/layers", FIELD_INTEGER, FROM(1, PARAMETER_LIST_MAX), IN(INT, target.layers), .shown = has_target_layers,
     .summary = "layers; t5: of both stacks"},
    {"/target/width", FIELD_INTEGER, FROM(1, 1 << 17), IN(INT, target.width), .shown = has_target_width,
     .summary = "width of the residual stream"},
    {"/target/heads", FIELD_INTEGER, FROM(1, 1 << 17), IN(INT, target.heads), .shown = has_target_heads,
     .summary = "attention heads"},
    {"/target/ff", FIELD_INTEGER, FROM(1, 1 << 20), IN(INT, target.ff), .shown = has_target_ff,
     .summary = "hidden units of an MLP"},
    {"/target/context", FIELD_INTEGER, FROM(1, 1 << 20), IN(INT, target.context), .shown = has_target_context,
     .summary = "positions"},
    {"/max_candidates", FIELD_INTEGER, FROM(1, SPEC_CANDIDATES_MAX), .fallback = "16",
     IN(INT, max_candidates), .shown = has_max_candidates,
     .summary = "how many candidates a target without candidates is expanded into, at most"},

    {"/candidates", FIELD_ARRAY, FROM(1, SPEC_CANDIDATES_MAX), .summary = "the ways to grow that are compared"},
    {"/candidates/*/name", FIELD_TEXT, FROM(1, SPEC_NAME_MAX), .fallback = "from the operators, such as stack-12",
     .summary = "unique; letters, digits, . _ - and space, begins with a letter or digit"},
    {"/candidates/*/operators", FIELD_OPERATORS, FROM(1, GROWTH_STEPS_MAX), .summary = "operators, applied in order"},
    {"/candidates/*/moments", FIELD_CHOICE, .choices = "reset|carry|old_only", .fallback = "reset",
     .summary = "what happens to the optimizer's moments"},

    {"/training", FIELD_OBJECT, .summary = "how a candidate is trained"},
    {"/training/batch", FIELD_INTEGER, FROM(1, 65536), .fallback = "16", IN(INT, training.batch),
     .summary = "sequences per step over all learners"},
    {"/training/context", FIELD_INTEGER, FROM(1, 1 << 20), .fallback = "min(256, positions)",
     IN(INT, training.context), .summary = "tokens per sequence; at most the positions of every grown candidate"},
    {"/training/steps", FIELD_INTEGER, FROM(1, 1000000000), .fallback = "20000", IN(U64, training.steps),
     .summary = "the horizon T of the full run; a trial trains at most selection.max_k of them"},
    {"/training/learning_rate", FIELD_NUMBER, FROM(1e-10, 100),
     .fallback = "by optimizer: adamw min(2e-3, 0.4 / width), schedule_free_adamw twice that, sgd 0.1, schedule_free_sgd 1; "
                 "with the power schedule 0.02",
     IN(DOUBLE, training.learning_rate), .summary = "peak learning rate"},
    {"/training/optimizer", FIELD_OPTIMIZER, .fallback = "adamw", .summary = "the optimizer's name and parameters"},
    {"/training/schedule", FIELD_SCHEDULE, .fallback = "constant", .summary = "the schedule's name and parameters"},
    {"/training/clip", FIELD_NUMBER, FROM(0, 1e6), .fallback = "1.0; schedule-free 0", IN(DOUBLE, training.clip),
     .summary = "largest global gradient norm; 0: off"},
    {"/training/seed", FIELD_INTEGER, FROM(0, COUNT_MAX), .fallback = "1", IN(U64, training.seed),
     .summary = "seed of data order, growth and ranking"},
    {"/training/average", FIELD_OBJECT, .summary = "running average of the weights that evaluations look at"},
    {"/training/average/kind", FIELD_CHOICE, .choices = "none|window|ema", .fallback = "window; schedule-free none",
     IN(ENUM, training.average.kind), .summary = "how the weights are averaged"},
    {"/training/average/fraction", FIELD_NUMBER, FROM(0.001, 1), .fallback = "0.2",
     IN(DOUBLE, training.average.fraction), .shown = is_window,
     .summary = "window: its length as a share of the steps done"},
    {"/training/average/decay", FIELD_NUMBER, FROM(0, 0.9999999), .fallback = "0.999",
     IN(DOUBLE, training.average.decay), .shown = is_ema,
     .summary = "ema: the share of the old average that a step keeps"},
    {"/training/parametrization", FIELD_CHOICE, .choices = "standard|mup|completep|ntp", .fallback = "standard",
     IN(ENUM, training.parametrization),
     .summary = "how rates and new random weights scale with the size; the base is the checkpoint's own shape"},
    {"/training/width_learning_rate", FIELD_CHOICE, .choices = "given|scaled", .fallback = "scaled",
     IN(BOOL, training.width_rate_scaled),
     .summary = "standard only; scaled: hidden rates are divided by n where a unit gets n copies (hyperclone, staged, fpi, aki)"},
    {"/training/learners", FIELD_INTEGER, FROM(1, LEARNERS_MAX), .fallback = "1", IN(INT, training.learners.count),
     .summary = "replicas that train one candidate together, each on its share of the batch (K-AVG)"},
    {"/training/learners_mode", FIELD_CHOICE, .choices = "weights|gradients", .fallback = "weights",
     IN(ENUM, training.learners.mode), .shown = has_learners,
     .summary = "weights: learners take steps of their own and are averaged; gradients: data parallelism, one update per step"},
    {"/training/average_every", FIELD_LEARNER_STEPS, FROM(1, LEARNERS_STEPS_MAX), .fallback = "4",
     IN(LEARNERS, training.learners), .shown = averages_weights,
     .summary = "K: steps between averages, one number for all learners or a list; auto: measured when the study is admitted"},
    {"/training/average_every_why", FIELD_TEXT, FROM(0, LEARNERS_WHY_BYTES - 1), IN(TEXT, training.learners.why),
     .shown = has_why, .summary = "written when auto was resolved: how it came to K"},
    {"/training/outer", FIELD_OBJECT, .shown = averages_weights, .summary = "the step on averages (DiLoCo)"},
    {"/training/outer/name", FIELD_CHOICE, .choices = "none|nesterov", .fallback = "none",
     IN(ENUM, training.learners.outer.name), .shown = averages_weights, .summary = "none: the average itself"},
    {"/training/outer/learning_rate", FIELD_NUMBER, FROM(1e-6, 10), .fallback = "0.7",
     IN(DOUBLE, training.learners.outer.learning_rate), .shown = has_outer, .summary = "its learning rate"},
    {"/training/outer/momentum", FIELD_NUMBER, FROM(0, 0.9999999), .fallback = "0.9",
     IN(DOUBLE, training.learners.outer.momentum), .shown = has_outer, .summary = "its momentum"},
    {"/training/batch_growth", FIELD_NUMBER, FROM(0, 1), .fallback = "0", IN(DOUBLE, training.learners.batch_growth),
     .shown = has_growth, .summary = "g: round n reads a batch of (1 + g n) times the first at the rate divided by its root"},
    {"/training/recompute", FIELD_BOOLEAN, .fallback = "false", IN(BOOL, training.recompute),
     .summary = "recompute block activations in the backward pass: less memory, more work, the same bits"},
    {"/training/compute", FIELD_CHOICE, .choices = "f32|bf16", .fallback = "f32", IN(ENUM, training.compute),
     .summary = "what factors of products are rounded to in training steps; evaluations are f32"},

    {"/selection", FIELD_OBJECT, .summary = "how the winner is chosen"},
    {"/selection/k", FIELD_K, FROM(1, 1000000000), .fallback = "auto",
     .summary = "auto, or the step at which candidates are ranked"},
    {"/selection/max_k", FIELD_INTEGER, FROM(1, 1000000000), .fallback = "min(T, max(1000, 0.05 T))",
     IN(U64, selection.max_k), .summary = "k auto: the last step that a trial may reach"},
    {"/selection/valid_tokens", FIELD_INTEGER, FROM(1, COUNT_MAX), .fallback = "100000",
     IN(U64, selection.valid_tokens), .summary = "size of the fixed validation set"},
    {"/selection/evaluate_every", FIELD_INTEGER, FROM(1, 1000000000), .fallback = "none", .nullable = true,
     IN(U64, selection.evaluate_every), .summary = "regular evaluation grid beside the geometric one"},
    {"/selection/raw_share", FIELD_NUMBER, FROM(0.01, 1), .fallback = "0.25", IN(DOUBLE, selection.raw_share),
     .summary = "share of the validation windows on which the raw weights are evaluated too"},
    {"/selection/rank_by", FIELD_CHOICE, .choices = "loss|predicted", .fallback = "loss", IN(ENUM, selection.rank_by),
     .summary = "the ranking's score"},
    {"/selection/confidence", FIELD_NUMBER, FROM(0.5, 0.9999), .fallback = "0.95", IN(DOUBLE, selection.confidence),
     .summary = "confidence of tie groups"},
    {"/selection/compare", FIELD_CHOICE, .choices = "steps|flops", .fallback = "steps", ONLY("\"steps\""),
     .summary = "what candidates get equally much of"},
    {"/selection/eliminate", FIELD_BOOLEAN, .fallback = "false", ONLY("false"),
     .summary = "stop hopeless candidates early"},
    {"/selection/seeds", FIELD_INTEGER, FROM(1, 64), .fallback = "1", ONLY("1"), .summary = "seeds per candidate"},

    {"/landscape", FIELD_OBJECT, .shown = has_landscape,
     .summary = "curvature of every candidate on a fixed batch: at the start, at the end, and every so many steps"},
    {"/landscape/every", FIELD_INTEGER, FROM(1, 1000000000), .fallback = "none", .nullable = true,
     IN(U64, landscape.every), .summary = "steps between measurements, beside those at the start and at the end"},
    {"/landscape/top", FIELD_INTEGER, FROM(1, LANDSCAPE_TOP_MAX), .fallback = "1", IN(INT, landscape.top),
     .shown = has_landscape_top, .summary = "how many of the Hessian's largest eigenvalues"},
    {"/landscape/what", FIELD_CHOICES, .choices = "hessian|preconditioned|trace|ntk",
     .fallback = "[\"hessian\", \"preconditioned\"]", IN(CHOICES, landscape.what),
     .summary = "what is measured; the stability ratio comes with preconditioned"},
    {"/transfer", FIELD_ANY, LATER,
     .summary = "is the learning rate right at the winner's size: until then the command `lag transfer` answers it"},
    {"/stages", FIELD_ARRAY, FROM(1, SPEC_STAGES_MAX), .shown = never,
     .summary = "adaptive gradual stacking: depths, one after the other, each a search and a training to its end"},
    {"/stages/*/layers", FIELD_INTEGER, FROM(1, PARAMETER_LIST_MAX), .summary = "the stage's depth, above the one before"},
    {"/stages/*/steps", FIELD_INTEGER, FROM(1, 1000000000), .fallback = "by prop_alpha",
     .summary = "the stage's steps: the horizon of its schedule"},
    {"/prop_alpha", FIELD_NUMBER, FROM(0, 8), .shown = never,
     .summary = "shares training.steps out over stages without steps: stage j of S gets j^alpha / (1 + … + S^alpha)"},
    {"/baselines", FIELD_CHOICES, .choices = STAGES_BASELINES, .fallback = "none",
     .shown = never, .summary = "operators whose chain of stages runs beside, chosen without a search"},
    {"/keep", FIELD_KEEP, .fallback = "top:3", .summary = "whose files are kept: all, winner or top:N"},
};

const struct field *field_rows(int *count)
{
    *count = (int)(sizeof ROWS / sizeof *ROWS);
    return ROWS;
}

/* The enums that are stored as the index of a choice must stand in the order of their row. */
_Static_assert(CORPUS_AUTO == 0 && CORPUS_BYTES == 1 && CORPUS_SAFETENSORS == 6, "/data/format");
_Static_assert(SAMPLER_RANDOM == 0 && SAMPLER_SEQUENTIAL == 1, "/data/sampler");
_Static_assert(AVERAGE_NONE == 0 && AVERAGE_WINDOW == 1 && AVERAGE_EMA == 2, "/training/average/kind");
_Static_assert(LANDSCAPE_HESSIAN == 0 && LANDSCAPE_PRECONDITIONED == 1 && LANDSCAPE_TRACE == 2 && LANDSCAPE_NTK == 3,
               "/landscape/what");
_Static_assert(LEARNERS_WEIGHTS == 0 && LEARNERS_GRADIENTS == 1, "/training/learners_mode");
_Static_assert(OUTER_NONE == 0 && OUTER_NESTEROV == 1, "/training/outer/name");
_Static_assert(PRODUCT_F32 == 0 && PRODUCT_BF16 == 1, "/training/compute");
_Static_assert(RANK_BY_LOSS == 0 && RANK_BY_PREDICTED == 1, "/selection/rank_by");
_Static_assert(MOMENTS_RESET == 0 && MOMENTS_CARRY == 1 && MOMENTS_OLD_ONLY == 2, "/candidates/*/moments");
_Static_assert(sizeof(enum corpus_format) == sizeof(int) && sizeof(enum average_kind) == sizeof(int) &&
               sizeof(enum product_type) == sizeof(int), "STORE_ENUM");
