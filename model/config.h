/* config.json of Hugging Face directories: read into a shape, and patched so that a grown model loads as it is.
 * Strict JSON first (duplicate keys, trailing bytes, numbers as `04` are refused), cJSON for the values. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "model/safetensors.h"
#include "model/shape.h"
#include "model/tensor.h"

struct config {
    struct shape shape;
    char *text;            /* the file as it was: unknown keys survive patching */
    double dropout;        /* the largest dropout found: trained as 0, with a warning */
};

enum { CONFIG_LIMIT_BYTES = 1 << 20 };

/* Refused with one clear sentence: unknown model_type, quantization_config, auto_map, scale_attn_by_inverse_layer_idx,
 * unknown activation, sizes of the wrong type. ERROR_INVALID with the key as the detail's pointer. */
int config_parse(struct config *config, const char *text, size_t length, struct error *error);
void config_fini(struct config *config);
/* The text with every size of `shape` written (n_inner always), architectures and dtype set; `text` NULL: a fresh
 * one. Caller: memory_free. */
int config_patch(const char *text, const struct shape *shape, enum dtype dtype, char **patched, struct error *error);

/* What config.json calls the size of an axis ("n_inner"), for messages. */
const char *config_axis_key(enum family family, enum axis axis);

/* Routes cJSON's allocations through base/memory.h. Idempotent and thread-safe; config_* call it themselves, any other
 * user of cJSON calls it before its first parse. */
void json_setup(void);

/* Strict JSON: RFC 8259, no duplicate keys (compared after unescaping), no BOM, no raw control characters, valid UTF-8,
 * no lone surrogates, no NUL (raw or \u0000: cJSON would cut the string there), nesting at most `depth` (128 at the
 * very most), integers at most 2^53 in magnitude and numbers within a double's range. On failure ERROR_SYNTAX with the
 * byte offset; a duplicate key or too large integer is reported with its JSON pointer. Everything that cJSON parses for
 * us goes through here first. */
int json_check(const char *text, size_t length, int depth, struct error *error);

#endif
