/* A plugin with thread-local storage: -DSTATIC_TLS with -ftls-model=initial-exec takes 64 bytes of what
 * the C library has to spare for such; otherwise 4 KiB are allocated in each thread that asks. */
#ifdef STATIC_TLS
__thread char storage[64];
#else
__thread char storage[4096];
#endif

char *plugin_storage(void) { return storage; }
