/* Inside of the config.json reader: what one family's file says and where it goes in a shape. One file per family
 * (model/config_<family>.c), tables only; reading and patching are written once over them (config.c,
 * config_patch.c). */
#ifndef MODEL_CONFIG_FAMILY_H
#define MODEL_CONFIG_FAMILY_H

#include "model/config.h"

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
    const char *axis_keys[AXIS_CONTEXT + 1];  /* key that sizes an axis */
    /* Sizes that follow from others. ERROR_INVALID if they do not fit. */
    int (*derive)(struct shape *shape, struct error *error);
    const char *const *fresh;                 /* key, JSON text, … of a config without an original; NULL-ended */
};

const struct config_family *config_family_of(enum family family);
extern const struct config_family config_gpt2;

#endif
