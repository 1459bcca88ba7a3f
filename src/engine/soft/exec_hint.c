/*
 * Instructions without a result: NOP, prefetches, cache line write-backs, fences
 * (SDM 2).
 *
 * Guest memory is as coherent as the host's, so a cache line instruction only checks its address,
 * and a fence is the host's.
 */
#include "engine/soft/operand.h"

EXEC(exec_nop)
{
	(void)vcpu;
	(void)insn;
}

EXEC(exec_clflush)
{
	mmu_probe_read(vcpu, insn_linear(vcpu, insn, 1, MMU_READ), 1);
}

EXEC(exec_mfence)
{
	(void)vcpu;
	(void)insn;
	asm volatile("mfence" ::: "memory");
}

EXEC(exec_lfence)
{
	(void)vcpu;
	(void)insn;
	asm volatile("lfence" ::: "memory");
}

EXEC(exec_sfence)
{
	(void)vcpu;
	(void)insn;
	asm volatile("sfence" ::: "memory");
}
