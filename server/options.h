/* Options: one table of every flag of every command; parsing, --help, the environment twins (LAG_…) and the configuration file
 * read it. Order: flag, environment, file, default. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

enum command {
    COMMAND_SERVE, COMMAND_RUN, COMMAND_GROW, COMMAND_TRAIN, COMMAND_EVAL, COMMAND_LOGITS, COMMAND_INSPECT,
    COMMAND_OPERATORS, COMMAND_OPTIMIZERS, COMMAND_SCHEDULES, COMMAND_CHECK, COMMAND_HEALTH,
    COMMAND_COORDCHECK, COMMAND_TRANSFER, COMMAND_POWERFIT, COMMAND_REPLAY, COMMAND_COUNT
};

/* kind: f a switch, t text, n a count, b bytes (suffixes K M G T). The help says what happens without the flag;
 * " | run: " in it begins what is said to `lag run` instead. X(code, flag, kind, value word, default, commands, help) */
#define ON(command) (1u << COMMAND_##command)
#define OPTION_TABLE(X)                                                                                              \
    X(OPTION_LISTEN, "listen", 't', "HOST:PORT", "127.0.0.1:8080", ON(SERVE) | ON(HEALTH),                           \
      "address of the service; port 0 takes a free one and prints it | health: address of the server to "            \
      "ask")                                                                                                         \
    X(OPTION_STORE, "store", 't', "DIR", "./lag-data", ON(SERVE) | ON(RUN),                                          \
      "directory that holds everything durable; one process at a time owns it")                                      \
    X(OPTION_WORKERS, "workers", 'n', "N", NULL, ON(SERVE) | ON(RUN) | ON(TRANSFER) | ON(POWERFIT),                    \
      "training threads; without it one per core that affinity and cgroup allow | transfer: runs at a time, whose "  \
      "number changes no result; without it one per core that affinity and cgroup allow")                            \
    X(OPTION_MEMORY, "memory", 'b', "BYTES", NULL, ON(SERVE) | ON(RUN) | ON(TRANSFER) | ON(POWERFIT),                  \
      "limit of training memory, as 800M or 2G; without it three quarters of what is free or allowed")               \
    X(OPTION_TOKEN_FILE, "token-file", 't', "FILE", NULL, ON(SERVE),                                                 \
      "file with the bearer token that requests must carry")                                                         \
    X(OPTION_INSECURE, "insecure", 'f', NULL, NULL, ON(SERVE), "allow a non-loopback address without a token")       \
    X(OPTION_DATA_ROOT, "data-root", 't', "DIR", NULL, ON(SERVE) | ON(RUN),                                          \
      "paths in requests lie beneath it; without it only ids are taken | run: paths in the study lie "               \
      "beneath it; without it the study file's directory")                                                           \
    X(OPTION_TLS_CERT, "tls-cert", 't', "FILE", NULL, ON(SERVE), "certificate (later release)")                      \
    X(OPTION_TLS_KEY, "tls-key", 't', "FILE", NULL, ON(SERVE), "key (later release)")                                \
    X(OPTION_CONFIG, "config", 't', "FILE", NULL, ON(SERVE),                                                         \
      "JSON object with values of these flags, as {\"workers\": 2}")                                                 \
    X(OPTION_JSON, "json", 'f', NULL, NULL, ON(RUN) | ON(EVAL) | ON(INSPECT) | ON(OPERATORS) | ON(OPTIMIZERS)        \
      | ON(SCHEDULES) | ON(CHECK) | ON(GROW) | ON(REPLAY) | ON(TRANSFER) | ON(COORDCHECK) | ON(POWERFIT),              \
      "print JSON instead of text")                                                                                  \
    X(OPTION_CHECKPOINT, "checkpoint", 't', "DIR", NULL, ON(GROW) | ON(TRAIN) | ON(EVAL) | ON(LOGITS)                \
      | ON(TRANSFER) | ON(COORDCHECK) | ON(POWERFIT),                                                                \
      "the model, a Hugging Face directory | train: a model to go on with; with its optimizer.safetensors "          \
      "as if it had never stopped | coordcheck: a Hugging Face directory whose config.json is the base's shape " \
      "| powerfit: a Hugging Face directory whose config.json is the shape of the runs")     \
    X(OPTION_OPERATORS, "operators", 't', "JSON", NULL, ON(GROW) | ON(TRANSFER),                                     \
      "a list, as [{\"op\": \"stack\", \"layers\": 12}], or a file with one; `lag operators` shows them")            \
    X(OPTION_MOMENTS, "moments", 't', "POLICY", "reset", ON(GROW),                                                   \
      "optimizer state of the grown model: reset, carry or old_only")                                                \
    X(OPTION_CHECK, "check", 'f', NULL, NULL, ON(GROW), "measure how well the function is preserved")                \
    X(OPTION_SHAPE, "shape", 't', "FILE", NULL, ON(TRAIN) | ON(COORDCHECK) | ON(POWERFIT),                             \
      "a config.json: train that model from scratch | coordcheck: a config.json: the base's shape | powerfit: a "      \
      "config.json: the shape of the runs")            \
    X(OPTION_DATA, "data", 't', "FILE", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW) | ON(TRANSFER) | ON(POWERFIT),         \
      "tokens to judge the model on, or a .json file with a study's data object | train: tokens, or a .json file "   \
      "with a study's data object | grow: what operators that learn (ligo) are fitted on; tokens, or such a .json file " \
      "| transfer: tokens to train on, or a .json file with a study's data object | powerfit: tokens to train on, or a " \
      ".json file with a study's data object")                                  \
    X(OPTION_VALID, "valid", 't', "FILE", NULL, ON(TRAIN) | ON(TRANSFER) | ON(POWERFIT),                               \
      "validation tokens; without it the last tenth of the data is held out")                                        \
    X(OPTION_TRAINING, "training", 't', "FILE", NULL, ON(TRAIN) | ON(GROW) | ON(TRANSFER) | ON(POWERFIT),              \
      "a JSON file with a study's training object | grow: the same, for operators that learn (ligo): what a study with " \
      "it would fit; without it the defaults")                                                                       \
    X(OPTION_RECIPE, "recipe", 't', "FILE", NULL, ON(TRAIN),                                                         \
      "a JSON file with a result's recipe: continues the study's winner, --checkpoint, bit for bit")                 \
    X(OPTION_OBJECTIVE, "objective", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL), "causal, mlm, span_corruption or ul2; by family") \
    X(OPTION_FORMAT, "format", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL),                                              \
      "of the token files: auto, bytes, u16, u32, llmc, npy or safetensors")                                         \
    X(OPTION_SAMPLER, "sampler", 't', "NAME", NULL, ON(TRAIN), "random (the default) or sequential")                 \
    X(OPTION_CONTEXT, "context", 'n', "N", NULL, ON(TRAIN) | ON(EVAL),                                               \
      "tokens per sequence; without it min(256, positions) | eval: tokens per sequence; without it that of "         \
      "the checkpoint's report")                                                                                     \
    X(OPTION_BATCH, "batch", 'n', "N", NULL, ON(TRAIN), "sequences per step; without it 16")                         \
    X(OPTION_STEPS, "steps", 'n', "N", NULL, ON(TRAIN) | ON(TRANSFER) | ON(COORDCHECK),                              \
      "steps in all, those already done included; without it 20000 | transfer: of every run; without it 200 | "     \
      "coordcheck: on the one batch, from 2 to 20; without it 5")          \
    X(OPTION_SEED, "seed", 'n', "N", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW) | ON(REPLAY) | ON(TRANSFER)               \
      | ON(COORDCHECK) | ON(POWERFIT),                                                                                 \
      "seed of every random stream; without it 1 | replay: of what a rule draws; without it that of the curves "       \
      "| transfer: of the first run at each rate; without it 1 | coordcheck: of the first models; without it 1 | " \
      "powerfit: of the first model of each rate; without it 1")     \
    X(OPTION_VALID_TOKENS, "valid-tokens", 'n', "N", NULL, ON(TRAIN) | ON(EVAL) | ON(TRANSFER) | ON(POWERFIT),       \
      "size of the validation set; without it 100000 | eval: how many tokens to look at; without it the "            \
      "number in the checkpoint's report | transfer: size of the validation set; without it 20000 | powerfit: size of the " \
      "validation set; without it 20000")                  \
    X(OPTION_TOKENS, "tokens", 't', "FILE", NULL, ON(LOGITS),                                                        \
      "safetensors file with the tensor input_ids (B, T), I64; where wanted attention_mask, token_type_ids (bert); " \
      "of t5 also decoder_input_ids (B, T2), decoder_attention_mask")                                                \
    X(OPTION_LOG, "log", 't', "FILE", NULL, ON(TRAIN), "write one JSON line per evaluation to it")                   \
    X(OPTION_LOG_EVERY, "log-every", 'n', "N", NULL, ON(TRAIN), "one line more every N steps")                       \
    X(OPTION_OUT, "out", 't', "PATH", NULL, ON(RUN) | ON(GROW) | ON(TRAIN) | ON(LOGITS) | ON(TRANSFER)              \
      | ON(COORDCHECK) | ON(POWERFIT),                                                                                 \
      "directory for the result | run: directory for result, curves, plot and the kept candidates | "                  \
      "logits: file for the result | transfer: directory for finished runs, table, JSON and plot; the same " \
      "command goes on with what it finds there | coordcheck: file for the plot, SVG | "     \
      "powerfit: directory for finished runs (runs.jsonl), table, JSON and plot; the same command goes on with what it finds") \
    X(OPTION_RATES, "rates", 't', "LIST", NULL, ON(TRANSFER) | ON(POWERFIT),                                           \
      "learning rates of the sweep, as 1e-4,3e-4,1e-3; without it seven in factors of two around that of the "       \
      "training object")                                                                                             \
    X(OPTION_SEEDS, "seeds", 'n', "N", NULL, ON(TRANSFER) | ON(COORDCHECK) | ON(POWERFIT),                             \
      "runs at every rate, each with other data; without it 2 | coordcheck: models of every size, averaged; without it 4 " \
      "| powerfit: runs at every rate, each of another model with other data; without it 1") \
    X(OPTION_PARAMETRIZATION, "parametrization", 't', "NAME", NULL, ON(TRANSFER) | ON(COORDCHECK),                   \
      "standard, mup, completep or ntp; without it that of the training object | coordcheck: some of these, with "   \
      "commas; without it all")                                                                                      \
    X(OPTION_WIDTHS, "widths", 't', "LIST", NULL, ON(COORDCHECK),                                                    \
      "widths to compare, as 64,128,256; without it and without --depths the base's, twice and four times it")       \
    X(OPTION_DEPTHS, "depths", 't', "LIST", NULL, ON(COORDCHECK), "numbers of layers to compare, as 2,4,8")          \
    X(OPTION_OPTIMIZER, "optimizer", 't', "NAME", NULL, ON(COORDCHECK), "adamw (the default) or sgd")                \
    X(OPTION_LEARNING_RATE, "learning-rate", 't', "RATE", NULL, ON(COORDCHECK),                                      \
      "at the base; without it 0.001 for adamw, 0.1 for sgd")                                      \
    X(OPTION_TOLERANCE, "tolerance", 't', "NATS", NULL, ON(TRANSFER),                                                \
      "what keeping the small size's rate may cost; without it 0.01")                                                \
    X(OPTION_RUNS, "runs", 't', "FILE", NULL, ON(POWERFIT),                                                          \
      "fit these finished runs, one JSON line each, and train nothing; docs/power.md describes the lines")           \
    X(OPTION_BATCHES, "batches", 't', "LIST", NULL, ON(POWERFIT),                                                    \
      "sequences per step to sweep, as 8,16,32; without it the training object's and twice that")                    \
    X(OPTION_LENGTHS, "lengths", 't', "LIST", NULL, ON(POWERFIT),                                                    \
      "tokens of whole runs, as 1e6,2e6,4e6; without it 64, 128, 256 and 512 steps of the largest batch")            \
    X(OPTION_RULE, "rule", 't', "NAME", NULL, ON(REPLAY),                                                            \
      "the one rule to apply; without it all of them, beside each other")                                            \
    X(OPTION_STEP, "step", 'n', "N", NULL, ON(REPLAY),                                                               \
      "step that rules look at which do not stop by themselves, and the mean steps per candidate that rules may "    \
      "spend which stop candidates one by one; without it the step at which the study's own rule stops")             \
    X(OPTION_MAX_K, "max-k", 'n', "N", NULL, ON(REPLAY),                                                             \
      "cap of rules that stop by themselves; without it the default of a study's selection.max_k")                   \
    X(OPTION_TRUTH, "truth", 't', "FILES", NULL, ON(REPLAY),                                                         \
      "what is right: curves trained to the end, or {\"candidate\": loss, ...}; several, with commas, are averaged") \
    X(OPTION_RESAMPLE, "resample", 'n', "N", NULL, ON(REPLAY),                                                       \
      "apply the rule to N random parts (6 or more of the candidates, resampled windows) and compare p_best with "   \
      "how often the choice is right; needs --truth")                                                                \
    X(OPTION_HELP, "help", 'f', NULL, NULL, ~0u, "this text")

enum option {
#define X(code, ...) code,
    OPTION_TABLE(X)
#undef X
    OPTION_COUNT
};

struct options {
    enum command command;
    const char *values[OPTION_COUNT];      /* NULL: not given and no default; "1" for a switch */
    bool given[OPTION_COUNT];              /* by flag, environment or file */
    const char *arguments[4];              /* positional */
    int argument_count;
    char *file_text;                       /* owned: strings from --config */
    char **owned;
    int owned_count;
};

struct command_row {
    const char *name, *arguments, *summary;    /* arguments: what it can't do without, flags too */
    int least, most;                           /* positional arguments */
    bool hidden;
    const char *about;                         /* a few sentences for its help; NULL: the summary says it all */
};
const struct command_row *command_rows(void);

const char *option_flag(enum option option);
/* The flag's twin in the environment: "data-root" -> "LAG_DATA_ROOT". */
enum { OPTION_VARIABLE_BYTES = 64 };
void option_variable(enum option option, char name[OPTION_VARIABLE_BYTES]);
/* The whole row, for the documents. */
struct option_row {
    const char *flag;
    char kind;
    const char *word, *fallback;
    unsigned commands;             /* bit per enum command */
    const char *help;
};
const struct option_row *options_rows(void);

/* Parses argv[1…]. ERROR_INVALID with what would be right. */
int options_parse(struct options *options, int count, char **arguments, struct error *error);
void options_fini(struct options *options);
/* Typed values. `fallback` where nothing is given. */
int option_count(const struct options *options, enum option option, uint64_t least, uint64_t most, uint64_t fallback,
                 uint64_t *value, struct error *error);
/* Numbers with commas between them, ascending, each once. Without the flag nothing changes.
 * ERROR_INVALID. */
struct option_list { double least, most; bool whole; int count_least, count_most; const char *example; };
int option_numbers(const struct options *options, enum option option, const struct option_list *list, double *values,
                   int *count, struct error *error);
int option_bytes(const struct options *options, enum option option, uint64_t fallback, uint64_t *value,
                 struct error *error);
int option_required(const struct options *options, enum option option, struct error *error);
void options_help(struct buffer *out, const char *command);      /* NULL: the overview */

#endif
