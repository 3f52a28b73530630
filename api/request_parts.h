/* The pieces that a request is parsed, resolved and echoed with; private to this room. Thread rule: caller-owned. */
#ifndef API_REQUEST_PARTS_H
#define API_REQUEST_PARTS_H

#include "api/fields.h"
#include "api/parameters.h"
#include "api/request.h"
#include "growth/plan.h"

struct request {
    cJSON *tree;                  /* passed fields_check */
    char checkpoint[FILE_PATH_BYTES], train[FILE_PATH_BYTES], valid[FILE_PATH_BYTES];
};

/* "all", "winner", "top:N" (N from 1 to SPEC_CANDIDATES_MAX). 0 or -1. */
int keep_parse(const char *text, enum keep_kind *keep, int *top);

/* An object that picks a row of a trainer's table by its "name": optimizer and schedule. */
struct named {
    const char *what, *pattern;                    /* "optimizer", "/training/optimizer" */
    const struct table_row *(*rows)(int *count);
    const struct binding *bindings;                /* where each parameter lies in struct training */
    int binding_count;
    size_t name_offset;                            /* of the enum in struct training */
};
extern const struct named NAMED_OPTIMIZER, NAMED_SCHEDULE;
int named_check(const struct named *named, const cJSON *node, struct place *place, struct error *error);
/* Stores name and present parameters; `node` passed named_check (NULL: nothing to store). ERROR_NO_MEMORY. */
int named_store(const struct named *named, const cJSON *node, struct training *training, struct error *error);
/* {"name": …, every parameter of the row} */
void named_print(const struct named *named, const struct training *training, struct buffer *out);
/* Is the parameter bound to a field? (tests: a row must not have parameters that go nowhere) */
bool named_is_bound(const struct named *named, const char *parameter);

/* A candidate's operators. `list` is zeroed by the caller and owned by it, also after a failure. */
int operators_read(const cJSON *array, struct place *place, struct growth_list *list, struct error *error);
int operators_check(const cJSON *array, struct place *place, struct error *error);

/* Fills spec->training from a `training` object (NULL: all defaults, those of `shape`), but for its objective, which belongs
 * to the data, and checks it; mistakes are recorded at `place`. positions: the longest context that is let pass. */
int training_resolve(const cJSON *node, const struct shape *shape, int positions, struct study_spec *spec,
                     struct place *place, struct error *error);
/* Gives the candidates' operators the checkpoints that they name; mistakes are recorded. */
int partners_join(const struct request *request, const struct request_facts *facts, struct study_spec *spec,
                  struct error *error);
/* Fills spec->candidates (names made, operators read). Without an array, the target's design space is enumerated, once the
 * parent is known; NULL: only what needs no file is checked. */
int candidates_resolve(const cJSON *array, const struct shape *parent, struct study_spec *spec, struct error *error);
/* Checks across fields once everything else is filled in; mistakes are recorded. */
void landscape_check(const struct study_spec *spec, const cJSON *landscape, struct error *error);
void selection_check(const struct study_spec *spec, const cJSON *selection, struct error *error);
void data_check(const struct study_spec *spec, const struct request_facts *facts, struct error *error);
/* Each candidate is planned: it must reach the target and hold training.context, its ramps must end. Raises k_min to the
 * longest ramp. */
int plans_check(struct study_spec *spec, const struct shape *parent, struct error *error);
/* Puts what was found into `error` behind what is recorded already. */
void error_merge(struct error *error, const struct error *found);

/* Stores what a `data` object says of an objective over what is there; its other members are not looked at. ERROR_INVALID,
 * ERROR_NO_MEMORY. */
int objective_read(const cJSON *data, struct objective_spec *objective, struct error *error);

/* A staged request's tree as an ordinary study of the last stage's depth, whose templates have their layers: what the
 * table of fields checks. ERROR_NO_MEMORY. */
int stages_template_tree(const cJSON *tree, cJSON **filled, struct error *error);
/* What stages, prop_alpha and baselines ask for, as far as no file is needed. */
int stages_check(const struct request *request, struct error *error);

/* One value of the echo. */
void echo_value(const struct field *field, const struct study_spec *spec, struct buffer *out);
/* One object of the echo: the rows below `pattern`; and its members alone, for an object that has others too. */
void echo_object(const struct study_spec *spec, const char *pattern, struct buffer *out);
void echo_members(const struct study_spec *spec, const char *pattern, bool *first, struct buffer *out);

#endif
