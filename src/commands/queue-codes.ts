/** Exit codes of `postlua queue`, named as in sysexits.h. */
export const EX_FAILED = 1;
export const EX_USAGE = 64;
export const EX_SOFTWARE = 70;
/** Another worker has the queue. */
export const EX_TEMPFAIL = 75;
export const EX_NOPERM = 77;
export const EX_CONFIG = 78;
