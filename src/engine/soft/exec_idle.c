/*
 * HLT, MONITOR, MWAIT, PAUSE, and hypercalls (SDM 2; Linux Documentation/virt/kvm/x86/hypercalls).
 *
 * MWAIT watches nothing: it gives the host's processor away once and returns, which the manual
 * allows at any time (SDM 2, MWAIT). No hypercall is offered in CPUID.
 */
#include "engine/soft/operand.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Where the host has fewer processors than the guest. */
#define PAUSES_PER_YIELD 32

#define KVM_EPERM  1
#define KVM_ENOSYS 1000

static void yield(void)
{
	syscall(SYS_sched_yield);
}

EXEC(exec_hlt)
{
	(void)insn;
	vcpu->activity = CPU_HALTED;
}

EXEC(exec_monitor)
{
	gva_t address;

	if ((uint32_t)vcpu->gpr[X86_RCX] != 0)
		cpu_raise_error(vcpu, X86_GP, 0);
	address = segment_linear(
		vcpu, insn->segment, gpr_read(vcpu, X86_RAX, insn->address_bytes), 1, MMU_READ);
	mmu_probe_read(vcpu, address, 1);
}

EXEC(exec_mwait)
{
	(void)insn;
	if ((uint32_t)vcpu->gpr[X86_RCX] & ~1u)
		cpu_raise_error(vcpu, X86_GP, 0);
	yield();
}

/* A guest's processor that spins may wait for one that the host is not running: others may want the
 * host's processors, too. */
EXEC(exec_pause)
{
	const struct soft_engine *engine = vcpu->engine;
	unsigned interval =
		engine->nr_vcpus > engine->host_cpus ? PAUSES_PER_YIELD : PAUSES_TRANSLATED;

	(void)insn;
	__builtin_ia32_pause();
	if (engine->nr_vcpus > 1 && vcpu->pauses++ % interval == 0)
		yield();
}

EXEC(exec_vmcall)
{
	int64_t result = vcpu->mode.cpl == 0 ? -KVM_ENOSYS : -KVM_EPERM;

	(void)insn;
	gpr_write(vcpu, X86_RAX, vcpu->mode.insn == INSN_MODE_64 ? 8 : 4, (uint64_t)result);
}
