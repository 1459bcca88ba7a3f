/*
 * RDRAND and RDSEED (SDM 2), by the host's; a guest has them only if the host does.
 */
#include "engine/soft/flags.h"
#include "engine/soft/operand.h"

/* On success CF is set; on failure the value is 0. The other flags are cleared. */
static void random_result(struct vcpu *vcpu, const struct insn *insn, uint64_t value, bool valid)
{
	gpr_write(vcpu, insn->rm, insn->operand_bytes, valid ? value : 0);
	flags_set_image(vcpu, 0);
	flags_assign(vcpu, FLAGS_CF, valid);
}

EXEC(exec_rdrand)
{
	uint64_t value;
	bool valid;

	asm volatile("rdrand %[value]" : [value] "=r"(value), "=@ccc"(valid));
	random_result(vcpu, insn, value, valid);
}

EXEC(exec_rdseed)
{
	uint64_t value;
	bool valid;

	asm volatile("rdseed %[value]" : [value] "=r"(value), "=@ccc"(valid));
	random_result(vcpu, insn, value, valid);
}
