#include "server/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/settings.h"
#include "base/file.h"
#include "base/memory.h"

enum { HELP_COLUMNS = 79, HELP_INDENT = 28 };

static const struct option_row option_rows[OPTION_COUNT] = {
#define X(code, flag, kind, word, fallback, commands, help) { flag, kind, word, fallback, commands, help },
    OPTION_TABLE(X)
#undef X
};

static const struct command_row commands[COMMAND_COUNT] = {
    [COMMAND_SERVE] = { "serve", "", "the HTTP service", 0, 0, false,
                        "Takes checkpoints, data and studies over HTTP; docs/api.md describes the requests. Studies that were "
                        "cut short go on by themselves. SIGTERM or Ctrl-C saves what runs and stops." },
    [COMMAND_RUN] = { "run", "STUDY.json", "one study without HTTP", 1, 1, false,
                      "The same study with the same store goes on where it stopped, or shows the finished result. Ctrl-C saves "
                      "and prints the line that goes on. --out gets result.json, curves.csv, curves.json, plot.svg, "
                      "report.html and a directory per kept candidate." },
    [COMMAND_GROW] = { "grow", "--checkpoint DIR --operators JSON --out DIR", "only grow a checkpoint", 0, 0, false,
                       "Writes a complete directory that transformers loads. Nothing is trained." },
    [COMMAND_TRAIN] = { "train", "(--shape FILE|--checkpoint DIR) --data FILE --out DIR", "train one model", 0, 0, false,
                        "A checkpoint with its optimizer state goes on as if it had never stopped. Ctrl-C saves." },
    [COMMAND_EVAL] = { "eval", "--checkpoint DIR --data FILE", "mean loss, perplexity, standard error", 0, 0, false,
                       "On the files of a study's candidate, with the study's validation data, it gives the loss that the "
                       "study reported." },
    [COMMAND_LOGITS] = { "logits", "--checkpoint DIR --tokens FILE --out FILE", "logits of given tokens", 0, 0, false,
                         "Writes a safetensors file with the tensor logits (B, T, V), F32." },
    [COMMAND_INSPECT] = { "inspect", "PATH", "shape, parameters and tensors of a checkpoint", 1, 1, false, NULL },
    [COMMAND_OPERATORS] = { "operators", "", "the table of growth operators", 0, 0, false, NULL },
    [COMMAND_OPTIMIZERS] = { "optimizers", "", "the table of optimizers", 0, 0, false, NULL },
    [COMMAND_SCHEDULES] = { "schedules", "", "the table of learning-rate schedules", 0, 0, false, NULL },
    [COMMAND_CHECK] = { "check", "STORE", "verify a store; names the repair", 1, 1, false,
                        "Reads every row and every file, changes nothing. Exit code 3 if something is damaged." },
    [COMMAND_HEALTH] = { "health", "", "ask a running server whether it is alive", 0, 0, true,
                         "Exit code 0 if it answers. For container health checks." },
    [COMMAND_COORDCHECK] = { "coordcheck", "(--shape FILE|--checkpoint DIR)", "do updates keep their size over widths and depths",
                             0, 0, false,
                             "Draws models of the base's shape at several sizes, trains a few steps on one batch under each "
                             "parametrization and shows how far updates move the logits, with a verdict. Needs no data." },
    [COMMAND_TRANSFER] = { "transfer", "--checkpoint DIR --operators JSON --data FILE",
                           "is the small size's learning rate right at the grown size", 0, 0, false,
                           "Trains both sizes at the rates of a small sweep and shows loss, sharpness and stability ratio side "
                           "by side. Answers yes, no, or which rate to use, with numbers and their uncertainty. With --out DIR "
                           "every finished run is kept: the same command goes on after Ctrl-C or a crash." },
    [COMMAND_POWERFIT] = { "powerfit", "(--shape FILE --data FILE --out DIR|--runs FILE)", "fit the power schedule to small runs",
                           0, 0, false,
                           "Trains a small model from scratch at several rates, batches and lengths, finds the best rate of each "
                           "batch and length, fits a and b of the power schedule to them with intervals, and prints the schedule "
                           "for a request. --out keeps every finished run; Ctrl-C loses only those at work." },
    [COMMAND_REPLAY] = { "replay", "CURVES.json", "apply selection rules to saved curves", 1, 1, false,
                         "Reads a curves.json of `lag run --out` and shows what each rule would have chosen, when, at what "
                         "cost, and with --truth how right it was. Trains nothing. docs/selection.md explains the rules." },
};

const struct command_row *command_rows(void)
{
    return commands;
}

const struct option_row *options_rows(void)
{
    return option_rows;
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
            return error_set(error, ERROR_INVALID, "unexpected argument \"%.100s\"; usage: lag %s%s%s [flags]",
                             arguments[i], row->name, *row->arguments ? " " : "", row->arguments);
        }
    }
    if (!options->values[OPTION_HELP] && options->argument_count < row->least)
        return error_set(error, ERROR_INVALID, "usage: lag %s %s [flags]; see `lag %s --help`", row->name, row->arguments,
                         row->name);
    return 0;
}

void option_variable(enum option option, char name[OPTION_VARIABLE_BYTES])
{
    const char *flag = option_rows[option].flag;
    size_t length = strlen(strcpy(name, "LAG_"));

    for (; *flag && length + 1 < OPTION_VARIABLE_BYTES; flag++)
        name[length++] = *flag == '-' ? '_' : (char)(*flag - 'a' + 'A');
    name[length] = '\0';
}

static void take_environment(struct options *options)
{
    for (int i = 0; i < OPTION_COUNT; i++) {
        char name[OPTION_VARIABLE_BYTES];
        const char *value;

        option_variable((enum option)i, name);
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

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int option_numbers(const struct options *options, enum option option, const struct option_list *list, double *values,
                   int *count, struct error *error)
{
    const char *text = options->values[option], *flag = option_rows[option].flag;

    if (!text)
        return 0;
    *count = 0;
    while (*text) {
        char *end;
        double value = strtod(text, &end);
        if (end == text || !(value >= list->least && value <= list->most) || (*end && *end != ',')
            || (list->whole && value != (double)(uint64_t)value))
            return error_set(error, ERROR_INVALID, "--%s must be %snumbers from %g to %g with commas between them, as %s; not "
                             "\"%.40s\"", flag, list->whole ? "whole " : "", list->least, list->most, list->example, text);
        if (*count == list->count_most)
            return error_set(error, ERROR_INVALID, "--%s takes at most %d", flag, list->count_most);
        values[(*count)++] = value;
        text = *end ? end + 1 : end;
    }
    qsort(values, (size_t)*count, sizeof *values, compare_numbers);
    for (int i = 1; i < *count; i++)
        if (!(values[i] > values[i - 1]))
            return error_set(error, ERROR_INVALID, "--%s names %g twice; name it once", flag, values[i]);
    if (*count < list->count_least)
        return error_set(error, ERROR_INVALID, "--%s needs at least %d %s", flag, list->count_least, flag);
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

/* Appends text wrapped to 79 columns; lines after the first begin at `indent`, where the first one stands already. */
static void wrapped(struct buffer *out, const char *text, int indent)
{
    int column = indent;

    while (*text) {
        int word = (int)strcspn(text, " ");
        if (column > indent && column + 1 + word > HELP_COLUMNS) {
            buffer_format(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            buffer_text(out, " ");
            column++;
        }
        buffer_append(out, text, (size_t)word);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    buffer_text(out, "\n");
}

static void help_overview(struct buffer *out)
{
    buffer_text(out, "lag: which way of growing a small transformer deserves the full training?\n\n"
                     "usage: lag COMMAND [flags]\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (!commands[i].hidden)
            buffer_format(out, "  %-11s %s\n", commands[i].name, commands[i].summary);
    buffer_text(out, "\n`lag COMMAND --help` lists its flags. `lag --version` prints the version.\n\n"
                     "Exit codes: 0 done, 1 failed and may pass later, 2 wrong usage or input,\n"
                     "3 store damaged, 130 interrupted (the work is saved).\n");
}

/* What is said to this command: the alternative that begins with its name, else the first. */
static void help_of(const char *help, const char *command, char *text, size_t size)
{
    size_t length = strlen(command);
    const char *found = help;

    for (const char *bar = strstr(help, " | "); bar; bar = strstr(bar + 3, " | "))
        if (strncmp(bar + 3, command, length) == 0 && bar[3 + length] == ':')
            found = bar + 3 + length + 2;
    snprintf(text, size, "%s", found);
    if ((help = strstr(text, " | ")) != NULL)
        text[help - text] = '\0';
}

/* "  --store DIR     directory that … [LAG_STORE, default ./lag-data]" */
static void help_flag(struct buffer *out, enum option option, const char *command)
{
    const struct option_row *row = &option_rows[option];
    char left[48], name[OPTION_VARIABLE_BYTES], text[512];
    size_t length;

    option_variable(option, name);
    snprintf(left, sizeof left, "  --%s %s", row->flag, row->word ? row->word : "");
    help_of(row->help, command, text, sizeof text);
    length = strlen(text);
    if (option != OPTION_HELP)
        snprintf(text + length, sizeof text - length, " [%s%s%s%s]", name, row->kind == 'f' ? "=1" : "",
                 row->fallback ? ", default " : "", row->fallback ? row->fallback : "");
    buffer_format(out, "%-*s", HELP_INDENT, left);
    wrapped(out, text, HELP_INDENT);
}

static void help_command(struct buffer *out, const struct command_row *row)
{
    char text[512];

    snprintf(text, sizeof text, "%c%s.%s%s", row->summary[0] - 'a' + 'A', row->summary + 1, row->about ? " " : "",
             row->about ? row->about : "");
    buffer_format(out, "usage: lag %s%s%s [flags]\n\n", row->name, *row->arguments ? " " : "", row->arguments);
    wrapped(out, text, 0);
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
    help_command(out, &commands[command]);
    for (int i = 0; i < OPTION_COUNT; i++)
        if (serves(i, (enum command)command))
            help_flag(out, (enum option)i, commands[command].name);
    buffer_text(out, "\nIn brackets: the variable of the environment that can stand for a flag.\n");
    buffer_text(out, serves(OPTION_CONFIG, (enum command)command)
                         ? "A flag goes before its variable, then the --config file, then the default.\n"
                         : "A flag goes before its variable, the variable before the default.\n");
}
