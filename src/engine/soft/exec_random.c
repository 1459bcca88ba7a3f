/*
 * RDRAND and RDSEED (SDM 2), by the host's; a guest has them only if the host does.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* On success CF is set; on failure the value is 0. The other flags are cleared. */
#define RANDOM(name, s)                                                                            \
	EXEC(exec_##name##_##s##_r)                                                                \
	{                                                                                          \
		uint64_t value;                                                                    \
		bool valid;                                                                        \
                                                                                                   \
		asm volatile(#name " %[value]" : [value] "=r"(value), "=@ccc"(valid));             \
		reg_write_##s(vcpu, insn->rm, valid ? (operand_##s)value : 0);                     \
		flags_set_image(vcpu, 0);                                                          \
		flags_assign(vcpu, FLAGS_CF, valid);                                               \
	}
#define RDRAND(s) RANDOM(rdrand, s)
#define RDSEED(s) RANDOM(rdseed, s)
FOR_WIDE_SIZES(RDRAND)
FOR_WIDE_SIZES(RDSEED)
