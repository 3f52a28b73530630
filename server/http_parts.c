#include "server/http_parts.h"

#include <ctype.h>
#include <string.h>

#include "base/buffer.h"

#define MODEL_FORMS (UPLOAD_CHECKPOINT | UPLOAD_STUDY)

static const struct part_row ROWS[PART_KIND_COUNT] = {
    [PART_CONFIG] = {"config", PART_CONFIG, MODEL_FORMS, false, 1 << 20, "config.json"},
    [PART_MODEL] = {"model", PART_MODEL, MODEL_FORMS, true, 0, NULL},
    [PART_INDEX] = {"index", PART_INDEX, MODEL_FORMS, false, 16 << 20, "model.safetensors.index.json"},
    [PART_OPTIMIZER] = {"optimizer", PART_OPTIMIZER, MODEL_FORMS, false, 0, "optimizer.safetensors"},
    [PART_TOKENIZER] = {"tokenizer", PART_TOKENIZER, MODEL_FORMS, true, 64 << 20, NULL},
    [PART_TOKENS] = {"tokens", PART_TOKENS, UPLOAD_DATASET, false, 0, "tokens"},
    [PART_STUDY] = {"study", PART_STUDY, UPLOAD_STUDY, false, 1 << 20, NULL},
    [PART_TRAIN] = {"train", PART_TRAIN, UPLOAD_STUDY, false, 0, "train"},
    [PART_VALID] = {"valid", PART_VALID, UPLOAD_STUDY, false, 0, "valid"},
};

/* What checkpoints carry along beside the model: copied to the results as they are. */
static const char *const TOKENIZER_FILES[] = {
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "generation_config.json", "lag_report.json",
};
enum { TOKENIZER_FILE_COUNT = sizeof TOKENIZER_FILES / sizeof *TOKENIZER_FILES };

const struct part_row *part_row_of(enum part_kind kind)
{
    return &ROWS[kind];
}

bool part_shard_name_is_valid(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t length = strlen(name);

    if (length <= sizeof ending - 1 || strcmp(name + length - (sizeof ending - 1), ending) != 0 || name[0] == '.')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
            return false;
    return true;
}

static const char *tokenizer_file(const char *name)
{
    for (int i = 0; i < TOKENIZER_FILE_COUNT; i++)
        if (strcmp(name, TOKENIZER_FILES[i]) == 0)
            return TOKENIZER_FILES[i];
    return NULL;
}

static int refuse_name(const char *name, enum upload_form form, struct error *error)
{
    char known[256] = "";
    size_t length = 0;

    for (int i = 0; i < PART_KIND_COUNT; i++)
        if (ROWS[i].forms & form) {
            const size_t room = sizeof known - length;
            size_t part = strlen(ROWS[i].name);
            if (part + 3 > room)
                break;
            memcpy(known + length, length ? ", " : "", length ? 2 : 0);
            length += length ? 2 : 0;
            memcpy(known + length, ROWS[i].name, part + 1);
            length += part;
        }
    return error_set_at(error, ERROR_INVALID, name, "The part \"%s\" is not known here; known are: %s", name, known);
}

static int refuse_tokenizer(const char *file_name, struct error *error)
{
    char known[512] = "";
    size_t length = 0;

    for (int i = 0; i < TOKENIZER_FILE_COUNT; i++) {
        size_t part = strlen(TOKENIZER_FILES[i]);
        memcpy(known + length, length ? ", " : "", length ? 2 : 0);
        length += length ? 2 : 0;
        memcpy(known + length, TOKENIZER_FILES[i], part + 1);
        length += part;
    }
    return error_set_at(error, ERROR_INVALID, "tokenizer", "A tokenizer part needs one of these file names, not \"%s\": %s",
                        file_name, known);
}

int part_find(const struct multipart_part *part, enum upload_form form, const struct part_row **row, const char **file,
              struct error *error)
{
    const char *own = (form & MODEL_FORMS) ? tokenizer_file(part->name) : NULL;

    *row = NULL;
    for (int i = 0; i < PART_KIND_COUNT && !own; i++)
        if ((ROWS[i].forms & form) && strcmp(part->name, ROWS[i].name) == 0)
            *row = &ROWS[i];
    if (own)
        *row = &ROWS[PART_TOKENIZER];
    if (!*row)
        return refuse_name(part->name, form, error);
    *file = (*row)->file;
    if ((*row)->kind != PART_TOKENIZER)
        return 0;
    *file = own ? own : tokenizer_file(part->file_name);
    return *file ? 0 : refuse_tokenizer(part->file_name, error);
}
