/* The few plain sentences about a study's outcome that the table and the report share. Pure functions of values. */
#ifndef API_SENTENCES_H
#define API_SENTENCES_H

#include "study/rank.h"

enum { SENTENCE_BYTES = 1200 };

/* Each fills `text`, or returns false (text "") where there is nothing to say. Names stand in it as they are. */
bool sentence_start(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES]);
bool sentence_order(const struct study_outcome *outcome, char text[SENTENCE_BYTES]);       /* step 0's against k's */
bool sentence_choice(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES]);
bool sentence_ties(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES]);
bool sentence_status(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES]);

/* The row that the loss right after growing would have picked, whatever became of it; NULL: none was evaluated. */
const struct ranking_row *outcome_best_at_0(const struct study_outcome *outcome);

#endif
