// The empty interposer: hooks what memguard hooks most and only forwards.
// Whatever this costs is the price of LD_PRELOAD itself, not of memguard's
// work; tables show both. So it is as lean as can be: after the start each
// hook is one indirect jump.
//
// Before that each pointer leads to a function that finds all originals first:
// other libraries' constructors run before ours. dlsym may ask for memory
// itself; a few bytes that are never freed break that circle.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void resolve(void);

static char early[16384];
static size_t early_used;

static int is_early(void *block) {
    return (char *)block >= early && (char *)block < early + sizeof early;
}

static void *early_block(size_t size) {
    size_t start = (early_used + 15) & ~(size_t)15;
    if (start + size > sizeof early)
        return NULL;
    early_used = start + size;
    return early + start;
}

// HOOK: the pointer, the function it leads to at first, and the hook itself.
#define HOOK(result, name, parameters, arguments) \
    static result first_##name parameters; \
    static result(*real_##name) parameters = first_##name; \
    static result first_##name parameters { \
        resolve(); \
        return real_##name arguments; \
    } \
    result name parameters { \
        return real_##name arguments; \
    }

HOOK(void *, memalign, (size_t align, size_t size), (align, size))
HOOK(void *, aligned_alloc, (size_t align, size_t size), (align, size))
HOOK(int, posix_memalign, (void **out, size_t align, size_t size), (out, align, size))
HOOK(int, close, (int fd), (fd))
HOOK(FILE *, fopen, (const char *path, const char *mode), (path, mode))
HOOK(FILE *, fopen64, (const char *path, const char *mode), (path, mode))
HOOK(int, fclose, (FILE *file), (file))
HOOK(DIR *, opendir, (const char *path), (path))
HOOK(int, closedir, (DIR *directory), (directory))
HOOK(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
HOOK(int, socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
HOOK(int, accept, (int fd, struct sockaddr *peer, socklen_t *length), (fd, peer, length))
HOOK(int, accept4, (int fd, struct sockaddr *peer, socklen_t *length, int flags), (fd, peer, length, flags))
HOOK(int, pipe, (int fds[2]), (fds))
HOOK(int, pipe2, (int fds[2], int flags), (fds, flags))
HOOK(int, dup, (int fd), (fd))
HOOK(int, dup2, (int from, int to), (from, to))
HOOK(int, dup3, (int from, int to, int flags), (from, to, flags))
HOOK(ssize_t, read, (int fd, void *buffer, size_t size), (fd, buffer, size))
HOOK(ssize_t, write, (int fd, const void *buffer, size_t size), (fd, buffer, size))
HOOK(ssize_t, recv, (int fd, void *buffer, size_t size, int flags), (fd, buffer, size, flags))
HOOK(ssize_t, send, (int fd, const void *buffer, size_t size, int flags), (fd, buffer, size, flags))

static void *first_malloc(size_t size);
static void *first_calloc(size_t count, size_t size);
static void *first_realloc(void *block, size_t size);
static void first_free(void *block);
static void *(*real_malloc)(size_t) = first_malloc;
static void *(*real_calloc)(size_t, size_t) = first_calloc;
static void *(*real_realloc)(void *, size_t) = first_realloc;
static void (*real_free)(void *) = first_free;
// The allocator's own, where early blocks keep real_free and real_realloc ours.
static void *(*libc_realloc)(void *, size_t);
static void (*libc_free)(void *);

void *malloc(size_t size) { return real_malloc(size); }
void *calloc(size_t count, size_t size) { return real_calloc(count, size); }
void *realloc(void *block, size_t size) { return real_realloc(block, size); }
void free(void *block) { real_free(block); }

static void *checked_realloc(void *block, size_t size) {
    if (!is_early(block))
        return libc_realloc(block, size);
    void *moved = real_malloc(size);
    size_t room = (size_t)(early + sizeof early - (char *)block);
    return moved ? memcpy(moved, block, size < room ? size : room) : NULL;
}

static void checked_free(void *block) {
    if (!is_early(block))
        libc_free(block);
}

#define OPEN_HOOK(name, parameters, ...) \
    static int(*real_##name) parameters; \
    int name parameters { \
        if (__builtin_expect(!real_##name, 0)) \
            resolve(); \
        va_list arguments; \
        va_start(arguments, flags); \
        int mode = va_arg(arguments, int); /* junk where there is none, as in libc's own stub */ \
        va_end(arguments); \
        return real_##name(__VA_ARGS__, mode); \
    }

OPEN_HOOK(open, (const char *path, int flags, ...), path, flags)
OPEN_HOOK(open64, (const char *path, int flags, ...), path, flags)
OPEN_HOOK(openat, (int at, const char *path, int flags, ...), at, path, flags)
OPEN_HOOK(openat64, (int at, const char *path, int flags, ...), at, path, flags)

static int resolving;

#define FIND(name) real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name)
__attribute__((constructor)) static void resolve(void) {
    if (resolving)
        return;
    resolving = 1;
    libc_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    libc_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    void *(*libc_calloc)(size_t, size_t) = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    FIND(malloc);
    real_calloc = libc_calloc;
    real_free = early_used ? checked_free : libc_free;
    real_realloc = early_used ? checked_realloc : libc_realloc;
    FIND(memalign), FIND(aligned_alloc), FIND(posix_memalign);
    FIND(open), FIND(open64), FIND(openat), FIND(openat64), FIND(close);
    FIND(fopen), FIND(fopen64), FIND(fclose), FIND(opendir), FIND(closedir);
    FIND(socket), FIND(socketpair), FIND(accept), FIND(accept4), FIND(pipe), FIND(pipe2);
    FIND(dup), FIND(dup2), FIND(dup3), FIND(read), FIND(write), FIND(recv), FIND(send);
}

static void *first_malloc(size_t size) {
    resolve();
    return real_malloc == first_malloc ? early_block(size) : real_malloc(size);
}

static void *first_calloc(size_t count, size_t size) {
    resolve(); // the early bytes are zero and never given out twice
    return real_calloc == first_calloc ? early_block(count * size) : real_calloc(count, size);
}

static void *first_realloc(void *block, size_t size) {
    resolve();
    if (real_realloc == first_realloc)
        return block ? NULL : early_block(size);
    return real_realloc(block, size);
}

static void first_free(void *block) {
    resolve();
    if (real_free != first_free)
        real_free(block);
}
