#include "server/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/settings.h"
#include "base/file.h"
#include "base/memory.h"

struct option_row {
    const char *flag;
    char kind;
    const char *word, *fallback;
    unsigned commands;
    const char *help;
};

static const struct option_row option_rows[OPTION_COUNT] = {
#define X(code, flag, kind, word, fallback, commands, help) { flag, kind, word, fallback, commands, help },
    OPTION_TABLE(X)
#undef X
};

static const struct command_row commands[COMMAND_COUNT] = {
    [COMMAND_SERVE] = { "serve", "", "the HTTP service", 0, 0, false },
    [COMMAND_RUN] = { "run", "STUDY.json", "one study without HTTP; the same study and store resumes", 1, 1, false },
    [COMMAND_GROW] = { "grow", "", "only expand a checkpoint", 0, 0, false },
    [COMMAND_TRAIN] = { "train", "", "train one model", 0, 0, false },
    [COMMAND_EVAL] = { "eval", "", "mean loss, perplexity, standard error", 0, 0, false },
    [COMMAND_LOGITS] = { "logits", "", "logits of given tokens, as safetensors", 0, 0, false },
    [COMMAND_INSPECT] = { "inspect", "PATH", "shape, parameters, tensors of a checkpoint", 1, 1, false },
    [COMMAND_OPERATORS] = { "operators", "", "the table of growth operators", 0, 0, false },
    [COMMAND_OPTIMIZERS] = { "optimizers", "", "the table of optimizers", 0, 0, false },
    [COMMAND_SCHEDULES] = { "schedules", "", "the table of schedules", 0, 0, false },
    [COMMAND_CHECK] = { "check", "STORE", "verify a store; names the repair", 1, 1, false },
    [COMMAND_HEALTH] = { "health", "", "ask a running server whether it is alive", 0, 0, true },
    [COMMAND_COORDCHECK] = { "coordcheck", "", "coordinate check (later release)", 0, 4, false },
    [COMMAND_TRANSFER] = { "transfer", "", "learning-rate transfer (later release)", 0, 4, false },
    [COMMAND_POWERFIT] = { "powerfit", "", "power-law fit (later release)", 0, 4, false },
    [COMMAND_REPLAY] = { "replay", "CURVES.json", "apply a rule to saved curves (later release)", 0, 4, false },
};

const struct command_row *command_rows(void)
{
    return commands;
}

const char *option_flag(enum option option)
{
    return option_rows[option].flag;
}

static bool serves(int option, enum command command)
{
    return option_rows[option].commands >> command & 1;
}

static int find_option(enum command command, const char *name, size_t length)
{
    for (int i = 0; i < OPTION_COUNT; i++)
        if (serves(i, command) && strlen(option_rows[i].flag) == length
            && strncmp(option_rows[i].flag, name, length) == 0)
            return i;
    return -1;
}

static int parse_flag(struct options *options, int count, char **arguments, int *at, struct error *error)
{
    const char *name = arguments[*at] + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    int option = find_option(options->command, name, length);
    const char *value = equals ? equals + 1 : NULL;

    if (option < 0)
        return error_set(error, ERROR_INVALID, "unknown flag --%.*s for `lag %s`; see `lag %s --help`", (int)length, name,
                         commands[options->command].name, commands[options->command].name);
    if (option_rows[option].kind == 'f') {
        if (value)
            return error_set(error, ERROR_INVALID, "--%.*s takes no value", (int)length, name);
        value = "1";
    } else if (!value) {
        if (*at + 1 >= count)
            return error_set(error, ERROR_INVALID, "--%s needs a value: --%s %s", option_rows[option].flag,
                             option_rows[option].flag, option_rows[option].word);
        value = arguments[++*at];
    }
    options->values[option] = value;
    options->given[option] = true;
    return 0;
}

static int parse_arguments(struct options *options, int count, char **arguments, struct error *error)
{
    const struct command_row *row = &commands[options->command];
    bool only_arguments = false;

    for (int i = 2; i < count; i++) {
        if (!only_arguments && strcmp(arguments[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && strcmp(arguments[i], "-h") == 0) {
            options->values[OPTION_HELP] = "1";
        } else if (!only_arguments && strncmp(arguments[i], "--", 2) == 0) {
            if (parse_flag(options, count, arguments, &i, error))
                return (int)error->code;
        } else if (options->argument_count < row->most) {
            options->arguments[options->argument_count++] = arguments[i];
        } else {
            return error_set(error, ERROR_INVALID, "unexpected argument \"%.100s\"; usage: lag %s %s [flags]",
                             arguments[i], row->name, row->arguments);
        }
    }
    if (!options->values[OPTION_HELP] && options->argument_count < row->least)
        return error_set(error, ERROR_INVALID, "usage: lag %s %s [flags]; see `lag %s --help`", row->name, row->arguments,
                         row->name);
    return 0;
}

static void take_environment(struct options *options)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        char name[64] = "LAG_";
        const char *value;

        for (size_t j = 0; option_rows[i].flag[j] && j < 50; j++) {
            char letter = option_rows[i].flag[j];
            name[4 + j] = letter == '-' ? '_' : (char)(letter - 'a' + 'A');
            name[5 + j] = '\0';
        }
        if (options->given[i] || i == OPTION_HELP || !serves(i, options->command) || !(value = getenv(name)) || !*value)
            continue;
        if (option_rows[i].kind == 'f' && (strcmp(value, "0") == 0 || strcmp(value, "false") == 0))
            continue;
        options->values[i] = value;
        options->given[i] = true;
    }
}

/* ---- the configuration file: {"listen": "…", "workers": 2, "insecure": true} */

static int take_setting(void *context, const char *name, const char *value, struct error *error)
{
    struct options *options = context;
    int option = find_option(options->command, name, strlen(name));
    char **owned;

    if (option < 0 || option == OPTION_CONFIG || option == OPTION_HELP)
        return error_set_at(error, ERROR_INVALID, name, "unknown option \"%.60s\"; see `lag %s --help`", name,
                            commands[options->command].name);
    if (options->given[option])
        return 0;
    if (option_rows[option].kind == 'f' && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return error_set_at(error, ERROR_INVALID, name, "\"%.60s\" must be true or false", name);
    if (option_rows[option].kind == 'f' && strcmp(value, "false") == 0)
        return 0;
    owned = memory_resize(options->owned, (size_t)(options->owned_count + 1) * sizeof *owned);
    if (!owned)
        return error_set(error, ERROR_NO_MEMORY, "reading the configuration: out of memory");
    options->owned = owned;
    if (!(owned[options->owned_count] = memory_string(value)))
        return error_set(error, ERROR_NO_MEMORY, "reading the configuration: out of memory");
    options->values[option] = owned[options->owned_count++];
    options->given[option] = true;
    return 0;
}

static int take_file(struct options *options, struct error *error)
{
    size_t length = 0;
    char *text = NULL;

    if (!serves(OPTION_CONFIG, options->command) || !options->values[OPTION_CONFIG])
        return 0;
    if (file_read(options->values[OPTION_CONFIG], 1 << 20, &text, &length, error) == 0)
        settings_read(text, length, take_setting, options, error);
    memory_free(text);
    return error_wrap(error, "--config %s", options->values[OPTION_CONFIG]);
}

static int find_command(const char *name, struct error *error)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return i;
    error_set(error, ERROR_INVALID, "unknown command \"%.60s\"; `lag --help` lists the commands", name);
    return -1;
}

int options_parse(struct options *options, int count, char **arguments, struct error *error)
{
    int command;

    *options = (struct options){ 0 };
    command = find_command(arguments[1], error);
    if (command < 0)
        return (int)error->code;
    options->command = (enum command)command;
    if (parse_arguments(options, count, arguments, error))
        return (int)error->code;
    take_environment(options);
    if (take_file(options, error))
        return (int)error->code;
    for (int i = 0; i < OPTION_COUNT; i++)
        if (!options->values[i] && serves(i, options->command))
            options->values[i] = option_rows[i].fallback;
    return 0;
}

void options_fini(struct options *options)
{
    for (int i = 0; i < options->owned_count; i++)
        memory_free(options->owned[i]);
    memory_free(options->owned);
    *options = (struct options){ 0 };
}

/* ---- typed values */

int option_required(const struct options *options, enum option option, struct error *error)
{
    if (options->values[option])
        return 0;
    return error_set(error, ERROR_INVALID, "--%s %s is missing; see `lag %s --help`", option_rows[option].flag,
                     option_rows[option].word, commands[options->command].name);
}

static int parse_number(const char *text, uint64_t *value, const char **rest)
{
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    *value = strtoull(text, &end, 10);
    *rest = end;
    return errno ? -1 : 0;
}

int option_count(const struct options *options, enum option option, uint64_t least, uint64_t most, uint64_t fallback,
                 uint64_t *value, struct error *error)
{
    const char *text = options->values[option], *rest = NULL;

    *value = fallback;
    if (!text)
        return 0;
    if (parse_number(text, value, &rest) || *rest || *value < least || *value > most)
        return error_set(error, ERROR_INVALID, "--%s must be a whole number from %llu to %llu, not \"%.40s\"",
                         option_rows[option].flag, (unsigned long long)least, (unsigned long long)most, text);
    return 0;
}

int option_bytes(const struct options *options, enum option option, uint64_t fallback, uint64_t *value,
                 struct error *error)
{
    static const char suffixes[] = "KMGT";
    const char *text = options->values[option], *rest = NULL, *suffix;
    int shift = 0;

    *value = fallback;
    if (!text)
        return 0;
    if (parse_number(text, value, &rest) == 0 && *rest && (suffix = strchr(suffixes, *rest & ~0x20)) != NULL) {
        shift = 10 * (int)(suffix - suffixes + 1);
        rest++;
        rest += strcmp(rest, "iB") == 0 ? 2 : strcmp(rest, "B") == 0 ? 1 : 0;
    }
    if (!rest || *rest || *value == 0 || *value > UINT64_MAX >> 1 >> shift)
        return error_set(error, ERROR_INVALID, "--%s must be bytes, as 800M or 2G, not \"%.40s\"",
                         option_rows[option].flag, text);
    *value <<= shift;
    return 0;
}

/* ---- help */

static void help_overview(struct buffer *out)
{
    buffer_text(out, "lag: which way of growing a small pretrained transformer should get the full pretraining?\n\n"
                     "usage: lag COMMAND [flags]\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (!commands[i].hidden)
            buffer_format(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    buffer_text(out, "\n`lag COMMAND --help` lists its flags. `lag --version` prints the version.\n"
                     "Exit codes: 0 done, 1 failed and may pass later, 2 wrong usage or input, 3 store damaged,\n"
                     "130 interrupted (the work is saved).\n");
}

/* Help text wrapped to 80 columns, indented by `indent`. */
static void wrapped(struct buffer *out, const char *text, int indent)
{
    int column = indent;

    while (*text) {
        size_t word = strcspn(text, " ");
        if (column + (int)word > 79 && column > indent) {
            buffer_format(out, "\n%*s", indent, "");
            column = indent;
        }
        buffer_append(out, text, word);
        column += (int)word;
        text += word;
        if (*text == ' ') {
            text++;
            if (column < 79)
                buffer_text(out, " ");
            column++;
        }
    }
    buffer_text(out, "\n");
}

void options_help(struct buffer *out, const char *name)
{
    struct error ignored = { 0 };
    int command = name ? find_command(name, &ignored) : -1;

    if (command < 0) {
        help_overview(out);
        return;
    }
    buffer_format(out, "usage: lag %s%s%s [flags]\n\n%s\n\n", commands[command].name, *commands[command].arguments ? " " : "",
                  commands[command].arguments, commands[command].summary);
    for (int i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        char left[48];

        if (!serves(i, (enum command)command))
            continue;
        snprintf(left, sizeof left, "  --%s %s", row->flag, row->word ? row->word : "");
        buffer_format(out, "%-27s ", left);
        wrapped(out, row->help, 28);
        if (row->fallback)
            buffer_format(out, "%28sdefault %s\n", "", row->fallback);
    }
    buffer_text(out, "\nEvery flag has a twin in the environment: --data-root is LAG_DATA_ROOT. Order: flag,\n"
                     "environment, --config file, default.\n");
}
