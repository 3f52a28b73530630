/* What `lag replay` prints: rules beside each other on the same curves, as text or JSON; and the replays of a calibration.
 * Thread rule: const and caller-owned. */
#ifndef API_REPLAY_H
#define API_REPLAY_H

#include "base/buffer.h"
#include "study/judgement.h"

struct replay_row {
    const struct rule_row *rule;
    struct rule_answer answer;
    struct judgement judgement;            /* NaN without a truth */
};

struct replay_view {
    const struct replay *replay;
    const struct truth *truth;             /* NULL: none given */
    struct rule_settings settings;
    const struct replay_row *rows;
    int row_count;
};
void response_replay_json(struct buffer *out, const struct replay_view *view);
void response_replay_text(struct buffer *out, const struct replay_view *view);

struct calibration_view {
    const struct replay *replay;
    const struct rule_row *rule;
    const struct calibration *rows;
    int row_count;
};
void response_calibration_json(struct buffer *out, const struct calibration_view *view);
void response_calibration_text(struct buffer *out, const struct calibration_view *view);

#endif
