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
#define OPTION_TABLE(X)                                                                                               \
    X(OPTION_LISTEN, "listen", 't', "HOST:PORT", "127.0.0.1:8080", ON(SERVE) | ON(HEALTH),                            \
      "address of the service; port 0 takes a free one and prints it | health: address of the server to "             \
      "ask")                                                                                                          \
    X(OPTION_STORE, "store", 't', "DIR", "./lag-data", ON(SERVE) | ON(RUN),                                           \
      "directory that holds everything durable; one process at a time owns it")                                       \
    X(OPTION_WORKERS, "workers", 'n', "N", NULL, ON(SERVE) | ON(RUN),                                                 \
      "training threads; without it one per core that affinity and cgroup allow")                                     \
    X(OPTION_MEMORY, "memory", 'b', "BYTES", NULL, ON(SERVE) | ON(RUN),                                               \
      "limit of training memory, as 800M or 2G; without it three quarters of what is free or allowed")                \
    X(OPTION_TOKEN_FILE, "token-file", 't', "FILE", NULL, ON(SERVE),                                                  \
      "file with the bearer token that requests must carry")                                                          \
    X(OPTION_INSECURE, "insecure", 'f', NULL, NULL, ON(SERVE), "allow a non-loopback address without a token")        \
    X(OPTION_DATA_ROOT, "data-root", 't', "DIR", NULL, ON(SERVE) | ON(RUN),                                           \
      "paths in requests lie beneath it; without it only ids are taken | run: paths in the study lie "                \
      "beneath it; without it the study file's directory")                                                            \
    X(OPTION_TLS_CERT, "tls-cert", 't', "FILE", NULL, ON(SERVE), "certificate (later release)")                       \
    X(OPTION_TLS_KEY, "tls-key", 't', "FILE", NULL, ON(SERVE), "key (later release)")                                 \
    X(OPTION_CONFIG, "config", 't', "FILE", NULL, ON(SERVE),                                                          \
      "JSON object with values of these flags, as {\"workers\": 2}")                                                  \
    X(OPTION_JSON, "json", 'f', NULL, NULL, ON(RUN) | ON(EVAL) | ON(INSPECT) | ON(OPERATORS) | ON(OPTIMIZERS)         \
      | ON(SCHEDULES) | ON(CHECK) | ON(GROW), "print JSON instead of text")                                           \
    X(OPTION_CHECKPOINT, "checkpoint", 't', "DIR", NULL, ON(GROW) | ON(TRAIN) | ON(EVAL) | ON(LOGITS),                \
      "the model, a Hugging Face directory | train: a model to go on with; with its optimizer.safetensors "           \
      "as if it had never stopped")                                                                                   \
    X(OPTION_OPERATORS, "operators", 't', "JSON", NULL, ON(GROW),                                                     \
      "a list, as [{\"op\": \"stack\", \"layers\": 12}], or a file with one; `lag operators` shows them")             \
    X(OPTION_MOMENTS, "moments", 't', "POLICY", "reset", ON(GROW),                                                    \
      "optimizer state of the grown model: reset, carry or old_only")                                                 \
    X(OPTION_CHECK, "check", 'f', NULL, NULL, ON(GROW), "measure how well the function is preserved")                 \
    X(OPTION_SHAPE, "shape", 't', "FILE", NULL, ON(TRAIN), "a config.json: train that model from scratch")            \
    X(OPTION_DATA, "data", 't', "FILE", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW),                                        \
      "tokens to judge the model on, or a .json file with a study's data object | train: tokens, or a .json file "    \
      "with a study's data object | grow: what operators that learn (ligo) are fitted on; tokens, or such a .json file") \
    X(OPTION_VALID, "valid", 't', "FILE", NULL, ON(TRAIN),                                                            \
      "validation tokens; without it the last tenth of the data is held out")                                         \
    X(OPTION_TRAINING, "training", 't', "FILE", NULL, ON(TRAIN), "a JSON file with a study's training object")        \
    X(OPTION_RECIPE, "recipe", 't', "FILE", NULL, ON(TRAIN),                                                          \
      "a JSON file with a result's recipe: continues the study's winner, --checkpoint, bit for bit")                  \
    X(OPTION_OBJECTIVE, "objective", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL), "causal, mlm, span_corruption or ul2; by family") \
    X(OPTION_FORMAT, "format", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL),                                               \
      "of the token files: auto, bytes, u16, u32, llmc, npy or safetensors")                                          \
    X(OPTION_SAMPLER, "sampler", 't', "NAME", NULL, ON(TRAIN), "random (the default) or sequential")                  \
    X(OPTION_CONTEXT, "context", 'n', "N", NULL, ON(TRAIN) | ON(EVAL),                                                \
      "tokens per sequence; without it min(256, positions) | eval: tokens per sequence; without it that of "          \
      "the checkpoint's report")                                                                                      \
    X(OPTION_BATCH, "batch", 'n', "N", NULL, ON(TRAIN), "sequences per step; without it 16")                          \
    X(OPTION_STEPS, "steps", 'n', "N", NULL, ON(TRAIN),                                                               \
      "steps in all, those already done included; without it 20000")                                                  \
    X(OPTION_SEED, "seed", 'n', "N", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW),                                           \
      "seed of every random stream; without it 1")                                                                    \
    X(OPTION_VALID_TOKENS, "valid-tokens", 'n', "N", NULL, ON(TRAIN) | ON(EVAL),                                      \
      "size of the validation set; without it 100000 | eval: how many tokens to look at; without it the "             \
      "number in the checkpoint's report")                                                                            \
    X(OPTION_TOKENS, "tokens", 't', "FILE", NULL, ON(LOGITS),                                                         \
      "safetensors file with the tensor input_ids (B, T), I64; where wanted attention_mask, token_type_ids (bert); "  \
      "of t5 also decoder_input_ids (B, T2), decoder_attention_mask")                                                 \
    X(OPTION_LOG, "log", 't', "FILE", NULL, ON(TRAIN), "write one JSON line per evaluation to it")                    \
    X(OPTION_LOG_EVERY, "log-every", 'n', "N", NULL, ON(TRAIN), "one line more every N steps")                        \
    X(OPTION_OUT, "out", 't', "PATH", NULL, ON(RUN) | ON(GROW) | ON(TRAIN) | ON(LOGITS),                              \
      "directory for the result | run: directory for result, curves, plot and the kept candidates | "                 \
      "logits: file for the result")                                                                                  \
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
int option_bytes(const struct options *options, enum option option, uint64_t fallback, uint64_t *value,
                 struct error *error);
int option_required(const struct options *options, enum option option, struct error *error);
void options_help(struct buffer *out, const char *command);      /* NULL: the overview */

#endif
