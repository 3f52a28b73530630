/* Requests: JSON bytes -> a resolved study spec. Two steps, because defaults depend on the checkpoint: parsing needs
 * only the text; resolving needs facts that the server reads from files. Unknown fields, duplicate keys, wrong types
 * and values out of range are refused by JSON pointer with what would be valid; what a later release brings is
 * refused with its pointer too. One table of fields (api/fields.c) serves parsing, echo, the JSON Schema and the
 * documents. Thread rule: any one thread. */
#ifndef API_REQUEST_H
#define API_REQUEST_H

#include "base/buffer.h"
#include "study/spec.h"
#include "study/stages.h"

struct request;

/* Parses and checks everything that needs no file. ERROR_SYNTAX (not JSON), ERROR_INVALID (pointer). Free with
 * request_free. */
int request_new(struct request **request, const char *text, size_t length, struct error *error);
void request_free(struct request *request);

/* References as given: an id ("ckpt_…", "data_…") or a path. "" where absent (in a multipart study the parts fill them:
 * the setters). */
const char *request_checkpoint(const struct request *request);
const char *request_train(const struct request *request);
const char *request_valid(const struct request *request);
enum corpus_format request_format(const struct request *request);
int request_set_checkpoint(struct request *request, const char *reference, struct error *error);
int request_set_data(struct request *request, const char *train, const char *valid, struct error *error);
/* The context the data must suffice for, once the parent's shape is known. */
int request_context(const struct request *request, const struct shape *parent);

/* Checkpoints that operators name (fuse: `with`), each once: the index-th reference, and the pointer of where it was named
 * first. NULL: there are no more. */
const char *request_partner(const struct request *request, int index, char pointer[ERROR_POINTER_BYTES]);

/* What the server read. */
struct request_facts {
    struct shape parent;
    double dropout;
    uint64_t tokens_seen;               /* by the parent's lineage */
    bool tokens_seen_known;
    enum corpus_format format;          /* resolved */
    uint64_t train_tokens, valid_tokens;   /* after splitting */
    const struct growth_partner *partners; /* borrowed, they must outlive the spec; [i] is request_partner's i-th */
    int partner_count;
};

/* Fills every default, checks across fields (batch, context <= positions, k_min <= max_k, wsd's decay <= steps, target
 * reached by every candidate, limits) and plans every candidate's operators ("/candidates/2/operators/0/layers").
 * ERROR_INVALID, ERROR_NOT_YET never (a later feature is ERROR_INVALID with its pointer), ERROR_NO_MEMORY. */
int request_resolve(const struct request *request, const struct request_facts *facts, struct study_spec *spec,
                    struct error *error);

/* The resolved spec as JSON: what is echoed and stored; request_new + request_resolve of it give the same
 * spec again. */
void request_echo(const struct study_spec *spec, struct buffer *out);

/* ---- stages (adaptive gradual stacking): one request, carried out as ordinary requests in a row (study/stages.h) */
bool request_is_staged(const struct request *request);
/* What it asks for, every stage with its steps. `parent` NULL: checks what needs no file. ERROR_INVALID with pointers:
 * depths that do not ascend, steps missing or given twice, a target that disagrees. */
int request_stages(const struct request *request, const struct shape *parent, struct stages *stages, struct error *error);
/* The text of a part's request. `checkpoint`: what stands in its place there; `candidate`: the JSON object of the one that
 * is trained, NULL for a search, whose templates get the stage's layers. ERROR_NO_MEMORY. */
int request_part(const struct request *request, const struct stages *stages, const struct stage_part *part,
                 const char *checkpoint, const char *candidate, struct buffer *out, struct error *error);
/* The candidate object of a baseline's part, whose parent has so many layers. */
void request_baseline(const struct stages *stages, const struct stage_part *part, int layers, struct buffer *out);
/* Resolves every search, and every part of the baselines, ahead: nothing is refused later that could be refused now.
 * `visit` sees each with the shape it grows from. Mistakes name the stage. */
struct stages_visitor {
    int (*visit)(void *context, const struct stage_part *part, const struct study_spec *spec, const struct shape *parent,
                 struct error *error);
    void *context;
};
int request_resolve_stages(const struct request *request, const struct request_facts *facts, struct stages *stages,
                           const struct stages_visitor *visitor, struct error *error);
/* The echo: `first` is the first stage's resolved spec; what depends on the stage (warm-up, max_k, candidates of a design
 * space) stays out unless it was given. */
int request_staged_echo(const struct request *request, const struct stages *stages, const struct study_spec *first,
                        struct buffer *out, struct error *error);

/* Parts used on their own: `lag grow --operators`, `lag train --training FILE`. The text is a JSON array / object. `steps`:
 * the horizon where the training's text names none, so that its defaults follow it; 0: the field's default. */
int request_operators(const char *text, size_t length, struct growth_list *list, struct error *error);
int request_training(const char *text, size_t length, const struct shape *shape, uint64_t steps,
                     struct training *training, struct error *error);
/* `lag train --data F` where F is a JSON file with a study's `data` object. What it says of an objective is stored over
 * what `objective` holds already; whether the model can learn it is for objective_check to say. */
int request_data(const char *text, size_t length, struct spec_data *data, struct objective_spec *objective,
                 struct error *error);
/* The members of a `data` object that make up an objective, one after another, without braces: `"objective": "mlm",
 * "mask_token": 3`. */
void request_echo_objective(const struct objective_spec *objective, struct buffer *out);

#endif
