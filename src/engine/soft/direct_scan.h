/*
 * Instructions that may not run natively because the host's answer is not the guest's, found in the
 * bytes of a page: CPUID, the time-stamp counter's, XSAVE's and their kin.
 */
#ifndef ENGINE_SOFT_DIRECT_SCAN_H
#define ENGINE_SOFT_DIRECT_SCAN_H

#include "base/types.h"

/* True if no such instruction begins in this page of code, whole or cut off by the page's end. */
bool direct_scan_is_clean(const uint8_t page[4096]);

#endif
