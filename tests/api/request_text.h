/* Whole requests around the members that a test is about: HEAD, the members, the rest. */
#ifndef TESTS_API_REQUEST_TEXT_H
#define TESTS_API_REQUEST_TEXT_H

#define HEAD "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, "
#define ONE "\"candidates\": [{\"name\": \"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"
#define CANDIDATES(list) HEAD "\"candidates\": " list "}"
#define OPERATORS(list) CANDIDATES("[{\"operators\": " list "}]")
#define TRAINING(members) HEAD ONE ", \"training\": {" members "}}"
#define TRAINING_OF(members, list) HEAD "\"candidates\": " list ", \"training\": {" members "}}"
#define SELECTION(members) HEAD ONE ", \"selection\": {" members "}}"
#define DATA(members) "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\", " members "}, " ONE "}"
#define TOP(members) HEAD ONE ", " members "}"

#endif
