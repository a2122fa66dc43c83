/* Puts walrec_reserve and walrec_commit of walrec_inline.h in the place of the library's. Included before a subject, which then tests
 * those. The cursor is asked for at each call: subjects open and close many logs. */
#ifndef WALREC_TESTS_INLINED_H
#define WALREC_TESTS_INLINED_H

#include "walrec_inline.h"

#define walrec_reserve(log, slot) walrec_reserve_inline((log), walrec_inline_cursor(log), (slot))
#define walrec_commit(log) walrec_commit_inline((log), walrec_inline_cursor(log))

#endif
