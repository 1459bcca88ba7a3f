/*
 * Scalars with a meaning. Everything else is a plain C type.
 */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t gpa_t; /* guest physical address */
typedef uint64_t gva_t; /* guest virtual (linear, after segmentation) address */
typedef int64_t ns_t;   /* nanoseconds; a duration or a point on a clock */

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_US INT64_C(1000)

#endif
