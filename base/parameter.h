/* Parameters described by tables: an operator's, an optimizer's, a schedule's. The table is what the request parser,
 * the JSON Schema, --help and the documents read. */
#ifndef BASE_PARAMETER_H
#define BASE_PARAMETER_H

#include <stdbool.h>
#include <stdint.h>

enum parameter_type {
    PARAMETER_INTEGER,        /* integer */
    PARAMETER_NUMBER,         /* number (double) */
    PARAMETER_BOOLEAN,
    PARAMETER_CHOICE,         /* one of choices, kept as its index in integer */
    PARAMETER_INTEGERS,       /* [int, …]; null allowed inside if `nullable`, kept as -1 */
    PARAMETER_PAIRS,          /* [[a, b), …], kept as a0 b0 a1 b1 … in list */
    PARAMETER_NUMBERS,        /* [number, …] in numbers (betas) */
    PARAMETER_CHOICE_OR_LIST, /* a choice, or a list of integers (placement) */
    PARAMETER_TEXT,           /* text */
    PARAMETER_CHECKPOINT      /* text: the id or the path of a checkpoint */
};

enum { PARAMETER_LIST_MAX = 1024, PARAMETER_NUMBERS_MAX = 4 };

struct parameter {
    const char *name;
    enum parameter_type type;
    bool required, nullable;      /* nullable: JSON null is a value of its own (is_null) */
    double minimum, maximum;      /* inclusive; for lists: of each element */
    const char *choices;          /* "symmetric|diagonal", NULL unless a choice */
    const char *fallback;         /* default as JSON text, NULL: no fixed default (then `summary` says what happens) */
    const char *summary;          /* one line for humans */
};

/* A value given or defaulted. `given` tells whether the request had it; `present` whether it has a value at all. */
struct parameter_value {
    bool given, present, is_null;
    int64_t integer;
    double number;
    double numbers[PARAMETER_NUMBERS_MAX];
    int32_t *list;                /* owned by the value (memory_free) */
    int list_count;               /* elements of list, or of numbers */
    char *text;                   /* owned by the value (memory_free) */
};

#endif
