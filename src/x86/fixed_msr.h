/*
 * Model-specific registers that hold nothing: guests look at them or poke them without need. They
 * read a fixed value, and drop writes where real firmware or errata work-arounds make them. The
 * same on both engines.
 */
#ifndef X86_FIXED_MSR_H
#define X86_FIXED_MSR_H

#include "base/types.h"

/* False where the processor raises #GP(0). */
bool fixed_msr_read(uint32_t msr, uint64_t *value);
bool fixed_msr_write(uint32_t msr, uint64_t value);

#endif
