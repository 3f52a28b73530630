/* A small checker of well-formed XML: tags nest and close, attributes are quoted, text has only known entities. */
#ifndef TESTS_API_XML_H
#define TESTS_API_XML_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct xml { const char *at; char names[64][32]; int depth; int elements; };

static inline void xml_entity(const char *c)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strncmp(c, known[i], strlen(known[i]))) return;
    fail_msg("bare & at %.20s", c);
}

static inline void xml_tag(struct xml *x)
{
    bool closing = x->at[1] == '/';
    const char *c = x->at + 1 + closing;
    size_t length = strspn(c, "abcdefghijklmnopqrstuvwxyzPS123");
    char name[32];
    assert_true(length > 0 && length < sizeof name);
    memcpy(name, c, length);
    name[length] = 0;
    c += length;
    if (closing) {
        assert_true(x->depth > 0);
        assert_string_equal(name, x->names[--x->depth]);
        assert_true(*c == '>');
        x->at = c + 1;
        return;
    }
    x->elements++;
    while (*c == ' ' || *c == '\n') {
        c++;
        size_t key = strcspn(c, "=");
        assert_true(key > 0 && key < 24 && !memchr(c, '>', key) && c[key + 1] == '"');
        for (c += key + 2; *c != '"'; c++) {
            assert_true(*c && *c != '<');
            if (*c == '&') xml_entity(c);
        }
        c++;
    }
    bool empty = *c == '/';
    assert_true(c[empty] == '>');
    if (!empty) {
        assert_true(x->depth < 64);
        snprintf(x->names[x->depth++], 32, "%s", name);
    }
    x->at = c + empty + 1;
}

static inline int assert_well_formed(const char *text)
{
    struct xml x = {.at = text};
    while (*x.at) {
        if (*x.at == '<') xml_tag(&x);
        else {
            if (*x.at == '&') xml_entity(x.at);
            assert_true(x.depth > 0 || isspace((unsigned char)*x.at));
            x.at++;
        }
    }
    assert_int_equal(x.depth, 0);
    return x.elements;
}

static inline int count_of(const char *text, const char *piece)
{
    int count = 0;
    for (const char *at = strstr(text, piece); at; at = strstr(at + 1, piece)) count++;
    return count;
}

#endif
