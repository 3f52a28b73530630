/* The store's writes, as changes for the journal. */
#include <string.h>

#include "base/memory.h"
#include "server/store.h"

void store_add_study(struct changes *changes, const struct study_row *row)
{
    const char *key = row->idempotency_key && *row->idempotency_key ? row->idempotency_key : NULL;

    changes_add(changes,
                "INSERT INTO study(id, name, state, reason, request, idempotency_key, body_hash, content, checkpoint,"
                " train, valid, checkpoint_hash, data_hash, created_ms, started_ms, ended_ms, result)"
                " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                "tttttttttttttiiit", row->id, row->name, study_state_text(row->state), row->reason, row->request, key,
                row->body_hash, row->content, row->checkpoint, row->train, row->valid, row->checkpoint_hash,
                row->data_hash, row->created_ms, row->started_ms, row->ended_ms, row->result);
}

void store_set_state(struct changes *changes, const char *id, enum study_state_name state, const char *reason,
                     int64_t started_ms, int64_t ended_ms, const char *result)
{
    changes_add(changes, "UPDATE study SET state=?, reason=?, started_ms=?, ended_ms=?, result=? WHERE id=?", "ttiitt",
                study_state_text(state), reason, started_ms, ended_ms, result, id);
}

void store_set_candidate(struct changes *changes, const char *id, int index, const struct candidate *candidate)
{
    changes_add(changes,
                "INSERT OR REPLACE INTO candidate(study, number, state, reason, same_as, diverged_step, grown, hash,"
                " parameters, flops_per_token, preservation, loss_before, step, seconds)"
                " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                "tittiiitirrrir", id, (int64_t)index, candidate_state_text(candidate->state), candidate->reason,
                (int64_t)candidate->same_as, (int64_t)candidate->diverged_step, (int64_t)candidate->grown,
                candidate->hash, (int64_t)candidate->parameters, candidate->flops_per_token, candidate->preservation,
                candidate->loss_before, (int64_t)candidate->step, candidate->seconds);
}

void store_add_point(struct changes *changes, const char *id, int candidate, const struct point *point, int windows)
{
    const size_t losses = (size_t)windows * sizeof *point->losses;
    const size_t measured = point->landscape.measured ? sizeof point->landscape : 0;
    char *blob = memory_array(losses + measured, 1);

    if (!blob) {
        changes->failed = true;
        return;
    }
    memcpy(blob, point->losses, losses);
    memcpy(blob + losses, &point->landscape, measured);
    changes_add(changes,
                "INSERT OR REPLACE INTO point(study, candidate, step, tokens, flops, loss, standard_error, raw_loss,"
                " learning_rate, losses) VALUES(?,?,?,?,?,?,?,?,?,?)",
                "tiiirrrrrb", id, (int64_t)candidate, (int64_t)point->step, (int64_t)point->tokens, point->flops,
                point->loss, point->standard_error, point->raw_loss, point->learning_rate,
                (const void *)blob, losses + measured);
    memory_free(blob);
}

void store_add_event(struct changes *changes, const char *id, const char *kind, const char *identity, const char *data)
{
    changes_add(changes, "INSERT OR IGNORE INTO event(study, kind, identity, data) VALUES(?,?,?,?)", "tttt", id, kind,
                identity, data);
}

void store_remove_study(struct changes *changes, const char *id)
{
    changes_add(changes, "DELETE FROM study WHERE id=? OR substr(id, 1, length(?)+1)=?||'/'", "ttt", id, id, id);
}

void store_add_item(struct changes *changes, const char *kind, const char *id, int64_t created_ms, const char *info)
{
    changes_add(changes, "INSERT OR IGNORE INTO item(id, kind, created_ms, info) VALUES(?,?,?,?)", "ttit", id, kind,
                created_ms, info);
}

void store_remove_item(struct changes *changes, const char *kind, const char *id)
{
    changes_add(changes, "DELETE FROM item WHERE id=? AND kind=?", "tt", id, kind);
}
