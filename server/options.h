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

/* kind: f a switch, t text, n a count, b bytes (suffixes K M G). X(code, flag, kind, value word, default, commands, help) */
#define ON(command) (1u << COMMAND_##command)
#define OPTION_TABLE(X)                                                                                               \
    X(OPTION_LISTEN, "listen", 't', "HOST:PORT", "127.0.0.1:8080", ON(SERVE) | ON(HEALTH),                            \
      "address to listen on; port 0 picks a free one and prints it")                                                  \
    X(OPTION_STORE, "store", 't', "DIR", "./lag-data", ON(SERVE) | ON(RUN), "directory that holds everything durable") \
    X(OPTION_WORKERS, "workers", 'n', "N", NULL, ON(SERVE) | ON(RUN),                                                 \
      "training threads (default: the cores that affinity and cgroup allow)")                                         \
    X(OPTION_MEMORY, "memory", 'b', "BYTES", NULL, ON(SERVE) | ON(RUN),                                               \
      "memory for training, suffixes K M G (default: three quarters of what is free or allowed)")                     \
    X(OPTION_TOKEN_FILE, "token-file", 't', "FILE", NULL, ON(SERVE), "file with the bearer token that requests must carry") \
    X(OPTION_INSECURE, "insecure", 'f', NULL, NULL, ON(SERVE), "allow a non-loopback address without a token")        \
    X(OPTION_DATA_ROOT, "data-root", 't', "DIR", NULL, ON(SERVE) | ON(RUN),                                           \
      "paths in requests resolve beneath it (run: the study file's directory; serve: none, ids only)")                \
    X(OPTION_TLS_CERT, "tls-cert", 't', "FILE", NULL, ON(SERVE), "certificate (later release)")                       \
    X(OPTION_TLS_KEY, "tls-key", 't', "FILE", NULL, ON(SERVE), "key (later release)")                                 \
    X(OPTION_CONFIG, "config", 't', "FILE", NULL, ON(SERVE), "JSON object of these options' values")                  \
    X(OPTION_JSON, "json", 'f', NULL, NULL, ON(RUN) | ON(EVAL) | ON(INSPECT) | ON(OPERATORS) | ON(OPTIMIZERS)         \
      | ON(SCHEDULES) | ON(CHECK) | ON(GROW), "print JSON")                                                           \
    X(OPTION_CHECKPOINT, "checkpoint", 't', "DIR", NULL, ON(GROW) | ON(TRAIN) | ON(EVAL) | ON(LOGITS),                \
      "a Hugging Face directory")                                                                                     \
    X(OPTION_OPERATORS, "operators", 't', "JSON", NULL, ON(GROW), "a list of operators: [{\"op\": \"stack\", \"layers\": 12}]") \
    X(OPTION_MOMENTS, "moments", 't', "POLICY", "reset", ON(GROW), "optimizer state: reset, carry or old_only")       \
    X(OPTION_CHECK, "check", 'f', NULL, NULL, ON(GROW), "measure the preservation of the function")                   \
    X(OPTION_SHAPE, "shape", 't', "FILE", NULL, ON(TRAIN), "a config.json to train from scratch")                     \
    X(OPTION_DATA, "data", 't', "FILE", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW), "tokens, or a JSON file with a study's data object") \
    X(OPTION_VALID, "valid", 't', "FILE", NULL, ON(TRAIN), "validation tokens (default: the last tenth of the data)") \
    X(OPTION_TRAINING, "training", 't', "FILE", NULL, ON(TRAIN), "a JSON file with a study's training object")        \
    X(OPTION_RECIPE, "recipe", 't', "FILE", NULL, ON(TRAIN), "continue a study's winner, bit for bit")                \
    X(OPTION_OBJECTIVE, "objective", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL), "causal mlm span_corruption ul2, by family") \
    X(OPTION_FORMAT, "format", 't', "NAME", NULL, ON(TRAIN) | ON(EVAL), "auto bytes u16 u32 llmc npy safetensors")    \
    X(OPTION_SAMPLER, "sampler", 't', "NAME", NULL, ON(TRAIN), "random or sequential")                                \
    X(OPTION_CONTEXT, "context", 'n', "N", NULL, ON(TRAIN) | ON(EVAL), "tokens per sequence")                         \
    X(OPTION_BATCH, "batch", 'n', "N", NULL, ON(TRAIN), "sequences per step")                                         \
    X(OPTION_STEPS, "steps", 'n', "N", NULL, ON(TRAIN), "steps to train")                                             \
    X(OPTION_SEED, "seed", 'n', "N", NULL, ON(TRAIN) | ON(EVAL) | ON(GROW), "seed of every random stream (1)")        \
    X(OPTION_VALID_TOKENS, "valid-tokens", 'n', "N", NULL, ON(TRAIN) | ON(EVAL), "size of the validation set")        \
    X(OPTION_TOKENS, "tokens", 't', "FILE", NULL, ON(LOGITS), "safetensors file with input_ids (B, T), I64")          \
    X(OPTION_LOG, "log", 't', "FILE", NULL, ON(TRAIN), "one JSON line per evaluation")                                \
    X(OPTION_LOG_EVERY, "log-every", 'n', "N", NULL, ON(TRAIN), "and one per N steps")                                \
    X(OPTION_OUT, "out", 't', "PATH", NULL, ON(RUN) | ON(GROW) | ON(TRAIN) | ON(LOGITS), "where the result goes")     \
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
    const char *name, *arguments, *summary;
    int least, most;                       /* positional arguments */
    bool hidden;
};
const struct command_row *command_rows(void);

const char *option_flag(enum option option);

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
