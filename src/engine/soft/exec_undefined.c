/*
 * UD0, UD1, UD2, and whatever the instruction table has no function for.
 */
#include "engine/soft/execute.h"

void exec_undefined(struct vcpu *vcpu, const struct insn *insn)
{
	(void)insn;
	cpu_raise(vcpu, X86_UD);
}
