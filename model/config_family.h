/* Inside of the config.json reader: what one family's file says and where it goes in a shape. One file per family
 * (model/config_<family>.c), tables only; reading and patching are written once over them (config.c,
 * config_patch.c). */
#ifndef MODEL_CONFIG_FAMILY_H
#define MODEL_CONFIG_FAMILY_H

#include "model/config.h"

struct cJSON;

enum config_kind {
    CONFIG_SIZE,          /* an int of struct shape */
    CONFIG_NUMBER,        /* a double above 0 */
    CONFIG_BOOLEAN,
    CONFIG_ACTIVATION     /* a name of ACTIVATION_TABLE or an alias */
};

struct config_key {
    const char *name;
    const char *alias;        /* older name, NULL without one; patched too where it stands */
    enum config_kind kind;
    size_t offset;            /* of the field in struct shape */
    bool required;
    double fallback;          /* absent or null; a size of 0 is derived */
};

/* A switch that this program computes one way only. */
struct config_switch {
    const char *name;
    bool accepted;            /* the value that is fine; absent is fine too */
    const char *advice;
};

struct config_family {
    const char *architecture;
    const struct config_key *keys;
    int key_count;
    const struct config_switch *switches;
    int switch_count;
    const char *const *dropouts;              /* NULL-ended */
    const char *axis_keys[AXIS_COUNT];  /* key that sizes an axis */
    /* Sizes that follow from others. ERROR_INVALID if they do not fit. */
    int (*derive)(struct shape *shape, struct error *error);
    /* What no row of the table can say, read after the table and written after it; NULL: nothing. `put` is false when
     * memory is short. */
    int (*read)(const struct cJSON *root, struct shape *shape, struct error *error);
    bool (*put)(struct cJSON *root, const struct shape *shape);
    const char *const *fresh;                 /* key, JSON text, … of a config without an original; NULL-ended */
};

const struct config_family *config_family_of(enum family family);
extern const struct config_family config_gpt2, config_llama, config_mistral, config_qwen2, config_t5, config_bert,
    config_mixtral;

/* For the functions above. A member that is neither absent nor null, else NULL. */
const struct cJSON *config_find(const struct cJSON *root, const char *key);
/* ERROR_INVALID, "config.json: <key> <text>.", with the key as pointer. */
int config_fail(struct error *error, const char *key, const char *text);
int config_read_size(const struct cJSON *item, const char *key, int *size, struct error *error);
/* Puts `item` under `key`, in place of an old one where there is one. Takes `item`, NULL included; false: no memory. */
bool config_put(struct cJSON *root, const char *key, struct cJSON *item);
/* A number with a point, as transformers wants some: 8.0, which cJSON would write as 8. */
bool config_put_float(struct cJSON *root, const char *key, double number);
/* rope_theta and rope_scaling, or rope_parameters (config_rope.c). */
int config_rope_read(const struct cJSON *root, struct shape *shape, struct error *error);
bool config_rope_put(struct cJSON *root, const struct shape *shape);

#endif
