/* Pump: decides what every free worker does next. Oldest study first; within a study the rounds of study/study.h; trials come
 * and go between memory and disk as the limit asks. Called whenever anything changed. Loop thread. */
#ifndef SERVER_PUMP_H
#define SERVER_PUMP_H

struct service;

void pump(struct service *service);

#endif
