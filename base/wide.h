/* Loops compiled twice: for any processor, and on x86-64 for AVX2, picked when called. A loop is written once, as an
 * always_inline function NAME_loop; WIDE_FORMS(NAME, (parameters), (arguments)) makes the function NAME of it. Fused
 * products stay out of both forms (C17 without extensions contracts nothing), so both give the same bits. */
#ifndef BASE_WIDE_H
#define BASE_WIDE_H

#define WIDE_LOOP static inline __attribute__((always_inline)) void

#if defined __x86_64__
#define WIDE_FORMS(name, parameters, arguments)                             \
    static __attribute__((target("avx2"))) void name##_avx2 parameters      \
    {                                                                       \
        name##_loop arguments;                                              \
    }                                                                       \
    static void name parameters                                             \
    {                                                                       \
        if (__builtin_cpu_supports("avx2"))                                 \
            name##_avx2 arguments;                                          \
        else                                                                \
            name##_loop arguments;                                          \
    }
#else
#define WIDE_FORMS(name, parameters, arguments)                             \
    static void name parameters                                             \
    {                                                                       \
        name##_loop arguments;                                              \
    }
#endif

#endif
