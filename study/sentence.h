/* Sentences for people, built piece by piece in an array of fixed size; what does not fit is cut at the end. */
#ifndef STUDY_SENTENCE_H
#define STUDY_SENTENCE_H

#include <stddef.h>

void sentence_add(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
