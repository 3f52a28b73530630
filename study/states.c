/* The words of states. */
#include <string.h>

#include "study/study.h"

static const char *const study_words[STUDY_STATE_COUNT] = {
#define X(code, name) [code] = name,
    STUDY_STATES(X)
#undef X
};

static const char *const candidate_words[CANDIDATE_STATE_COUNT] = {
#define X(code, name) [code] = name,
    CANDIDATE_STATES(X)
#undef X
};

const char *study_state_text(enum study_state_name state)
{
    return study_words[state];
}

int study_state_parse(const char *text, enum study_state_name *state)
{
    for (int i = 0; i < STUDY_STATE_COUNT; i++)
        if (strcmp(text, study_words[i]) == 0) {
            *state = (enum study_state_name)i;
            return 0;
        }
    return -1;
}

const char *candidate_state_text(enum candidate_state_name state)
{
    return candidate_words[state];
}
