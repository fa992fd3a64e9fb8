/* memguard.h - tell memguard of a program's caches
 *
 * A cache that memguard knows of is shown with its size in `memguard report`,
 * and `memguard fix --kind caches` can ask it to shrink. For C and C++ on
 * Linux with glibc. There is nothing to link: without libmemguard.so in the
 * process every call here is a test of one pointer and does nothing.
 *
 *     static size_t size_of(void *pages) { return ((struct pages *)pages)->bytes; }
 *     static void shrink(size_t keep, void *pages) { evict_down_to(pages, keep); }
 *
 *     memguard_cache cache =
 *         memguard_cache_register("pages", size_of, shrink, &pages);
 *     for (;;) {
 *         serve_a_request();
 *         memguard_poll();
 *     }
 *
 * Callbacks are called one at a time, and only within memguard_poll() on the
 * thread that calls it, unless MEMGUARD_ANYWHERE says more. They may lock and
 * allocate; they must return, and neither throw nor longjmp. All but faults
 * are blocked as signals meanwhile.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef MEMGUARD_H
#define MEMGUARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A registered cache; 0 is none. */
typedef uint64_t memguard_cache;

/* How many bytes the cache holds now, (size_t)-1 if that is not known. Called
 * about once a second at most. */
typedef size_t memguard_size_fn(void *arg);
/* Asks the cache to hold no more than keep bytes. */
typedef void memguard_shrink_fn(size_t keep, void *arg);

/* The callbacks may be called on any thread that is about to wait in
 * epoll_wait, poll, select, accept or sleep, and holds no lock of libc's:
 * never in a signal handler. Locks that the program itself may hold while it
 * waits there must not be taken by the callbacks. */
#define MEMGUARD_ANYWHERE 1u

/* The library's own functions, there or not. */
__attribute__((weak)) uint64_t
memguard_v1_cache_register(const char *name, memguard_size_fn *size,
			   memguard_shrink_fn *shrink, void *arg, uint32_t flags);
__attribute__((weak)) void memguard_v1_cache_unregister(uint64_t cache);
__attribute__((weak)) void memguard_v1_poll(void);

/* Where one of them is, NULL when it is not there. In code that is no PIC the
 * linker would settle a weak address to 0 before any library is loaded, so it
 * comes from the table that the loader fills. */
#ifdef __x86_64__
#define MEMGUARD_V1_FIND(at, name)                                          \
	__asm__(".weak " #name "\n\tmovq " #name "@GOTPCREL(%%rip), %0"     \
		: "=r"(at))
#else
#define MEMGUARD_V1_FIND(at, name) ((at) = &name)
#endif

/* Registers a cache, with flags. The name is copied (63 bytes of it); shrink
 * may be NULL: then the size is only shown. */
static inline memguard_cache
memguard_cache_register_with(const char *name, memguard_size_fn *size,
			     memguard_shrink_fn *shrink, void *arg, uint32_t flags)
{
	__typeof__(&memguard_v1_cache_register) found;

	MEMGUARD_V1_FIND(found, memguard_v1_cache_register);
	return found ? found(name, size, shrink, arg, flags) : 0;
}

/* Registers a cache. */
static inline memguard_cache memguard_cache_register(const char *name,
						     memguard_size_fn *size,
						     memguard_shrink_fn *shrink,
						     void *arg)
{
	return memguard_cache_register_with(name, size, shrink, arg, 0);
}

/* Forgets a cache. Waits for a callback of it that runs on another thread, so
 * hold no lock that the callbacks take; afterwards arg may be freed. */
static inline void memguard_cache_unregister(memguard_cache cache)
{
	__typeof__(&memguard_v1_cache_unregister) found;

	MEMGUARD_V1_FIND(found, memguard_v1_cache_unregister);
	if (cache && found)
		found(cache);
}

/* A safe point: what waits for one is done now, callbacks included. Costs
 * nanoseconds when nothing waits. Not for signal handlers. */
static inline void memguard_poll(void)
{
	__typeof__(&memguard_v1_poll) found;

	MEMGUARD_V1_FIND(found, memguard_v1_poll);
	if (found)
		found();
}

#ifdef __cplusplus
}
#endif

#endif
