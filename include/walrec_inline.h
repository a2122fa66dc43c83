/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * walrec_inline.h: walrec_reserve and walrec_commit, compiled into the caller.
 *
 * For an engine that builds its events in place and wants the last nanoseconds: no call, no spilled register, and the
 * compiler keeps what it knows about the event. What is recorded, returned and refused is what the library's own
 * functions record, return and refuse; the two may be mixed on one recorder, call by call.
 *
 *     walrec_cursor_t *cursor = walrec_inline_cursor(log);   // once, after walrec_open
 *     ...
 *     walrec_event_t *slot;
 *     if (walrec_reserve_inline(log, cursor, &slot) == WALREC_OK) {
 *         slot->event_id = id;
 *         ...                                                // every field but guard
 *         status = walrec_commit_inline(log, cursor);        // OK: appended, survives kill -9
 *     }
 *
 * VERSION
 *   The functions here know how the library lays out its cursor. WALREC_CURSOR_LAYOUT is that layout's number: it changes
 *   with every change of layout or rules. With a library of another layout walrec_cursor gives WALREC_E_ABI, and
 *   walrec_inline_cursor gives a cursor on which each call goes through the library: right, and as fast as
 *   that. A program that would rather not start calls walrec_cursor itself.
 *
 * HOW IT WORKS
 *   One comparison leads to everything rare: while next is below end, the place at next is in the active block and free.
 *   Else the library's function is called, which finds out what is to be done: next block, next segment, an event whose
 *   append is timed, poisoned, shut down, wrong thread, forked child (there the cursor's page reads as zeros). Any
 *   thread of the library may drop end to 0 at any time. A commit publishes by one store of the count.
 *
 * gcc or clang; C99 or C++11 at least.
 */
#ifndef WALREC_INLINE_H
#define WALREC_INLINE_H

#include "walrec.h"

#if !defined(__GNUC__)
#error "walrec_inline.h needs gcc or clang; the functions of walrec.h do the same"
#endif

/* In C++ one function in all of a program, as what uses it in walrec.hpp is; hidden, for each library may have a header of its own. */
#ifdef __cplusplus
#define WALREC_INLINE_FUNCTION __attribute__((visibility("hidden"))) inline
#else
#define WALREC_INLINE_FUNCTION static inline
#endif

/** The layout of walrec_cursor_t, and the rules by which it is used. */
#define WALREC_CURSOR_LAYOUT 1

/**
 * Where the append thread stands. Only the functions below and the library may touch it.
 */
struct walrec_cursor_t {
    /** Where the next event goes. The append thread's. */
    walrec_event_t *next;
    /** Address at which the append thread stops; compared with >=. Any thread may drop it to 0, only the library raises it. */
    uintptr_t end;
    /** How many events the active segment holds: the word that publishes them. The append thread's. */
    uint64_t *published;
    /** The last reservation. It is open while it equals next. The append thread's. */
    walrec_event_t *reserved;
    /** The library's. */
    uint64_t unused[4];
    /** Id of the last appended event, on a cache line of its own: others poll it. Stored by the append thread. */
    uint64_t last_event_id;
};

/* The layout by number: src/recorder/shared.rs says the same of the library's structure. */
#ifdef __cplusplus
#define WALREC_INLINE_ASSERT(name, condition) static_assert(condition, #name)
#define WALREC_INLINE_ADDRESS(pointer) reinterpret_cast<uintptr_t>(pointer)
#else
#define WALREC_INLINE_ASSERT(name, condition) typedef char walrec_inline_##name[(condition) ? 1 : -1]
#define WALREC_INLINE_ADDRESS(pointer) ((uintptr_t)(pointer))
#endif
WALREC_INLINE_ASSERT(next_is_at_0, offsetof(struct walrec_cursor_t, next) == 0);
WALREC_INLINE_ASSERT(end_is_at_8, offsetof(struct walrec_cursor_t, end) == 8);
WALREC_INLINE_ASSERT(published_is_at_16, offsetof(struct walrec_cursor_t, published) == 16);
WALREC_INLINE_ASSERT(reserved_is_at_24, offsetof(struct walrec_cursor_t, reserved) == 24);
WALREC_INLINE_ASSERT(last_event_id_is_at_64, offsetof(struct walrec_cursor_t, last_event_id) == 64);
WALREC_INLINE_ASSERT(event_is_64_bytes, sizeof(walrec_event_t) == 64 && offsetof(walrec_event_t, guard) == 60);
WALREC_INLINE_ASSERT(words_are_64_bits, sizeof(void *) == 8);

/**
 * The recorder's cursor for the functions below, until walrec_close. When the library does not give one (another layout, NULL, a forked
 * child), one of zeros: each call then goes through the library, which says what is wrong, if anything is.
 *
 * Any thread; never blocks. walrec: a handle from walrec_open.
 */
WALREC_INLINE_FUNCTION walrec_cursor_t *walrec_inline_cursor(walrec_t *walrec) WALREC_NOEXCEPT
{
    /* Never stored to: next is not below end. */
    static walrec_cursor_t none;
    walrec_cursor_t *cursor = &none;
    return walrec_cursor(walrec, WALREC_CURSOR_LAYOUT, &cursor) == WALREC_OK ? cursor : &none;
}

/**
 * walrec_reserve, inlined: the same contract.
 *
 * cursor: from walrec_inline_cursor or walrec_cursor, of this recorder; not NULL.
 */
WALREC_INLINE_FUNCTION walrec_status_t walrec_reserve_inline(walrec_t *walrec, walrec_cursor_t *cursor,
                                                             walrec_event_t **slot) WALREC_NOEXCEPT
{
    walrec_event_t *next = cursor->next;
    /* Relaxed: a dropped end is a hint that the library looks into; no data hangs on it. */
    if (__builtin_expect(WALREC_INLINE_ADDRESS(next) >= __atomic_load_n(&cursor->end, __ATOMIC_RELAXED) || !slot, 0))
        return walrec_reserve(walrec, slot);
    /* 2 KiB ahead; a hint, of any address. The builtin gives a fetch for reading where the compiler is not told of the CPU. */
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(next[32]));
#else
    __builtin_prefetch(next + 32, 1);
#endif
    cursor->reserved = next;
    *slot = next;
    return WALREC_OK;
}

/**
 * walrec_commit, inlined: the same contract.
 *
 * cursor: from walrec_inline_cursor or walrec_cursor, of this recorder; not NULL.
 */
WALREC_INLINE_FUNCTION walrec_status_t walrec_commit_inline(walrec_t *walrec, walrec_cursor_t *cursor) WALREC_NOEXCEPT
{
    walrec_event_t *next = cursor->next;
    uint64_t event_id;
    if (__builtin_expect(WALREC_INLINE_ADDRESS(next) >= __atomic_load_n(&cursor->end, __ATOMIC_RELAXED) ||
                             next != cursor->reserved,
                         0))
        return walrec_commit(walrec);
    event_id = next->event_id;
    if (__builtin_expect(event_id <= __atomic_load_n(&cursor->last_event_id, __ATOMIC_RELAXED), 0))
        return walrec_commit(walrec);
    next->guard = 0;
    /* Release: partner of the acquire loads of whoever reads what is published; the event comes first. */
    __atomic_store_n(cursor->published, *cursor->published + 1, __ATOMIC_RELEASE);
    /* Release: partner of the acquire of whoever polls the id. */
    __atomic_store_n(&cursor->last_event_id, event_id, __ATOMIC_RELEASE);
    cursor->next = next + 1;
    return WALREC_OK;
}

#endif /* WALREC_INLINE_H */
